"""A ranker that took later sessions in is the one that a fit on all of them gives; old visits fade by their weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import llmrec
from llmrec.errors import ConfigError, DataError, LlmrecError, ModelError
from llmrec.rankers.counting import base, popularity
from llmrec.rankers.counting.engine import counted
from llmrec.rankers.fitting import AnyRanker
from llmrec.rankers.registry import ranker_class
from llmrec.rankers.sessions import Sessions, TrainingSessions
from llmrec.testing import products, training_sessions

ITEMS = st.sampled_from([f"B{number:02}" for number in range(12)])
LOCALES = st.sampled_from(["DE", "JP", "UK"])
SESSIONS = st.lists(st.tuples(st.lists(ITEMS, min_size=1, max_size=6), LOCALES, st.booleans()), min_size=1, max_size=12)
COUNTING: dict[str, dict[str, Any]] = {
    "popularity": {},
    "global_popularity": {},
    "covisit": {"neighbours": 2, "locale_weight": 0.5},
    "covisit of cosines": {"neighbours": 3, "source_power": 0.5, "target_power": 0.5, "repeats": True},
    "covisit of sums": {"source_power": 0.0, "labelled_weight": 2.0},
    "covisit_walk": {"neighbours": 2},
    "item_knn": {"sample": 2},
    "vmis_knn": {"sample": 2},
    "vstan": {"sample": 2, "session_decay": 0.5},
    "item_vectors": {"size": 4},
}
Rows = Sequence[tuple[list[str], str, bool]]


def training(rows: Rows) -> TrainingSessions:
    made = TrainingSessions.of([items for items, _, _ in rows], [locale for _, locale, _ in rows])
    return TrainingSessions(made.sequences, made.locales, np.array([labelled for _, _, labelled in rows]))


def fit(name: str, rows: Rows, shop: Any = None) -> AnyRanker:
    return llmrec.fit(name.split(" ")[0], training(rows), shop, **COUNTING.get(name, {}))


def same(one: AnyRanker, other: AnyRanker) -> None:
    """Bit for bit, the catalogue included."""
    assert one.catalogue.locales == other.catalogue.locales
    mine, others = ({**ranker.catalogue.arrays(), **ranker._state()} for ranker in (one, other))
    assert mine.keys() == others.keys()
    for key, value in mine.items():
        np.testing.assert_array_equal(value, others[key], key)
        assert value.dtype == others[key].dtype, key


@pytest.mark.parametrize("name", COUNTING)
@settings(max_examples=4)
@given(before=SESSIONS, first=SESSIONS, second=SESSIONS, with_products=st.booleans())
def test_two_updates_give_what_a_fit_on_all_gives(
    name: str, before: Rows, first: Rows, second: Rows, with_products: bool
) -> None:
    shop = products(12) if with_products else None
    ranker = fit(name, before, shop)
    for later in (first, second):
        ranker = llmrec.update(ranker, training(later), shop, again=True)
    same(ranker, fit(name, [*before, *first, *second], shop))


HALVES: Final = {"forward": (2.0, 1.0), "backward": (1.0, 0.5), "labelled_weight": 1.0}  # halve without rounding
DYADIC: dict[str, dict[str, Any]] = {
    "popularity": {},
    "global_popularity": {},
    "covisit": {**HALVES, "neighbours": 2, "locale_weight": 0.5},
    "covisit_walk": HALVES,
    "item_vectors": {"size": 4, "pair_decay": 0.5},
}


@pytest.mark.parametrize("name", DYADIC)
@settings(max_examples=3)
@given(before=SESSIONS, later=SESSIONS)
def test_two_visits_a_half_life_ago_count_as_one(name: str, before: Rows, later: Rows) -> None:
    ranker = llmrec.fit(name, training(before), **DYADIC[name])
    twice = llmrec.update(ranker, training(before), again=True, date="2100-01-01")
    faded = llmrec.update(twice, training(later), half_life=30, date="2100-01-31", again=True)
    same(faded, llmrec.fit(name, training([*before, *later]), **DYADIC[name]))


@pytest.mark.parametrize("name", ["popularity", "covisit", "covisit_walk"])
def test_only_later_sessions_are_counted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llmrec.fit(name, [["a", "b", "c"]] * 9).save(tmp_path / "model")
    counted = spy_on_counting(monkeypatch)
    updated = llmrec.update(llmrec.load_ranker(tmp_path / "model"), [["a", "d"]])
    llmrec.update(updated, [["b", "d"]], half_life=3, date="2100-01-01")
    assert max(counted) <= 2


@pytest.mark.parametrize("name", ["popularity", "covisit"])
def test_a_ranker_saved_without_its_counts_counts_all_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, later = [["a", "b", "c"]] * 9, [["a", "d"], ["a", "d"]]
    llmrec.fit(name, before).save(tmp_path / "old")
    held = llmrec.load_ranker(tmp_path / "old").known_sessions()
    replace(held, counts={}).put(tmp_path / "old")
    updated = llmrec.update(llmrec.load_ranker(tmp_path / "old"), later)
    same(updated, llmrec.fit(name, [*before, *later]))
    counted = spy_on_counting(monkeypatch)
    llmrec.update(updated, [["c", "d"]])
    assert max(counted) <= 2


def spy_on_counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of rows of each table that is counted from now on."""
    rows: list[int] = []

    def spied(engine: Any, table: Any, expression: Any) -> Any:
        rows.append(len(table))
        return counted(engine, table, expression)

    for module in (base, popularity):
        monkeypatch.setattr(module, "counted", spied)
    return rows


