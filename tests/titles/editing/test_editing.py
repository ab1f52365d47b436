"""The edit model: words come from the session or from learnt phrases, and a session's target never helps itself."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data.store import Store
from llmrec.errors import ConfigError, DataError, ModelError
from llmrec.evaluation.bleu import corpus_bleu, tokenize_title
from llmrec.titles import GenerateConfig, generate_titles
from llmrec.titles.editing import edit_writer, editor
from llmrec.titles.editing.edit_writer import EditWriter, learn_edit_writer
from llmrec.titles.editing.editor import EditSettings
from llmrec.titles.editing.kept_words import kept_text, word_tokenizer
from llmrec.titles.editing.network import learn
from llmrec.titles.editing.pieces import FEATURES
from llmrec.titles.editing.tagging import keep_words
from llmrec.titles.title_writer import TitleWriter

SETTINGS = EditSettings(k=2, told=2, folds=3, epochs=12)


def shop(number: int, seed: int, joint: str = " ") -> tuple[list[list[str]], list[str]]:
    """Sessions whose next title keeps make and kind of the last one, never its number, and always ends alike."""
    rng = np.random.default_rng(seed)
    histories, targets = [], []
    for row in range(number):
        make, kind = f"m{rng.integers(20)}", f"k{rng.integers(9)}"
        one, two, three = (f"n{row}x{place}" for place in range(3))
        histories.append([joint.join([make, kind, one, "pack"]), joint.join([make, kind, two, f"v{row}", "pack"])])
        targets.append(joint.join([make, kind, three, "sold", "in", "boxes", "of", "ten"]))
    return histories, targets


@pytest.fixture(scope="module")
def learnt() -> EditWriter:
    histories, targets = shop(240, 0)
    return learn_edit_writer(histories, targets, ["UK"] * len(targets), SETTINGS)


@given(st.text(max_size=60), st.sampled_from(["13a", "char", "intl"]), st.integers(0, 2**32))
def test_a_title_all_of_whose_words_are_kept_is_itself_and_no_other_word_comes_in(
    title: str, way: str, seed: int
) -> None:
    words = tokenize_title(title, way)
    assert kept_text(title, np.ones(len(words), dtype=np.bool_), way) == title
    kept = np.random.default_rng(seed).random(len(words)) < 0.5
    text = kept_text(title, kept, way)
    wanted = [word for word, stays in zip(words, kept, strict=True) if stays]
    assert len("".join(text.split())) <= len("".join(title.split())) + len("".join(words))
    assert not wanted or text
    if title.isascii() and not set(title) & set("&<\n\r\x1c\x1d\x1e\x1f\x0b\x0c"):
        assert "".join(text.split()) == "".join(wanted)


def test_what_is_dropped_leaves_one_space_and_none_where_characters_are_words() -> None:
    assert kept_text('Tape, 2"  x 30 yd', np.array([1, 0, 1, 1, 0, 1, 1], dtype=bool), "13a") == 'Tape 2" 30 yd'
    assert kept_text("電気ケトル", np.array([1, 1, 0, 0, 1], dtype=bool), "char") == "電気ル"
    assert kept_text("A &amp; B", np.array([0, 1, 1], dtype=bool), "13a") == "&amp; B"
    assert (word_tokenizer("JP"), word_tokenizer("DE")) == ("char", "13a")


@given(st.integers(0, 2**32), st.integers(1, 7), st.floats(0, 2))
def test_the_words_kept_are_the_best_of_all_choices(seed: int, length: int, cost: float) -> None:
    rng = np.random.default_rng(seed)
    values, found = rng.random((4, length)).astype(np.float32), rng.random(4)

    def worth(kept: tuple[bool, ...]) -> float:
        spans = ((start, order) for order in range(4) for start in range(length - order))
        return sum(
            found[order] * values[order, start] for start, order in spans if all(kept[start : start + order + 1])
        ) - cost * sum(kept)

    chosen = keep_words(np.array([length]), values, found, cost)
    best = max(worth(kept) for kept in itertools.product((False, True), repeat=length))
    assert worth(tuple(chosen.tolist())) == pytest.approx(best, abs=1e-5)


def test_pieces_of_all_lengths_are_cut_as_each_by_itself() -> None:
    rng = np.random.default_rng(0)
    lengths = np.array([3, 0, 17, 1, 9, 40])
    values, found = rng.random((4, lengths.sum())).astype(np.float32), np.array([0.4, 0.3, 0.2, 0.1])
    ends = np.cumsum(lengths)
    alone = [
        keep_words(np.array([length]), values[:, end - length : end], found, 0.5)
        for length, end in zip(lengths, ends, strict=True)
    ]
    assert keep_words(lengths, values, found, 0.5).tolist() == np.concatenate(alone).tolist()


def test_the_network_learns_what_no_line_parts() -> None:
    features = np.random.default_rng(0).standard_normal((20_000, 3)).astype(np.float32)
    labels = (features[:, 0] * features[:, 1] > 0).astype(np.float32)
    odds = learn(features, labels, 20, 1e-2, 0).odds(features)
    assert ((odds > 0.5) == labels).mean() > 0.95


def test_words_that_return_stay_those_that_do_not_go_and_phrases_come_in(learnt: EditWriter) -> None:
    histories, targets = shop(80, 1)
    written = learnt.write(histories, "UK")
    assert learnt.editors["13a"].estimate["gain"][1] > 0
    last = corpus_bleu([history[-1] for history in histories], targets).score
    assert corpus_bleu(list(written), targets).score > last + 20
    phrases = {word for text in learnt.editors["13a"].phrases.texts for word in text.split()}  # type: ignore[union-attr]
    for history, title in zip(histories, written, strict=True):
        assert set(title.split()) <= phrases | {word for one in history for word in one.split()}
        assert {"boxes", "ten"} <= set(title.split())


def test_one_by_one_and_together_are_the_same_and_oddities_do_not_stop_it(learnt: EditWriter) -> None:
    histories, _ = shop(5, 2)
    odd = [*histories, [], ["never seen"], ["", "m1 k1 n9x1 pack"], ["日本"], ["x" * 3000]]
    together = list(learnt.write(odd, "UK"))
    assert together == [learnt.write([one], "UK")[0] for one in odd]
    assert together[5] == ""
    assert all(together[:5])
    assert all(together[6:])
    assert "".join(learnt.stream(histories[0], "UK")) == together[0]
    assert learnt.write([["電気 ケトル"]], "JP")[0] == "電気 ケトル"  # its tokenizer was not learnt
    with pytest.raises(DataError, match="histories"):
        learnt.write("a title", "UK")  # type: ignore[arg-type]


def test_a_language_without_spaces_is_edited_by_characters() -> None:
    histories, targets = shop(200, 3, joint="")
    writer = learn_edit_writer(histories, targets, ["JP"] * len(targets), SETTINGS)
    assert list(writer.editors) == ["char"]
    assert writer.editors["char"].estimate["gain"][1] > 0
    title = writer.write(histories[:1], "JP")[0]
    phrases = "".join(writer.editors["char"].phrases.texts)  # type: ignore[union-attr]
    assert set(title) - {" "} <= set("".join(histories[0]) + phrases)


def test_a_target_never_reaches_the_titles_that_are_judged_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What describes a fold's n-grams and the phrases that come in are the same whatever its own targets are."""
    histories, targets = shop(90, 4)
    odds: list[list[np.ndarray]] = []
    priced, fixed = editor._priced, learn(np.random.default_rng(0).random((99, len(FEATURES))), np.ones(99), 1, 0.1, 0)
    (fold, _), *_ = edit_writer._folds(np.arange(len(targets)), SETTINGS)
    changed = ["m1 k1 other words altogether" if row in fold else one for row, one in enumerate(targets)]

    def spied(book: object, parts: list[tuple[object, ...]], *rest: object) -> object:
        odds.append([part[0].odds for part in parts])  # type: ignore[attr-defined]
        return priced(book, parts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(editor, "_priced", spied)
    monkeypatch.setattr(editor, "learn", lambda *_: fixed)
    for some in (targets, changed):
        learn_edit_writer(histories, some, ["UK"] * len(some), SETTINGS)
    assert np.array_equal(odds[0][0], odds[1][0])
    assert not np.array_equal(odds[0][1], odds[1][1])


def test_sessions_that_continue_one_another_are_in_one_fold() -> None:
    histories = [[f"title {one}", f"title {one + 1}"][: 1 + one % 2] for one in range(60)]
    targets = [f"title {one + 1 + one % 2}" for one in range(60)]
    whole = [(*some, target) for some, target in zip(histories, targets, strict=True)]
    groups = edit_writer.groups_of_sequences(whole, ["UK"] * 60, 10)
    for inside, outside in edit_writer._folds(groups, SETTINGS):
        assert not set(groups[inside]) & set(groups[outside])


def test_what_is_saved_writes_the_same_and_a_damaged_one_is_one_line(learnt: EditWriter, tmp_path: Path) -> None:
    histories, _ = shop(20, 5)
    learnt.save(tmp_path / "model")
    loaded = TitleWriter.load(tmp_path / "model")
    assert list(loaded.write(histories, "UK")) == list(learnt.write(histories, "UK"))
    assert loaded.card.k == 2
    with pytest.raises(ConfigError, match=r"k, chat: .* is an edit model"):
        TitleWriter.load(tmp_path / "model", k=3, chat=True)
    record = json.loads((tmp_path / "model" / "edit.json").read_text())
    for change in (
        {"version": 9},
        {"settings": {**record["settings"], "k": 99}},
        {"settings": {"k": "three"}},
        {"ways": {"13a": {"phrases": ["a"], "estimate": {}}}},
        {"ways": {"char": record["ways"]["13a"], "13a": record["ways"]["13a"]}},
    ):
        (tmp_path / "model" / "edit.json").write_text(json.dumps(record | change))
        with pytest.raises(ModelError) as caught:
            TitleWriter.load(tmp_path / "model")
        assert "\n" not in str(caught.value)
        assert "learn it again" in str(caught.value)
    (tmp_path / "model" / "edit.json").write_text(json.dumps(record))
    arrays = tmp_path / "model" / "arrays.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-8])
    with pytest.raises(ModelError, match="missing or damaged"):
        TitleWriter.load(tmp_path / "model")


def test_too_few_sessions_are_one_line() -> None:
    with pytest.raises(DataError, match="too few labelled sessions"):
        learn_edit_writer([["a b"]], ["c d"], ["UK"], SETTINGS)


def test_generate_learns_saves_and_uses_it(tiny_store: Store, tmp_path: Path) -> None:
    config = GenerateConfig(data=tiny_store.path, base_model="edit", k=3, output_dir=tmp_path / "run", report=True)
    result = generate_titles(config)
    assert result is not None
    assert result.comparison is not None
    again = GenerateConfig(
        data=tiny_store.path, model=str(tmp_path / "run" / "model"), output_dir=tmp_path / "other", limit=3
    )
    assert generate_titles(again) is not None
    assert (tmp_path / "run" / "report.html").is_file()
    with pytest.raises(ConfigError, match="at most 10 titles"):
        generate_titles(GenerateConfig(data=tiny_store.path, base_model="edit", k=11, output_dir=tmp_path / "far"))
