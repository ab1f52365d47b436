"""Shared and fetched again through a stand-in of the hub: the same lists, titles and vectors; and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import llmrec
from llmrec.cli import main
from llmrec.data.store import Store
from llmrec.errors import ConfigError, LlmrecError, ModelError
from llmrec.rankers.sessions import Sessions
from llmrec.selection.selector import Selector
from llmrec.selection.table import TitleTable
from llmrec.text.encoders.tfidf import TfidfEncoder
from llmrec.text.prompts import load_prompt
from llmrec.titles.models.model import ModelCard, build_tiny_mt5, save_model
from llmrec.titles.models.tokenizer import build_tokenizer
from tests.conftest import TITLES
from tests.hub.stand_in import TOKEN, Hub, meet, serving
from tests.selection import shop

WORDS = [f"{title} {number}" for titles in TITLES.values() for title in titles for number in (1, 2)]


@pytest.fixture(scope="module")
def served() -> Iterator[Hub]:
    with serving() as hub:
        yield hub


@pytest.fixture
def hub(served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The stand-in as the hub of this process, with a token and an empty cache."""
    served.repos.clear()
    served.asked.clear()
    meet(served, monkeypatch, tmp_path / "hub-cache")
    return served


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    sequences, locales = shop.sessions(120, 0)
    rows = {"prev_items": [one[:-1] for one in sequences], "next_item": [one[-1] for one in sequences]}
    return pd.DataFrame({**rows, "locale": locales})


@pytest.fixture(scope="module")
def products() -> pa.Table:
    return shop.product_table()


@pytest.fixture(scope="module")
def covisit(frame: pd.DataFrame, products: pa.Table) -> Any:
    return llmrec.fit("covisit", frame, products)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> llmrec.TitleWriter:
    folder = tmp_path_factory.mktemp("title") / "model"
    tokenizer, prompt = build_tokenizer(WORDS, 400), load_prompt("plain_v1")
    card = ModelCard(prompt.name, prompt.hash, 2, 48, 12)
    save_model(folder, build_tiny_mt5(len(tokenizer), 32, 1, 0), tokenizer, card)
    return llmrec.TitleWriter.load(folder)


def command(*arguments: str | Path) -> int | str | None:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


def header_of(hub: Hub, name: str, shelf: str = "models") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(hub.files(name, shelf)["README.md"].decode().split("---\n", 2)[1])
    return found


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("popularity", {"per_locale": True}),
        ("covisit", {}),
        ("fusion", {"sources": ("covisit_near", "text_knn"), "rounds": 3, "folds": 2, "min_leaf": 5, "scorers": ()}),
    ],
)
def test_a_ranker_that_was_fetched_gives_the_same_lists(
    hub: Hub, frame: pd.DataFrame, products: pa.Table, name: str, settings: dict[str, Any]
) -> None:
    ranker = llmrec.fit(name, frame, products, **settings)
    shared = ranker.push_to_hub("me/ranker", licence="apache-2.0")
    assert {*hub.files("me/ranker")} == {*shared.files, ".gitattributes"}
    again = type(ranker).from_pretrained("me/ranker")
    asked = frame.head(20)
    assert again.rank(asked, k=9).to_list() == ranker.rank(asked, k=9).to_list()
    header = header_of(hub, "me/ranker")
    assert header["license"] == "apache-2.0"
    assert header["library_name"] == "llmrec"
    assert "ja" in header["language"]
    made_by = llmrec.load_ranker(f"hf://me/ranker@{shared.revision}").rank(asked, k=1).provenance
    assert made_by["hub"] == {"repo": "me/ranker", "revision": shared.revision}


def test_a_title_model_that_was_fetched_writes_the_same_titles_from_the_same_prompt(
    hub: Hub, writer: llmrec.TitleWriter
) -> None:
    revision = writer.push_to_hub("me/titles").revision
    asked = [["USB-C cable 2 m", "Kettle 1.7 L"], ["Desk lamp"]]
    wanted = list(writer.write(asked, "UK"))
    for again in (llmrec.TitleWriter.from_pretrained("me/titles"), llmrec.TitleWriter.load("me/titles")):
        assert (again.card, again.prompt.hash) == (writer.card, writer.prompt.hash)
        written = again.write(asked, "UK")
        assert list(written) == wanted
        assert written.provenance["model"] == f"me/titles@{revision}"
    assert header_of(hub, "me/titles")["pipeline_tag"] == "text-generation"


