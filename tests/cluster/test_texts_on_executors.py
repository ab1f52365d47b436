"""Titles and vectors of executors: those of one process, from a store and models that executors reach."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.cli import status_of
from llmrec.cluster.embed_on_executors import embed_on_executors
from llmrec.cluster.titles_on_executors import select_on_executors, write_on_executors
from llmrec.data.store import Store
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.runs import read_run
from llmrec.rankers.sessions import read_session_files
from llmrec.selection.selector import Selector
from llmrec.selection.settings import SelectJob
from llmrec.selection.table import TitleTable
from llmrec.text.encoders.embed import run_embed_job
from llmrec.text.encoders.settings import EmbedJob
from llmrec.text.encoders.tfidf import TfidfEncoder
from llmrec.titles.settings import GenerateConfig
from llmrec.titles.title_writer import TitleWriter
from tests.cluster.standalone import needs_spark
from tests.conftest import TITLES
from tests.selection.shop import SETTINGS, product_table, training, write_store

pytestmark = [needs_spark, pytest.mark.filterwarnings("ignore")]  # pyspark's own


@pytest.fixture
def spark(session: Any) -> Any:
    return session


def uri(path: Path) -> Path:
    return Path(f"file://{path}")


def histories(store: Store, split: str) -> tuple[list[list[dict[str, str]]], list[str]]:
    """Titles and prices of each session's products, those without title left out."""
    products = pq.read_table(store.products).to_pylist()
    known = {(one["locale"], one["id"]): one for one in products if (one["title"] or "").strip()}
    rows = pq.read_table(store.path / f"sessions_{split}.parquet").to_pylist()
    found = [[known.get((row["locale"], item)) for item in row["prev_items"]] for row in rows]
    return [[{"title": one["title"]} for one in some if one] for some in found], [row["locale"] for row in rows]


@pytest.mark.parametrize("backend", ["ctranslate2", pytest.param("transformers", marks=pytest.mark.slow)])
def test_a_writer_writes_what_it_writes_here(
    backend: Any, spark: Any, title_model: Path, tiny_store: Store, tmp_path: Path
) -> None:
    pytest.importorskip("ctranslate2")
    out = tmp_path / "runs" / "titles.parquet"
    asked = {"model": str(title_model), "data": uri(tiny_store.path), "split": "validation", "backend": backend}
    write_on_executors(GenerateConfig(engine="spark", out=uri(out), **asked))
    run = read_run(out)
    expected = TitleWriter.load(title_model, backend=backend).write(*histories(tiny_store, "validation"))
    assert run.kind == "titles"
    assert run.locales.to_pylist() == list(expected.locales)
    assert run.predictions.to_pylist() == list(expected)
    assert run.provenance["settings"]["k"] == 2
    assert run.provenance["cluster"]["master"] == spark.sparkContext.master


def test_a_prompts_other_fields_are_read_too(spark: Any, title_model: Path, tiny_store: Store, tmp_path: Path) -> None:
    prompt = tmp_path / "priced.yaml"
    text = "{% for product in products %}{{ product.title }} {{ product.price }} {{ product.brand }};{% endfor %}"
    named = "".join(f"  product.{name}: its {name}\n" for name in ("title", "price", "brand"))
    prompt.write_text(f"summary: with prices\nvariables:\n  products: them\n{named}template: '{text}'\n")
    asked = {"data": uri(tiny_store.path), "split": "validation", "out": uri(tmp_path / "t.parquet")}
    write_on_executors(GenerateConfig(engine="spark", model=str(title_model), prompt=str(prompt), k=3, **asked))
    here = tmp_path / "here.parquet"
    words = ["--model", str(title_model), "--prompt", str(prompt), "--k", "3", "--split", "validation"]
    places = ["--data", str(tiny_store.path), "--output-dir", str(tmp_path / "run"), "--out", str(here)]
    assert status_of(["generate", *places, *words]) == 0
    there, alone = read_run(tmp_path / "t.parquet"), read_run(here)
    assert there.predictions.to_pylist() == alone.predictions.to_pylist()
    assert there.sessions_fingerprint == alone.sessions_fingerprint is not None