@pytest.mark.parametrize("name", ["popularity", "covisit"])
def test_damaged_counts_are_one_line(name: str, tmp_path: Path) -> None:
    llmrec.fit(name, [["a", "b", "c"], ["a", "c"]]).save(tmp_path / "model")
    held = llmrec.load_ranker(tmp_path / "model").known_sessions()
    for damaged in ({"what": np.zeros(1)}, {key: one[:-1] for key, one in held.counts.items()}):
        replace(held, counts=damaged).put(tmp_path / "model")
        with pytest.raises(ModelError, match=r"model: damaged learnt sessions .*fit the ranker anew"):
            llmrec.update(llmrec.load_ranker(tmp_path / "model"), [["a", "d"]])


@settings(max_examples=5)
@given(before=SESSIONS, later=SESSIONS)
def test_faded_sums_are_those_of_faded_sessions_to_a_millionth(before: Rows, later: Rows) -> None:
    chosen = {"forward": (1.0, 0.42), "backward": (0.65,), "labelled_weight": 2.2, "neighbours": 500}
    ranker = llmrec.fit("covisit", training(before), **chosen)
    faded = llmrec.update(ranker, training(later), half_life=30, date="2100-01-01", again=True)
    twice = llmrec.update(faded, training(later), half_life=30, date="2100-01-11", again=True)
    weighed = twice.known_sessions().weighed
    recounted = type(ranker)(ranker.settings).fit_coded(twice.catalogue, weighed)
    for session in (["B01"], ["B02", "B03"]):
        (one, scores), (other, others) = (each.rank_session(session, "UK", 12) for each in (twice, recounted))
        assert dict(zip(one, scores, strict=True)) == pytest.approx(dict(zip(other, others, strict=True)), abs=1e-4)


def test_text_neighbours_take_in_new_products_and_locales() -> None:
    first, shop = training_sessions(), products(16)
    later = TrainingSessions.of([["B01", "B15"], ["B14"]], ["UK", "DE"])
    updated = llmrec.update(llmrec.fit("text_knn", first, shop, text_dim=8), later, shop)
    same(updated, llmrec.fit("text_knn", first.joined(later), shop, text_dim=8))


def test_without_products_a_new_item_is_sold_where_it_was_seen() -> None:
    shop = pa.table({"id": ["B00", "B01", "B00", "B02"], "locale": ["DE", "DE", "UK", "UK"]})
    ranker = llmrec.fit("covisit", training([(["B00", "B01"], "DE", True), (["B00", "B02"], "UK", True)]), shop)
    later = training([(["B00", "new"], "UK", True)])
    updated = llmrec.update(ranker, later)
    assert "new" in updated.rank_session(["B00"], "UK")[0]
    assert "new" not in updated.rank_session(["B00"], "DE")[0]