def test_an_encoder_and_an_index_that_were_fetched_give_the_same_vectors_and_hits(
    hub: Hub, products: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = TfidfEncoder.fit([title for title in products["title"].to_pylist() if title], 8, 0)
    encoder.push_to_hub("me/encoder")
    again = TfidfEncoder.from_pretrained("me/encoder")
    np.testing.assert_array_equal(again.encode_queries(["Bolt kind 3"]), encoder.encode_queries(["Bolt kind 3"]))
    pq.write_table(products, tmp_path / "products.parquet")
    monkeypatch.chdir(tmp_path)
    assert command("embed", "products.parquet", "--out", "index") == 0
    similar = llmrec.SimilarProducts.load("index")
    similar.push_to_hub("me/index")
    found = llmrec.from_pretrained("me/index")
    assert found.search(["Bolt kind 3"], k=5) == similar.search(["Bolt kind 3"], k=5)


def test_a_selector_that_was_fetched_chooses_the_same_titles(hub: Hub, products: pa.Table) -> None:
    table = TitleTable(products, {})
    selector = Selector(shop.SETTINGS).fit(shop.training(), products, table)
    selector.push_to_hub("me/selector")
    sequences, locales = shop.sessions(10, 3)
    asked = Sessions.of([one[:-1] for one in sequences], locales)
    assert Selector.from_pretrained("me/selector").select(asked, table) == selector.select(asked, table)
    assert "Out of fold" in hub.files("me/selector")["README.md"].decode()


def test_a_store_and_a_run_are_datasets_that_others_read_too(
    hub: Hub, tiny_store: Store, tmp_path: Path, covisit: Any, frame: pd.DataFrame
) -> None:
    import datasets

    assert llmrec.push_to_hub(tiny_store, "me/shop", private=True).repo == "datasets/me/shop"
    assert hub.repos["datasets", "me/shop"].private
    again = llmrec.from_pretrained("datasets/me/shop")
    assert again.fingerprint == tiny_store.fingerprint
    assert pq.read_table(again.products).equals(pq.read_table(tiny_store.products))
    assert command("hub", "pull", "datasets/me/shop", tmp_path / "store") == 0
    rows = datasets.load_dataset(str(tmp_path / "store"), cache_dir=str(tmp_path / "hf"))
    assert {name: len(split) for name, split in rows.items()} == {"development": 35, "validation": 35}
    assert {one["config_name"] for one in header_of(hub, "me/shop", "datasets")["configs"]} == {
        "products",
        "sessions",
        "test_sessions",
        "targets",
    }
    covisit.rank(frame, k=5).save(tmp_path / "covisit.parquet")
    assert command("hub", "push", tmp_path / "covisit.parquet", "me/run") == 0
    run = llmrec.from_pretrained("datasets/me/run")
    assert run.predictions.to_pylist() == covisit.rank(frame, k=5).to_list()


def test_the_card_shows_the_scores_that_stand_beside_the_folder_and_no_others(
    hub: Hub, covisit: Any, frame: pd.DataFrame, tmp_path: Path
) -> None:
    covisit.save(tmp_path / "kept")
    result = llmrec.evaluate(covisit.rank(frame.drop(columns="next_item")), frame, by=["locale"], samples=50)
    result.save(tmp_path / "kept.result.json")
    assert command("hub", "push", tmp_path / "kept", "me/scored", "--licence", "mit") == 0
    (entry,) = header_of(hub, "me/scored")["model-index"]
    metrics = {one["type"]: one["value"] for one in entry["results"][0]["metrics"]}
    assert metrics == {name: round(value, 6) for name, value in result.overall.metrics.items()}
    assert "[" in hub.files("me/scored")["README.md"].decode().partition("By locale")[2], "the interval"
    llmrec.fit("popularity", frame).save(tmp_path / "other")
    with pytest.raises(ConfigError, match="it is of the ranker 'covisit', this is 'popularity'"):
        llmrec.push_to_hub(tmp_path / "other", "me/other", results=[result], dry_run=True)
    (tmp_path / "other.result.json").write_text((tmp_path / "kept.result.json").read_text(encoding="utf-8"))
    assert "model-index" not in llmrec.push_to_hub(tmp_path / "other", "me/other", dry_run=True).card


def test_pulled_it_is_a_folder_as_any_other_and_runs_say_whence(
    hub: Hub, covisit: Any, frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = covisit.push_to_hub("me/covisit").revision
    monkeypatch.chdir(tmp_path)
    frame.drop(columns="next_item").to_parquet("asked.parquet")
    assert command("hub", "pull", "me/covisit", "kept", "--revision", revision) == 0
    assert command("hub", "pull", "me/covisit", "kept") == 0, "the same kind is replaced"
    for load in ("kept", "hf://me/covisit"):
        assert command("rank", "covisit", "--load", load, "--sessions", "asked.parquet", "--out", "run.parquet") == 0
        made = json.loads(Path("run.json").read_text(encoding="utf-8"))["provenance"]
        assert made["hub"] == {"repo": "me/covisit", "revision": revision}
    Path("notes").mkdir()
    Path("notes/mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="notes: exists and does not hold a ranker"):
        llmrec.hub.pull.pull("me/covisit", "notes")


def test_shared_again_it_takes_the_place_of_the_former_and_of_nothing_else(
    hub: Hub, frame: pd.DataFrame, products: pa.Table, covisit: Any
) -> None:
    both = llmrec.fit("popularity", frame, per_locale=True)
    first = both.push_to_hub("me/both").revision
    llmrec.fit("popularity", frame[frame.locale == "US"], per_locale=True).push_to_hub("me/both")
    assert not [name for name in hub.files("me/both") if name.startswith("1/")]
    assert len(llmrec.from_pretrained("me/both").rankers) == 1
    assert len(llmrec.from_pretrained(f"me/both@{first}").rankers) == 2
    with pytest.raises(ConfigError, match="me/both: holds a ranker for each locale, and this is a ranker; choose an"):
        covisit.push_to_hub("me/both")
    hub.add("me/notes", {"notes.txt": b"mine"})
    with pytest.raises(ConfigError, match=r"holds something else \(notes.txt\)"):
        covisit.push_to_hub("me/notes")


def test_without_a_network_the_cache_serves_and_what_it_lacks_is_one_line(
    hub: Hub, covisit: Any, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = covisit.push_to_hub("me/covisit").revision
    llmrec.from_pretrained("me/covisit")
    hub.asked.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    again = llmrec.from_pretrained("me/covisit")
    assert again.learnt["hub"]["revision"] == revision
    assert again.rank(frame, k=3).to_list() == covisit.rank(frame, k=3).to_list()
    with pytest.raises(ModelError, match="me/other: not in the cache, and HF_HUB_OFFLINE is set"):
        llmrec.from_pretrained("me/other")
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        covisit.push_to_hub("me/covisit")
    assert hub.asked == []


RANKER = b'{"format": "llmrec ranker"}'
HOSTILE: dict[str, tuple[dict[str, bytes], dict[str, int], str]] = {
    "a way out": ({"ranker.json": RANKER, "../../evil.json": b"{}"}, {}, "'../../evil.json' is no file of ours"),
    "an absolute name": ({"ranker.json": RANKER, "/etc/evil.json": b"{}"}, {}, "'/etc/evil.json' is no file of ours"),
    "a backslash": ({"ranker.json": RANKER, "..\\evil.json": b"{}"}, {}, "is no file of ours"),
    "a pickle": (
        {"ranker.json": RANKER, "arrays.pkl": b"cos\nsystem\n"},
        {},
        "holds 'arrays.pkl', which could run",
    ),
    "weights in a pickle": (
        {"llmrec.json": b"{}", "pytorch_model.bin": b""},
        {},
        "'pytorch_model.bin', which could",
    ),
    "code": ({"llmrec.json": b"{}", "modeling_x.py": b"import os"}, {}, "'modeling_x.py', which could run code"),
    "somebody else's model": ({"config.json": b"{}", "model.safetensors": b""}, {}, "holds nothing that llmrec shares"),
    "an endless record": (
        {"ranker.json": RANKER},
        {"listed ranker.json": 10**10},
        "has 10,000,000,000 bytes, and",
    ),
    "more than the disk": (
        {"ranker.json": RANKER, "arrays.safetensors": b""},
        {"listed arrays.safetensors": 10**18},
        "the cache's disk has room for",
    ),
    "a size that lies": (
        {"ranker.json": RANKER, "arrays.safetensors": b"1"},
        {"arrays.safetensors": 10**10},
        "arrays.safetensors would be 10,000,000,000 bytes, where 1 were listed",
    ),
    "an empty one": ({}, {}, "holds nothing that llmrec shares"),
    "a record cut short": ({"ranker.json": RANKER}, {}, "ranker.json: damaged"),
    "another format": ({"ranker.json": b'{"format": "other ranker"}'}, {}, "holds nothing that is shared"),
}


@pytest.mark.parametrize(("files", "lies", "line"), HOSTILE.values(), ids=HOSTILE)
def test_what_a_repository_must_not_do_is_one_line_and_nothing_is_fetched(
    hub: Hub,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, bytes],
    lies: dict[str, int],
    line: str,
) -> None:
    hub.add("evil/x", files, lies=lies)
    with pytest.raises(ModelError) as told:
        llmrec.from_pretrained("evil/x")
    assert line in str(told.value)
    assert command("hub", "pull", "evil/x", tmp_path / "out") in (0, 2)
    if "record cut short" not in line and "damaged" not in line:
        assert line in capsys.readouterr().err
    held = [path for path in tmp_path.rglob("*") if path.name.endswith(("evil.json", ".pkl", ".bin", ".py"))]
    assert held == []


def test_another_kind_than_was_asked_for_is_one_line(hub: Hub, covisit: Any, writer: llmrec.TitleWriter) -> None:
    covisit.push_to_hub("me/covisit")
    with pytest.raises(ModelError, match="me/covisit: holds a Covisit, not a TitleWriter"):
        llmrec.TitleWriter.from_pretrained("me/covisit")
    with pytest.raises(ModelError, match="datasets/me/covisit: no such repository"):
        llmrec.from_pretrained("datasets/me/covisit")


@pytest.mark.parametrize(
    ("repo", "error", "line"),
    [
        (
            "me/nowhere",
            ModelError,
            "me/nowhere: no such repository, or a private one and no token for it",
        ),
        ("me/covisit@v9", ModelError, "me/covisit: has no revision 'v9'"),
        ("covisit", ConfigError, "'covisit' is no repository; write OWNER/NAME"),
        ("me/../x", ConfigError, "is no repository"),
        ("me/covisit@a@b", ConfigError, "is no repository"),
    ],
)
def test_what_is_not_there_is_one_line(hub: Hub, covisit: Any, repo: str, error: type[LlmrecError], line: str) -> None:
    covisit.push_to_hub("me/covisit")
    with pytest.raises(error) as told:
        llmrec.from_pretrained(repo)
    assert str(told.value).startswith(line) or line in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("token", "repo", "line"),
    [
        ("hf_anotherstokenaltogether", "me/x", "the hub does not take this token"),
        (None, "me/x", "the hub does not take this token; set HF_TOKEN"),
        (TOKEN, "others/x", "this token may not do that"),
    ],
)
def test_a_token_that_does_not_fit_is_one_line_without_it(
    hub: Hub, covisit: Any, monkeypatch: pytest.MonkeyPatch, token: str | None, repo: str, line: str, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ModelError, match=line) as told:
        covisit.push_to_hub(repo)
    assert "\n" not in str(told.value)
    assert token is None or token not in str(told.value)


def test_no_hub_at_all_is_one_line(
    hub: Hub, covisit: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    for deed in (lambda: covisit.push_to_hub("me/x"), lambda: llmrec.from_pretrained("me/x")):
        with pytest.raises(ModelError, match=r"the hub \(http://127.0.0.1:9\) cannot be reached"):
            deed()


def test_nothing_of_this_machine_and_no_key_is_shared(
    hub: Hub, covisit: Any, frame: pd.DataFrame, tmp_path: Path
) -> None:
    covisit.save(tmp_path / "kept")
    (tmp_path / "kept" / "model.pkl").write_bytes(b"mine")
    (tmp_path / "kept" / ".env").write_text("HF_TOKEN=x", encoding="utf-8")
    result = llmrec.evaluate(covisit.rank(frame), frame)
    object.__setattr__(result, "provenance", {**result.provenance, "command": [str(tmp_path / "x.py"), TOKEN]})
    shared = llmrec.push_to_hub(tmp_path / "kept", "me/clean", results=[result])
    assert shared.left_out == ("learnt_from.json", "learnt_from.safetensors", "model.pkl")
    held = hub.files("me/clean")
    assert {*held} == {".gitattributes", "README.md", "arrays.safetensors", "ranker.json"}
    for content in held.values():
        assert TOKEN.encode() not in content
        assert str(tmp_path).encode() not in content
    record = json.loads((tmp_path / "kept" / "ranker.json").read_text(encoding="utf-8"))
    record.pop("checksum")
    record["settings"]["note"] = TOKEN
    (tmp_path / "kept" / "ranker.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"ranker.json: 'note' holds what looks like a key") as told:
        llmrec.push_to_hub(tmp_path / "kept", "me/clean")
    assert TOKEN not in str(told.value)


def test_an_adapter_names_its_base_by_the_hubs_name(writer: llmrec.TitleWriter, tmp_path: Path) -> None:
    writer.save(tmp_path / "lora")
    (tmp_path / "lora" / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(tmp_path / "base"), "r": 4}), encoding="utf-8"
    )
    with pytest.raises(ConfigError, match="its base is a folder of this machine; name the base's repository with"):
        llmrec.push_to_hub(tmp_path / "lora", "me/lora", dry_run=True)
    card = llmrec.push_to_hub(tmp_path / "lora", "me/lora", base_model="Qwen/Qwen3-0.6B", dry_run=True).card
    assert yaml.safe_load(card.split("---\n")[1])["base_model"] == "Qwen/Qwen3-0.6B"
    assert str(tmp_path) not in card


def test_text_of_a_file_stays_text_in_a_card(frame: pd.DataFrame, tmp_path: Path) -> None:
    evil = "X](http://evil) <script>\n---\nlicense: mit"
    ranker = llmrec.fit("popularity", frame.assign(locale=evil))
    ranker.save(tmp_path / "kept")
    card = llmrec.push_to_hub(tmp_path / "kept", "me/x", dry_run=True).card
    header = yaml.safe_load(card.split("---\n")[1])
    assert "license" not in header
    assert "<script>" not in card
    assert "](http" not in card


def test_the_commands_obey_the_environment_and_never_show_the_token(hub: Hub, covisit: Any, tmp_path: Path) -> None:
    covisit.save(tmp_path / "kept")
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    code = f"""
import sys
from llmrec.cli import status_of
said = [status_of(words) for words in (
    ["hub", "push", {str(tmp_path / "kept")!r}, "me/typed", "--json"],
    ["hub", "pull", "me/typed", {str(tmp_path / "back")!r}],
    ["hub", "pull", "me/absent", {str(tmp_path / "none")!r}],
)]
sys.exit(0 if said == [0, 0, 2] else 1)
"""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **settings}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["result"]["repo"] == "me/typed"
    assert document["result"]["revision"] in hub.repos["models", "me/typed"].commits
    assert TOKEN not in done.stdout + done.stderr
    assert (tmp_path / "back" / "ranker.json").read_bytes() == (tmp_path / "kept" / "ranker.json").read_bytes()
    assert len(done.stderr.splitlines()) <= 6