def test_a_selector_chooses_what_it_chooses_here(spark: Any, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    table = TitleTable(product_table())
    Selector(SETTINGS).fit(training(), product_table(), table).save(tmp_path / "selector")
    out = tmp_path / "chosen.parquet"
    select_on_executors(SelectJob(engine="spark", load=tmp_path / "selector", data=uri(store.path), out=uri(out)))
    sessions = read_session_files(store.path / "sessions_test.parquet")
    expected = Selector.load(tmp_path / "selector").select(sessions, table)
    run = read_run(out)
    assert run.predictions.to_pylist() == expected
    assert run.locales.to_pylist() == sessions.locales.to_pylist()
    assert run.provenance["method"] == "title selector"


def test_an_encoders_vectors_are_those_of_one_process(spark: Any, tiny_store: Store, tmp_path: Path) -> None:
    texts = [title for titles in TITLES.values() for title in titles]
    TfidfEncoder.fit(texts, 8, 0).save(tmp_path / "encoder")
    job = EmbedJob(products=tiny_store.products, out=tmp_path / "here", encoder=str(tmp_path / "encoder"))
    here = run_embed_job(job)
    places = {"products": uri(tiny_store.products), "out": uri(tmp_path / "vectors")}
    embed_on_executors(EmbedJob(engine="spark", encoder=str(tmp_path / "encoder"), **places))
    made = pq.read_table(tmp_path / "vectors").to_pydict()
    known = pq.read_table(tmp_path / "here" / "products.parquet").to_pydict()
    vectors = dict(zip(zip(known["locale"], known["id"], strict=True), np.asarray(here.vectors), strict=True))
    assert len(made["id"]) == 42
    for locale, one, vector in zip(made["locale"], made["id"], made["vector"], strict=True):
        np.testing.assert_allclose(vector, vectors[locale, one], atol=1e-6)
    assert json.loads((tmp_path / "vectors.json").read_text())["dim"] == 8


def test_what_executors_cannot_do_is_one_line(spark: Any, title_model: Path, tiny_store: Store, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "locale": ["UK"]}), tmp_path / "untitled.parquet")
    data, out = uri(tiny_store.path), uri(tmp_path / "out.parquet")
    model = str(title_model)
    wrong: list[tuple[Any, Any, type[Exception], str]] = [
        (write_on_executors, GenerateConfig(model=model, data=data, out=out, epochs=3), ConfigError, "leave --epochs"),
        (write_on_executors, GenerateConfig(data=data, out=out), ConfigError, "needs --model MODEL"),
        (write_on_executors, GenerateConfig(model=model, data=data, out=out, split="tset"), DataError, "is not there"),
        (write_on_executors, GenerateConfig(model=model, data=data, out=out, num_beams=0), ConfigError, "num_beams"),
        (select_on_executors, SelectJob(load=Path("none"), data=data, out=out), ConfigError, "no selector"),
        (select_on_executors, SelectJob(load=Path("none"), data=data, out=out, cold=True), ConfigError, "leave --cold"),
        (embed_on_executors, EmbedJob(products=data / "p", out=out), ConfigError, "learns from all texts first"),
        (embed_on_executors, EmbedJob(products=Path("p"), out=out), ConfigError, "--products names what all its nodes"),
    ]
    for function, job, kind, message in wrong:
        with pytest.raises(kind, match=message) as caught:
            function(job)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.slow
def test_a_gguf_file_is_sent_to_the_nodes(spark: Any, tiny_store: Store, tmp_path: Path) -> None:
    from tests.titles.models.test_gguf import model_of
    from tests.titles.tiny_gguf import write_gguf
    from tests.titles.tiny_llm import bpe_tokenizer

    tokenizer = bpe_tokenizer([title for titles in TITLES.values() for title in titles])
    file = write_gguf(tmp_path / "tiny.gguf", model_of("llama", tokenizer), tokenizer)
    asked = {"data": uri(tiny_store.path), "split": "validation", "out": uri(tmp_path / "t.parquet")}
    write_on_executors(GenerateConfig(engine="spark", model=str(file), max_target_tokens=8, **asked))
    here = TitleWriter.load(file, max_target_tokens=8).write(*histories(tiny_store, "validation"))
    assert read_run(tmp_path / "t.parquet").predictions.to_pylist() == list(here)