def test_the_ranker_that_is_updated_stays_as_it_was() -> None:
    ranker = llmrec.fit("covisit", [["a", "b"]])
    before = {name: value.copy() for name, value in ranker._state().items()}
    llmrec.update(ranker, [["a", "c"], ["a", "c"]])
    for name, value in ranker._state().items():
        np.testing.assert_array_equal(value, before[name])
    assert ranker.rank([["a"]]).to_list() == [["b"]]


def test_sessions_that_were_learnt_from_are_refused(tmp_path: Path) -> None:
    llmrec.update(llmrec.fit("covisit", [["a", "b"]]), [["a", "c"]]).save(tmp_path / "model")
    ranker = llmrec.load_ranker(tmp_path / "model")
    for repeated in ([["a", "b"]], [["a", "c"]]):
        with pytest.raises(
            DataError, match=r"was learnt from already and would count twice; leave it out, or give again"
        ):
            llmrec.update(ranker, repeated)
    assert llmrec.update(ranker, [["a", "c"]], again=True).learnt["updates"] == 2


def test_a_ranker_of_before_says_that_it_has_to_be_fitted_anew(tmp_path: Path) -> None:
    llmrec.fit("covisit", [["a", "b"]]).save(tmp_path / "old")
    for file in (tmp_path / "old").glob("learnt_from.*"):
        file.unlink()
    ranker = llmrec.load_ranker(tmp_path / "old")
    assert ranker.rank([["a"]]).to_list() == [["b"]]
    with pytest.raises(ModelError, match=r"old: no learnt sessions here but a ranker .* fit it anew"):
        llmrec.update(ranker, [["a", "c"]])
    ranker.save(tmp_path / "copy")
    assert not [*(tmp_path / "copy").glob("learnt_from.*")]


def test_a_copy_of_a_loaded_ranker_can_be_updated_too(tmp_path: Path) -> None:
    llmrec.fit("vmis_knn", [["a", "b"]]).save(tmp_path / "model")
    llmrec.load_ranker(tmp_path / "model").save(tmp_path / "copy")
    shutil.rmtree(tmp_path / "model")
    listed = llmrec.update(llmrec.load_ranker(tmp_path / "copy"), [["a", "c"]]).rank([["a"]]).to_list()
    assert sorted(listed[0]) == ["b", "c"]


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("learnt_from.safetensors", b"x", "missing or damaged"),
        ("learnt_from.safetensors", None, "missing or damaged"),
        ("learnt_from.json", b"{}", "damaged"),
    ],
)
def test_damaged_sessions_are_one_line_and_ranking_does_without(
    tmp_path: Path, file: str, change: bytes | None, told: str
) -> None:
    llmrec.fit("covisit", [["a", "b"]]).save(tmp_path / "model")
    (tmp_path / "model" / file).unlink() if change is None else (tmp_path / "model" / file).write_bytes(change)
    ranker = llmrec.load_ranker(tmp_path / "model")
    assert ranker.rank([["a"]]).to_list() == [["b"]]
    with pytest.raises(ModelError, match=told):
        llmrec.update(ranker, [["a", "c"]])


def test_sessions_of_another_ranker_are_refused(tmp_path: Path) -> None:
    llmrec.fit("covisit", [["a", "b"]]).save(tmp_path / "one")
    llmrec.fit("covisit", [["a", "c"], ["a", "b"]]).save(tmp_path / "other")
    for name in ("learnt_from.json", "learnt_from.safetensors"):
        shutil.copy(tmp_path / "other" / name, tmp_path / "one" / name)
    with pytest.raises(ModelError, match="of another ranker"):
        llmrec.update(llmrec.load_ranker(tmp_path / "one"), [["a", "d"]])


