"""`import llmrec`: light, and the same lists, scores and titles as the command line."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import llmrec
import llmrec.testing
from llmrec.cli import main
from llmrec.errors import ConfigError, DataError, LlmrecError, ModelError, StoreError
from llmrec.evaluation import metrics
from llmrec.evaluation.runs import read_run
from llmrec.rankers import registry
from llmrec.text.encoders import registry as encoders
from tests.places import ROOT

PUBLIC = [getattr(llmrec, name) for name in llmrec.__all__[1:]]
PUBLIC += [llmrec.testing.RankerContract, llmrec.testing.products, llmrec.testing.training_sessions]
HEAVY = {"torch", "pandas", "transformers", "pyarrow", "duckdb", "numpy"}


def command(*arguments: str | Path) -> int | str | None:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


def test_every_name_is_there_and_nothing_heavy_is_loaded_for_the_import() -> None:
    code = f"import sys, llmrec; print(sorted({HEAVY} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    for name in llmrec.__all__:
        assert getattr(llmrec, name) is not None, name
        assert name in dir(llmrec)
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = llmrec.fitt


@pytest.fixture
def shop(
    tiny_store: llmrec.Store, title_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A working folder with what the examples name; what they register is forgotten."""
    for place, what in (("stores/demo", tiny_store.path), ("models/titles", title_model)):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).symlink_to(what)
    monkeypatch.chdir(tmp_path)
    registered = [one._registered for one in (registry._ADDED, registry._SOURCES, metrics._ADDED, encoders._ADDED)]
    before = [dict(one) for one in registered]
    yield tmp_path
    for one, held in zip(registered, before, strict=True):
        one.clear()
        one.update(held)


@pytest.mark.parametrize("module", sorted({one.__module__ for one in PUBLIC}))
def test_examples_of_the_docstrings_run(module: str, shop: Path) -> None:
    if module.endswith("search.similar"):
        llmrec.SimilarProducts.build(llmrec.open_store("stores/demo"), shop / "runs" / "titles")
    assert doctest.testmod(importlib.import_module(module)).failed == 0


@pytest.mark.parametrize("one", PUBLIC, ids=lambda one: one.__qualname__)
def test_a_docstring_has_an_example_and_says_what_each_argument_is(one: Any) -> None:
    assert "Example:" in (inspect.getdoc(one) or "")
    functions = [one]
    if isinstance(one, type):
        members = inspect.getmembers(one, lambda member: inspect.isfunction(member) or inspect.ismethod(member))
        functions = [member for name, member in members if not name.startswith(("_", "test_", "fit"))]
        functions = [member for member in functions if member.__module__.startswith("llmrec")]
    for function in functions:
        text = inspect.getdoc(function) or ""
        assert text, function.__qualname__
        for name, parameter in inspect.signature(function).parameters.items():
            told = re.search(rf"(?m)^    {name}: ", text) or "; as of `" in text or "; as `" in text
            assert told or name in ("self", "cls") or parameter.kind is parameter.VAR_KEYWORD, (function, name)


def test_lists_and_scores_are_those_of_the_command_line(tiny_store: llmrec.Store, tmp_path: Path) -> None:
    store = llmrec.open_store(str(tiny_store.path))
    ranker = llmrec.fit("covisit", store.training(), store, sessions=store.sessions("validation"))
    lists = ranker.rank(store.sessions("validation"), k=7)
    train, asked = (store.path / f"sessions_{split}.parquet" for split in ("development", "validation"))
    run = tmp_path / "run.parquet"
    more = ("--products", store.products, "--k", "7", "--save", tmp_path / "saved")
    assert command("rank", "covisit", "--train", train, "--sessions", asked, "--out", run, *more) == 0
    written = read_run(run)
    assert lists.to_list() == written.predictions.to_pylist()
    assert {"ranker", "settings", "transductive", "k", "seen"} <= {*lists.provenance} & {*written.provenance}
    assert command("evaluate", run, "--targets", asked, "--json", tmp_path / "typed.json") == 0
    result = llmrec.evaluate(lists, store.targets("validation"))
    typed = json.loads((tmp_path / "typed.json").read_text(encoding="utf-8"))
    assert result.overall.metrics == typed["overall"]["metrics"]
    result.save(tmp_path / "result.json")
    assert result.to_pandas().loc["overall", "mrr@100"] == typed["overall"]["metrics"]["mrr@100"]
    lists.save(str(tmp_path / "lists.parquet"))
    assert pq.read_table(tmp_path / "lists.parquet").equals(pq.read_table(run))
    assert llmrec.load_ranker(str(tmp_path / "saved")).rank(asked, k=7).to_list() == lists.to_list()


