"""A language model beside the selector: what it writes may come next, and it says how likely offers are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from llmrec.errors import ConfigError, ModelError
from llmrec.rankers import Sessions
from llmrec.selection.model_writer import ModelWriter, model_writer
from llmrec.selection.offers import GivenTitles, make_offers
from llmrec.selection.selector import Selector
from llmrec.selection.settings import SelectSettings
from llmrec.selection.table import TitleTable
from llmrec.titles.lab.cache import open_cache
from tests.selection.shop import QUICK, product_table, training
from tests.titles.tiny_llm import write_tiny_llm

PRODUCTS = product_table()
TABLE = TitleTable(PRODUCTS)
SESSIONS = Sessions.of([["I00", "I01"], ["I61"], [], ["I33", "I34", "I30"]], ["US", "JP", "US", "US"])


def write_model(folder: Path, titles: int = 80) -> str:
    texts = PRODUCTS["title"].to_pylist()[:titles]
    return str(write_tiny_llm(folder, texts, kind="llama", chat=False))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("writer") / "model")


def writer(model: str, **changes: Any) -> ModelWriter:
    made = model_writer(SelectSettings(**QUICK, writers=(model,), **changes))
    assert made is not None
    return made


def test_what_it_writes_is_evidence_of_its_sessions(model: str) -> None:
    own = TABLE.own_titles(SESSIONS)
    book, (said,) = writer(model, samples=3).sampled(TABLE.book, own)
    assert np.unique(said.rows).tolist() == [0, 1, 3]
    assert np.bincount(said.rows, weights=said.weights)[[0, 1, 3]] == pytest.approx([1, 1, 1])
    assert said.titles.tolist() == list(range(len(TABLE.book), len(book)))
    assert book.locales.take(pa.array(said.titles)).to_pylist() == [
        "JP" if row == 1 else "US" for row in said.rows.tolist()
    ]
    alone = [writer(model, samples=3).sampled(TABLE.book, own.take(np.array([row])))[0] for row in (0, 1, 3)]
    texts = [text for one in alone for text in one.texts.to_pylist()[len(TABLE.book) :]]
    assert texts == book.texts.to_pylist()[len(TABLE.book) :]


def test_the_best_offers_and_the_last_title_have_log_probabilities(model: str) -> None:
    own = TABLE.own_titles(SESSIONS)
    nothing, no_weights = np.zeros(0, dtype=np.int64), np.zeros(0)
    evidence = GivenTitles(nothing, nothing, no_weights, no_weights)  # own titles are offered alone
    offers = make_offers(len(TABLE.book), own, evidence, SelectSettings(**QUICK))
    value = np.where(offers.age == 0, -1.0, offers.age)
    found = writer(model, scored=2).log_probs(TABLE.book, own, offers, value)
    assert (found[~np.isnan(found)] < 0).all()
    assert [*zip(offers.rows, offers.age, ~np.isnan(found), strict=True)] == [
        *zip(offers.rows, offers.age, (offers.age == 0) | (offers.age == own.lengths[offers.rows] - 1), strict=True)
    ]
    whole = writer(model, scored=9).log_probs(TABLE.book, own, offers, value)
    assert whole[~np.isnan(found)] == pytest.approx(found[~np.isnan(found)], abs=2e-3)
    assert not np.isnan(whole).any()


def test_it_is_asked_when_learning_and_choosing_and_when_read_back(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = SelectSettings(**QUICK, writers=(model, "edit"), samples=2, scored=3)
    fitted = Selector(settings).fit(training(60), PRODUCTS, TABLE)
    assert "writes 2 titles and reads 3 for each of" in capsys.readouterr().err
    names = {name for one in fitted.choices.values() if one.trees for name in one.trees.feature_names()}
    assert {"log_prob", "log_prob_rank", "hinted_value"} <= names
    titles = fitted.select(SESSIONS, TABLE)
    fitted.save(tmp_path / "kept")
    again = Selector.load(tmp_path / "kept")
    assert again.select(SESSIONS, TABLE) == titles
    assert [again.select(SESSIONS.slice(place, 1), TABLE)[0] for place in range(len(SESSIONS))] == titles


def test_another_model_in_its_place_is_one_line(tmp_path: Path) -> None:
    place = write_model(tmp_path / "model")
    settings = SelectSettings(**QUICK, writers=(place,), samples=1, scored=0)
    Selector(settings).fit(training(60), PRODUCTS, TABLE).save(tmp_path / "kept")
    write_model(tmp_path / "model", 9)
    with pytest.raises(ModelError, match="not the model that the selector was learnt with"):
        Selector.load(tmp_path / "kept").select(SESSIONS, TABLE)


def test_two_models_or_nothing_to_ask() -> None:
    with pytest.raises(ConfigError, match="two models as writers"):
        Selector(SelectSettings(writers=("a/b", "c/d")))
    with pytest.raises(ModelError, match=r"missing\.gguf: no such file"):
        Selector(SelectSettings(writers=("missing.gguf",)))
    assert model_writer(SelectSettings(writers=("a/b",), samples=0, scored=0)) is None
    assert model_writer(SelectSettings(writers=("edit",))) is None


def test_what_it_said_is_kept_and_asked_for_no_more(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = TABLE.own_titles(SESSIONS)
    nothing, no_weights = np.empty(0, dtype=np.int64), np.empty(0)
    offers = make_offers(
        len(TABLE.book), own, GivenTitles(nothing, nothing, no_weights, no_weights), SelectSettings(**QUICK)
    )
    value = np.where(offers.age == 0, -1.0, offers.age)

    def said(one: ModelWriter) -> tuple[list[str], list[float]]:
        book, _ = one.sampled(TABLE.book, own)
        return book.texts.to_pylist(), one.log_probs(TABLE.book, own, offers, value).tolist()

    plain = writer(model, samples=2, scored=2)
    with open_cache(tmp_path / "answers.sqlite") as answers:
        first = said(replace(plain, answers=answers))
    assert first[0] == said(plain)[0]
    assert first[1] == pytest.approx(said(plain)[1], nan_ok=True)

    def asked(*_: object, **__: object) -> None:
        raise AssertionError("asked again")

    with open_cache(tmp_path / "answers.sqlite") as answers:
        later = replace(plain, answers=answers)
        later.open()
        monkeypatch.setattr("llmrec.titles.decoding.sampling.sample_titles", asked)
        monkeypatch.setattr("llmrec.titles.decoding.likelihood.log_probs", asked)
        again = said(later)
        with pytest.raises(AssertionError, match="asked again"):
            later.sampled(TABLE.book, own, kept=False)
    assert again[0] == first[0]
    assert again[1] == pytest.approx(first[1], nan_ok=True)
