from __future__ import annotations

import copy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from llmrec.data.store import Store
from llmrec.errors import ConfigError, DataError, StoreError
from llmrec.text.prompts import load_prompt
from llmrec.titles.models.tokenizer import build_tokenizer
from llmrec.titles.prompting import prompt_sessions, recent_products
from llmrec.titles.prompting import title_tokenizer as encoding
from llmrec.titles.prompting.prompt_export import export_prompt_sessions
from llmrec.titles.prompting.prompt_sessions import build_prompt_sessions
from llmrec.titles.prompting.prompt_tokens import encode_prompts
from llmrec.titles.prompting.recent_products import render_session
from llmrec.titles.prompting.title_tokenizer import TitleTokenizer
from tests.conftest import TITLES

PLAIN = load_prompt("plain_v1")
ATTRIBUTES = load_prompt("attributes_v1")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer([title for titles in TITLES.values() for title in titles] * 3, 500)


def rows(store: Store, tmp_path: Path, split: str = "development", **settings: Any) -> datasets.Dataset:
    settings = {"k": 3, "prompt": PLAIN, "cache": tmp_path / "cache"} | settings
    return build_prompt_sessions(store, split, **settings)


def test_the_k_most_recent_titles_oldest_first(tiny_store: Store, tmp_path: Path) -> None:
    """Session 0 (UK) is X0 X1 X2 X3, then X4."""
    for k, expected in ((1, [3]), (3, [1, 2, 3]), (9, [0, 1, 2, 3])):
        row = rows(tiny_store, tmp_path, k=k)[0]
        titles = TITLES["UK"]
        assert row["prompt"] == " || ".join(titles[number] for number in expected)
        assert (row["last_title"], row["target_title"]) == (titles[3], titles[4])


def test_items_without_a_title_take_no_place(tiny_store: Store, tmp_path: Path) -> None:
    """Fr: X1 X1; X2 ABSENT X0 UNTITLED; UNTITLED ABSENT; a target without a title."""
    found = [row for row in rows(tiny_store, tmp_path, k=2) if row["locale"] == "FR"]
    titles = TITLES["FR"]
    assert found[1]["prompt"] == f"{titles[1]} || {titles[1]}"
    assert (found[2]["prompt"], found[2]["last_title"]) == (f"{titles[2]} || {titles[0]}", titles[0])
    assert (found[3]["prompt"], found[3]["last_title"], found[3]["target_title"]) == ("", "", titles[2])
    assert found[4]["target_title"] is None


def test_titles_come_from_the_sessions_own_locale_and_order_is_kept(tiny_store: Store, tmp_path: Path) -> None:
    found = rows(tiny_store, tmp_path, "train", k=1)
    assert found["session_id"][:] == list(range(70))
    assert all(row["last_title"] in (*TITLES[row["locale"]], "") for row in found)