def test_similar_products_are_those_of_the_command_line(
    tiny_store: llmrec.Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "titles"
    assert command("embed", tiny_store.products, "--out", folder) == 0
    built = llmrec.SimilarProducts.build(tiny_store, tmp_path / "built")
    title, item = "USB-C Kabel", "X0"
    for flags, of in (
        ((title,), lambda one: one.search([title], 4, "DE")[0]),
        (("--product", item), lambda one: one.by_product([item], 4, "DE")[0]),
        (("--session", "X0 X1"), lambda one: one.by_session(["X0", "X1"], 4, "DE")),
    ):
        capsys.readouterr()
        assert command("similar", folder, *flags, "--k", "4", "--locale", "DE", "--json") == 0
        typed = json.loads(capsys.readouterr().out)["result"]
        assert typed
        for products in (llmrec.SimilarProducts.load(folder), built):
            assert [vars(hit) for hit in of(products)] == typed


def test_titles_are_those_of_the_command_line(tiny_store: llmrec.Store, title_model: Path, tmp_path: Path) -> None:
    run, limit = tmp_path / "titles.parquet", 9
    flags = (
        "--model",
        title_model,
        "--data",
        tiny_store.path,
        "--split",
        "validation",
        "--limit",
        str(limit),
        "--out",
        run,
    )
    done = [sys.executable, "-m", "llmrec.cli", "generate", *map(str, flags), "--output-dir", str(tmp_path / "out")]
    subprocess.run(done, check=True, capture_output=True)
    sessions = pq.read_table(tiny_store.sessions("validation").file).slice(0, limit).to_pylist()
    titles = {(row["locale"], row["id"]): row["title"] for row in pq.read_table(tiny_store.products).to_pylist()}
    histories = [
        [title for item in row["prev_items"] if (title := titles.get((row["locale"], item)))] for row in sessions
    ]
    writer = llmrec.TitleWriter.load(str(title_model))
    assert (writer.card.k, writer.card.max_source_tokens, writer.card.max_target_tokens) == (2, 48, 12)
    assert writer.prompt.name.endswith(writer.card.prompt)
    assert llmrec.TitleWriter.load(title_model, k=1, max_target_tokens=5).card.max_target_tokens == 5
    written = writer.write(histories, [row["locale"] for row in sessions], batch_size=4)
    assert list(written) == read_run(run).predictions.to_pylist()
    assert "".join(writer.stream(histories[0], sessions[0]["locale"])) == written[0]
    assert written.to_pandas().title.tolist() == list(written)
    written.save(tmp_path / "saved.parquet")
    assert pq.read_table(tmp_path / "saved.parquet").equals(pq.read_table(run))
    scores = llmrec.evaluate(written, [title or "x" for title in written])
    assert scores.overall.metrics["exact_match"] == pytest.approx(1)


def test_a_ranker_is_fitted_on_a_data_frame_and_says_what_it_learnt_from() -> None:
    rows = {"prev_items": [["tea"], ["tea", "cup"]] * 3, "next_item": ["cup", "pot"] * 3, "locale": ["UK"] * 6}
    frame = pd.DataFrame(rows)
    asked = [["tea"], ["cup"]]
    ranker = llmrec.fit("covisit", frame, sessions=llmrec.sessions(asked, "UK"), transductive=True, history=2)
    lists = ranker.rank(asked, k=1, locale="UK")
    assert lists.to_list() == [["cup"], ["pot"]]
    assert lists.provenance["transductive"] is True
    assert lists.provenance["settings"]["history"] == 2
    assert "<table" in lists._repr_html_()
    assert lists.to_pandas()[["session", "rank", "id"]].to_numpy().tolist() == [[0, 1, "cup"], [1, 1, "pot"]]
    ids, scores = lists
    assert len(ids) == len(scores) == 2


@pytest.mark.parametrize("given", [lambda frame: frame, pa.table], ids=["data frame", "Arrow table"])
def test_products_are_a_data_frame_or_an_arrow_table(given: Any) -> None:
    rows = {"id": ["a", "b", "c"], "locale": ["UK", "UK", "DE"], "title": ["x", "y", "z"], "brand": [None] * 3}
    ranker = llmrec.fit("covisit", [["a", "b"], ["a", "c"]], given(pd.DataFrame(rows)), locale="UK")
    assert ranker.rank([["a"]], locale="UK").to_list() == [["b"]], "the UK sells no c"


USER = """
import llmrec

store = llmrec.open_store("stores/demo")
lists: llmrec.Rankings = llmrec.fit("covisit", store.training()).rank(store.sessions("validation"), k=100)
result: llmrec.Result = llmrec.evaluate(lists, store.targets("validation"))
titles: llmrec.Titles = llmrec.TitleWriter.load("model").write([["tea"]], locale="UK")
score: float = result.overall.metrics["mrr@100"]
id: str = llmrec.SimilarProducts.load("titles").search(["tea"], k=2)[0][0].id
llmrec.fit("covisit", store.training(), seed="0")
"""


def test_a_users_script_is_checked_against_the_packages_types(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(USER, encoding="utf-8")
    flags = ["--strict", "--config-file", "pyproject.toml", "--cache-dir", ".mypy_cache", tmp_path / "script.py"]
    told = subprocess.run([sys.executable, "-m", "mypy", *flags], capture_output=True, text=True, cwd=ROOT)
    wrong = [line for line in told.stdout.splitlines() if "error:" in line]
    assert len(wrong) == 1, told.stdout + told.stderr
    assert 'script.py:10: error: Argument "seed" to "fit" has incompatible type "str"' in wrong[0]


def test_a_notebook_shows_the_difference_to_what_was_compared() -> None:
    result = llmrec.evaluate([["a"], ["b"]], ["a", "b"], compare=[["b", "a"], ["b"]], samples=50)
    assert "+0.2500 [+0.0000, +0.5000]" in result._repr_html_()


def test_what_a_notebook_shows_is_escaped() -> None:
    ranker = llmrec.fit("popularity", [["<script>", "b"], ["<script>", "c"]])
    assert "<script>" not in ranker.rank([["b"]])._repr_html_()
    assert "<script>" not in llmrec.Titles(["<script>"], ["UK"])._repr_html_()
    assert (
        "<script>"
        not in llmrec.evaluate([["a"]], pd.DataFrame({"next_item": ["a"], "locale": ["<script>"]}))._repr_html_()
    )


FRAME = pd.DataFrame({"prev_items": [["a"], ["b"]], "next_item": ["b", "a"], "locale": ["UK", "UK"]})


@pytest.mark.parametrize(
    ("call", "error", "line"),
    [
        (lambda _: llmrec.fit("covisitt", FRAME), ConfigError, "no ranker 'covisitt'; did you mean 'covisit'?"),
        (lambda _: llmrec.fit("covisit", FRAME, history=0), ConfigError, "history must be at least 1; got 0"),
        (
            lambda _: llmrec.fit("covisit", FRAME, transductive=True),
            ConfigError,
            "transductive learns from the sessions",
        ),
        (lambda _: llmrec.fit("covisit", "B01"), DataError, "training: no file 'B01'"),
        (lambda _: llmrec.fit("covisit", [[]]), DataError, "hold no item"),
        (lambda _: llmrec.fit("text_knn", FRAME, FRAME), DataError, "products: no column 'id' among prev_items"),
        (lambda _: llmrec.fit("covisit", FRAME).rank("B01"), DataError, "sessions: no file 'B01'"),
        (lambda _: llmrec.fit("covisit", FRAME).rank(FRAME, k=0), ConfigError, "k must be at least 1; got 0"),
        (lambda _: llmrec.evaluate([["a"]], ["a", "b"]), DataError, "predictions: 1 for the 2 targets"),
        (lambda _: llmrec.evaluate([["a"]], [7]), DataError, "targets, row 1: a target is one id or title; got 7"),
        (lambda _: llmrec.evaluate([["a"]], None), DataError, "targets: there are none"),
        (lambda folder: llmrec.open_store(folder), StoreError, "no store here"),
        (lambda folder: llmrec.load_ranker(folder), ModelError, "no ranker here"),
        (lambda folder: llmrec.TitleWriter.load(folder), ModelError, "no config.json in this folder"),
        (lambda folder: llmrec.TitleWriter.load(folder, k=0), ConfigError, "k must be at least 1; got 0"),
        (lambda folder: llmrec.SimilarProducts.load(folder), StoreError, "no embeddings here"),
    ],
)
def test_errors_are_the_librarys_and_speak_of_arguments(
    call: object, error: type[LlmrecError], line: str, tmp_path: Path
) -> None:
    with pytest.raises(error) as raised:
        call(tmp_path)  # type: ignore[operator]
    assert line in str(raised.value)
    assert "--" not in str(raised.value).split("llmrec ")[0]


def test_histories_that_are_none_are_refused(title_model: Path) -> None:
    writer = llmrec.TitleWriter.load(title_model)
    for histories, line in (
        ("Tea", "for one session write"),
        (["Tea"], "row 1: a session is a list of titles; got 'Tea'"),
        ([[7]], "row 1: a product is a title, or a mapping with 'title'; got 7"),
    ):
        with pytest.raises(DataError, match=line):
            writer.write(histories, "UK")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="locale: 2 for 1 histories"):
        writer.write([["Tea"]], ["UK", "DE"])
    with pytest.raises(ConfigError, match="num_beams must be at least 1"):
        writer.write([["Tea"]], "UK", num_beams=0)
    assert len(writer.write([[], ["Tea"]], "UK")) == 2


def test_training_that_repeats_the_sessions_to_rank_with_their_labels_is_refused() -> None:
    rows = [[f"a{number}", f"b{number}", f"c{number}"] for number in range(60)]
    labelled = llmrec.sessions({"prev_items": rows, "next_item": [f"d{n}" for n in range(60)], "locale": ["UK"] * 60})
    with pytest.raises(DataError, match=r"repeat 60 of the 60 sessions.*add allow_overlap"):
        llmrec.fit("covisit", labelled, sessions=labelled)
    ranker = llmrec.fit("covisit", labelled, sessions=labelled, allow_overlap=True)
    assert ranker.rank(labelled).provenance["overlap"]["sessions"] == 60