def test_a_locale_gets_its_own_and_a_new_one_a_ranker(tmp_path: Path) -> None:
    first = Sessions.of([["a", "b"], ["a", "c"], ["a", "c"]], ["UK", "DE", "DE"])
    llmrec.fit("covisit", first, per_locale=True).save(tmp_path / "model")
    later = Sessions.of([["a", "d"], ["a", "d"], ["a", "e"]], ["UK", "UK", "FR"])
    updated = llmrec.update(llmrec.load_ranker(tmp_path / "model"), later)
    assert [*updated.rankers] == ["UK", "DE", "FR"]
    assert updated.rank_session(["a"], "UK", 2)[0] == ["d", "b"]
    assert updated.rank_session(["a"], "DE", 2)[0] == ["c"]
    assert updated.rank_session(["a"], "FR", 2)[0] == ["e"]


def test_the_record_names_files_dates_and_weights(tmp_path: Path) -> None:
    ranker = llmrec.update(llmrec.fit("covisit", [["a", "b"]]), [["a", "c"]], half_life=7, date="2100-01-01")
    ranker.save(tmp_path / "model")
    first, second = json.loads((tmp_path / "model" / "learnt_from.json").read_text(encoding="utf-8"))["batches"]
    assert 0 <= first["weight"] < 1e-6
    assert second["weight"] == 1
    assert second["date"] == "2100-01-01T00:00:00Z"
    assert [one["origins"][0]["sessions"] for one in (first, second)] == [1, 1]


@pytest.mark.parametrize(
    ("name", "more", "told"),
    [
        ("covisit", {"half_life": 0}, "half_life must be above 0 days; got 0"),
        ("covisit", {"half_life": -3}, "half_life must be above 0 days; got -3"),
        ("covisit", {"half_life": float("inf")}, "half_life must be above 0 days; got inf"),
        ("vmis_knn", {"half_life": 30}, "half_life: vmis_knn has no visits that fade"),
        ("covisit", {"date": "yesterday"}, "'yesterday' is no date"),
        ("covisit", {"date": "2001-01-01"}, "is before .*, of the last sessions"),
        ("covisit", {"refit": True}, "refit: covisit has no trees or vectors"),
        ("covisit", {"neighbours": 3}, "covisit counts, and is updated as it was fitted"),
        ("covisit", {"folder": "work"}, "covisit counts, and is updated as it was fitted"),
    ],
)
def test_what_a_ranker_cannot_do_is_one_line(name: str, more: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        llmrec.update(llmrec.fit(name, [["a", "b"]]), [["a", "c"]], **more)


def test_a_ranker_that_was_never_fitted_is_refused() -> None:
    cls = ranker_class("covisit")
    with pytest.raises(LlmrecError, match="covisit: is not fitted"):
        llmrec.update(cls(cls.settings_class()), [["a"]])


def test_vectors_stay_while_few_sessions_are_new_and_are_then_factorised_anew(tmp_path: Path) -> None:
    before = [[f"B{number % 20:02}", f"B{(number + 1) % 20:02}", f"B{(number + 2) % 20:02}"] for number in range(400)]
    first: Any = llmrec.fit("item_vectors", before, size=8)
    first.save(tmp_path / "model")
    kept: Any = llmrec.update(llmrec.load_ranker(tmp_path / "model"), [["A new", "B07"], ["B07", "A new"]])
    assert [kept.catalogue.vocabulary.decode(np.array([0])).to_pylist(), len(kept.vectors)] == [["A new"], 21]
    np.testing.assert_array_equal(kept.vectors[1:], first.vectors)
    np.testing.assert_allclose(kept.vectors[0], first.vectors[7], atol=1e-6)
    assert kept.rank([["A new"]], k=1).to_list() == [["B07"]]
    assert kept._counts[-1].tolist() == [2, *([60] * 7), 62, *([60] * 12)]
    kept.save(tmp_path / "kept")
    more = [["A new", "B00"], ["lone"]], [["B00", "B01"]]  # 4 of 404 are not 1 %, 5 of 405 are more
    kept = llmrec.update(llmrec.load_ranker(tmp_path / "kept"), more[0])
    np.testing.assert_array_equal(kept.vectors[1:-1], first.vectors)
    assert np.linalg.norm(kept.vectors[-1]) == pytest.approx(1)
    together = [*before, ["A new", "B07"], ["B07", "A new"], *more[0], *more[1]]
    same(llmrec.update(kept, more[1]), llmrec.fit("item_vectors", together, size=8))