def test_ranges_of_any_size_and_limits_give_the_same_rows(
    tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rows(tiny_store, tmp_path, "train").to_list()
    monkeypatch.setattr(recent_products, "RANGE_SESSIONS", 9)
    monkeypatch.setattr(prompt_sessions, "BATCH_SESSIONS", 4)
    for limit in (None, 1, 18, 25, 1000):
        assert rows(tiny_store, tmp_path, "train", limit=limit, cache=tmp_path / "b").to_list() == whole[:limit]


def test_a_test_split_has_no_targets(tiny_store: Store, tmp_path: Path, tokenizer: Any) -> None:
    found = rows(tiny_store, tmp_path, "test", tokenizer=tokenizer)
    assert len(found) == 35
    assert set(found["target_title"]) == {None}
    assert all(labels == [] for labels in found["labels"])
    with pytest.raises(StoreError, match="no split 'tset'"):
        rows(tiny_store, tmp_path, "tset")


def test_tokens_are_the_prompts_and_titles_ended(tiny_store: Store, tmp_path: Path, tokenizer: Any) -> None:
    for row in rows(tiny_store, tmp_path, tokenizer=tokenizer, prompt=ATTRIBUTES):
        assert row["input_ids"] == tokenizer(row["prompt"])["input_ids"]
        assert row["input_ids"][-1] == tokenizer.eos_token_id
        assert row["labels"] == (tokenizer(row["target_title"])["input_ids"] if row["target_title"] else [])


def test_a_long_target_is_cut_and_still_ended(tiny_store: Store, tmp_path: Path, tokenizer: Any) -> None:
    for row in rows(tiny_store, tmp_path, tokenizer=tokenizer, max_target_tokens=4):
        if row["target_title"]:
            whole = tokenizer(row["target_title"])["input_ids"]
            assert row["labels"] == ([*whole[:3], tokenizer.eos_token_id] if len(whole) > 4 else whole)


def test_the_oldest_titles_go_first(tokenizer: Any) -> None:
    products = [{"title": title} for title in TITLES["UK"]]
    for kept in range(5, 0, -1):
        expected = " || ".join(TITLES["UK"][-kept:])
        room = len(tokenizer(expected)["input_ids"])
        texts, ids = encode_prompts(PLAIN, TitleTokenizer(tokenizer), [("UK", products)], room)
        assert texts == [expected]
        assert len(ids[0]) == room


def test_attributes_go_before_the_most_recent_title_is_cut(tokenizer: Any) -> None:
    products = [{"title": "Mouse"}, {"title": "Kettle 1.7 L", "brand": "Brand UK " * 9}]
    room = len(tokenizer(ATTRIBUTES.render([{"title": "Kettle 1.7 L"}], "UK"))["input_ids"])
    texts, _ = encode_prompts(ATTRIBUTES, TitleTokenizer(tokenizer), [("UK", products)], room)
    assert "1. Kettle 1.7 L\n" in texts[0]
    texts, ids = encode_prompts(ATTRIBUTES, TitleTokenizer(tokenizer), [("UK", products)], room - 3)
    assert "1. Kett" in texts[0]
    assert "1.7 L" not in texts[0]
    assert len(ids[0]) == room - 3


@given(data=st.data())
def test_any_prompt_fits_and_keeps_some_of_the_most_recent_title(tokenizer: Any, data: st.DataObject) -> None:
    """Room for six tokens takes the start, one character of at most four bytes, and the end."""
    title = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Cn", "Co", "Mn", "Zs", "Zl", "Zp"]))
    titles = data.draw(st.lists(title.filter(lambda text: text.strip()), min_size=1, max_size=4))
    room = data.draw(st.integers(30, 60))
    sessions = [("JP", [{"title": text} for text in titles]), ("UK", [{"title": "Mouse"}])]
    texts, ids = encode_prompts(PLAIN, TitleTokenizer(tokenizer), sessions, room)
    assert [len(row) <= room for row in ids] == [True, True]
    assert ids == tokenizer(texts)["input_ids"]
    assert texts[0]
    last = texts[0].rsplit(" || ", 1)[-1]
    assert " ".join(titles[-1].split()).startswith(last)
    assert texts[1] == "Mouse"


@given(st.lists(st.text(max_size=30) | st.text("ab \n\t\u0301\u200d\u3000\u00a8️ガ <s/>", max_size=12), max_size=6))
def test_words_give_the_ids_of_the_whole_text(tokenizer: Any, texts: list[str]) -> None:
    texts = [text for text in texts if "</s>" not in text]  # read as text, unlike by the tokenizer itself
    remembering = TitleTokenizer(tokenizer)
    assert remembering.by_words
    for _ in range(2):  # at first sight, and remembered
        assert remembering.encode(texts) == [tokenizer(text)["input_ids"] for text in texts]


def test_words_are_forgotten_before_they_fill_the_memory(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "MOST_WORDS", 4)
    remembering = TitleTokenizer(tokenizer)
    for text in ("a b", "c d e", "a f", "a b c d e f"):
        assert remembering.encode([text]) == [tokenizer(text)["input_ids"]]


def test_a_tokenizer_that_does_not_split_at_spaces_is_asked_for_whole_texts(tokenizer: Any) -> None:
    other = copy.deepcopy(tokenizer)
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    assert not TitleTokenizer(other).by_words
    assert TitleTokenizer(other).encode(["Kettle 1.7 L", ""]) == other(["Kettle 1.7 L", ""])["input_ids"]


def test_no_room_for_a_title_is_said_before_anything_is_built(
    tiny_store: Store, tmp_path: Path, tokenizer: Any
) -> None:
    with pytest.raises(ConfigError, match=r"--max-source-tokens 20 leaves no room .*/attributes_v1 .* at least \d+"):
        rows(tiny_store, tmp_path, prompt=ATTRIBUTES, tokenizer=tokenizer, max_source_tokens=20)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("settings", [{"k": 0}, {"limit": 0}])
def test_settings_below_one_are_refused(tiny_store: Store, tmp_path: Path, settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must be at least 1; got 0"):
        rows(tiny_store, tmp_path, **settings)


def test_the_cache_is_used_again_and_keyed_by_what_decides_the_rows(
    tiny_store: Store, tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    rows(tiny_store, tmp_path, tokenizer=tokenizer)
    tokenizer(["a", "bb"], truncation=True, max_length=2, padding=True)  # leaves its traces in the tokenizer
    (file,) = cache.iterdir()
    before = file.stat().st_mtime_ns
    rows(tiny_store, tmp_path, tokenizer=tokenizer)
    assert [one.stat().st_mtime_ns for one in cache.iterdir()] == [before]
    for changed in ({"k": 2}, {"prompt": ATTRIBUTES}, {"max_target_tokens": 9}, {"limit": 5}, {"split": "validation"}):
        rows(tiny_store, tmp_path, **({"tokenizer": tokenizer} | changed))
    assert len(list(cache.iterdir())) == 6


def test_a_killed_build_leaves_no_cache_file(tiny_store: Store, tmp_path: Path) -> None:
    code = (
        "import sys, os, signal\n"
        "from pathlib import Path\n"
        "from llmrec.data.store import Store\n"
        "from llmrec.titles.prompting import prompt_sessions as p\n"
        "from llmrec.text.prompts import load_prompt\n"
        "p.BATCH_SESSIONS = 10\n"
        "p._Plan.batch = lambda self, table, real=p._Plan.batch: "
        "os.kill(os.getpid(), signal.SIGKILL) if table['session_id'][0].as_py() > 20 else real(self, table)\n"
        "p.build_prompt_sessions(Store.load(Path(sys.argv[1])), 'development', k=1, prompt=load_prompt('plain'), "
        "cache=Path(sys.argv[2]))\n"
    )
    cache = tmp_path / "cache"
    done = subprocess.run([sys.executable, "-c", code, str(tiny_store.path), str(cache)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(cache.iterdir())  # it was under way
    assert not list(cache.glob("*.arrow"))
    assert len(rows(tiny_store, tmp_path, k=1)) == 35


def test_render_session_is_the_row_of_the_data_set(tiny_store: Store, tmp_path: Path) -> None:
    for row in rows(tiny_store, tmp_path, "validation", prompt=ATTRIBUTES).select(range(0, 35, 6)):
        assert render_session(ATTRIBUTES, tiny_store, "validation", row["session_id"], 3) == row["prompt"]
    with pytest.raises(DataError, match=r"split 'validation' has no session 2; its first are 1, 3, 5"):
        render_session(ATTRIBUTES, tiny_store, "validation", 2, 3)


def test_export_is_read_by_load_dataset_and_says_what_it_is(tiny_store: Store, tmp_path: Path) -> None:
    made = {split: rows(tiny_store, tmp_path, split) for split in ("development", "test")}
    out = tmp_path / "export"
    for _ in range(2):  # the second replaces the first
        export_prompt_sessions(made, out, prompt=PLAIN, k=3, fingerprint=tiny_store.fingerprint)
    read = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "hf"))
    assert {split: part.to_list() for split, part in read.items()} == {
        split: part.to_list() for split, part in made.items()
    }
    card = (out / "README.md").read_text(encoding="utf-8")
    for part in (
        PLAIN.hash,
        "K = 3",
        tiny_store.fingerprint,
        "- ja",
        "n<1K",
        "- development: 35 sessions",
    ):
        assert part in card
    with pytest.raises(ConfigError, match="holds no exported prompt sessions"):
        export_prompt_sessions(made, tiny_store.path, prompt=PLAIN, k=3, fingerprint="f")
    with pytest.raises(ConfigError, match="got none"):
        export_prompt_sessions({}, out, prompt=PLAIN, k=3, fingerprint="f")


def test_a_sample_comes_from_every_locale_and_is_always_the_same(tiny_store: Store, tmp_path: Path) -> None:
    def build(cache: str, sample: int) -> datasets.Dataset:
        prompt = load_prompt("plain_v1")
        return build_prompt_sessions(tiny_store, "train", k=1, prompt=prompt, cache=tmp_path / cache, sample=sample)

    drawn = build("a", 30)
    assert len(drawn) == 30
    assert drawn["session_id"][:] == build("b", 30)["session_id"][:] == sorted(drawn["session_id"])
    assert set(drawn["locale"]) == set(TITLES)
    assert set(build("a", 10)["session_id"]) < set(drawn["session_id"])
