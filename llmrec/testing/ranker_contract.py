"""What every ranker must do, whatever it learns: one class that the tests of each ranker inherit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from llmrec.data.store import TestSessions
from llmrec.errors import ConfigError, DataError, ModelError
from llmrec.rankers import Ranker, Sessions, TrainingSessions, load_ranker
from llmrec.schema import PRODUCT_COLUMNS

COLOURS = ("rot", "blau", "grau", "weiss")
ITEMS = [f"B{number:02d}" for number in range(24)]
LOCALES = ("DE", "FR")


def training_sessions(seed: int = 0, count: int = 120) -> TrainingSessions:
    """Walks along a ring of 24 items, so that an item's neighbours on the ring follow it; half of them are bare.

    Args:
        seed: Draws them.
        count: How many, half of DE and half of FR.

    Returns:
        ``count`` sessions of two to five items.

    Example:
        >>> len(training_sessions())
        120
    """
    rng = np.random.default_rng(seed)
    sequences, locales = [], []
    for number in range(count):
        start, length = int(rng.integers(24)), int(rng.integers(2, 6))
        steps = np.cumsum(rng.integers(1, 3, size=length))
        sequences.append([ITEMS[(start + int(step)) % 24] for step in steps])
        locales.append(LOCALES[number % 2])
    labelled = TrainingSessions.of(sequences[: count // 2], locales[: count // 2])
    return labelled.joined(TrainingSessions.of(sequences[count // 2 :], locales[count // 2 :], labelled=False))


def products(sold_in_france: int = 16) -> pa.Table:
    """All items in DE, the first ones in FR too; brands and prices come in groups of neighbours.

    Args:
        sold_in_france: How many FR sells.

    Returns:
        Arrow table of `llmrec.schema.PRODUCT_COLUMNS`, a row for each ``(locale, id)``.

    Example:
        >>> len(products(16))
        40
    """
    rows = [
        dict.fromkeys(PRODUCT_COLUMNS)
        | {
            "id": item,
            "locale": locale,
            "title": f"{'Kabel' if locale == 'DE' else 'Câble'} {number // 4} {COLOURS[number % 4]}",
            "price": 5.0 * (number // 4) + 1,
            "brand": f"Brand {number // 6}",
            "color": COLOURS[number % 4],
        }
        for locale, count in (("DE", len(ITEMS)), ("FR", sold_in_france))
        for number, item in enumerate(ITEMS[:count])
    ]
    kinds = {name: pa.float64() if name == "price" else pa.string() for name in PRODUCT_COLUMNS}
    return pa.Table.from_pylist(rows, pa.schema(kinds))


SESSIONS = Sessions.of(
    [
        ["B03", "B04"],
        ["B07"],
        ["B01", "B02", "B02", "B05"],
        ["UNKNOWN"],
        ["B09", "UNKNOWN"],
        [],
        ["B20", "B21"],
        ["B11"],
    ],
    ["DE", "FR", "DE", "FR", "DE", "DE", "UK", "FR"],
)


class RankerContract:
    """What every ranker must do: a test class to inherit.

    Subclasses name the ranker's class and settings that learn the ring in a second or two.

    Attributes:
        ranker: The class.
        settings: An instance of its ``settings_class``.
        needs_products: Whether it cannot be fitted without products.
        filters_by_locale: Whether products keep its lists to what a locale sells.
        ranks_cold_items: Whether it ranks products that no session holds.
        float_tolerance: How much scores of a batch may differ from those of one session.

    Example::

        from llmrec.testing import RankerContract

        class TestFrequent(RankerContract):
            ranker = Frequent
            settings = NoSettings()
    """

    ranker: ClassVar[type[Ranker[Any]]]
    settings: ClassVar[Any]
    needs_products: ClassVar[bool] = False
    filters_by_locale: ClassVar[bool] = True
    ranks_cold_items: ClassVar[bool] = False  # products that no session holds are ranked too
    float_tolerance: ClassVar[float] = 1e-5  # a batch may add up in another order than a single session

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls) -> Ranker[Any]:
        return cls.fit()

    @classmethod
    def fit(cls, **changes: Any) -> Ranker[Any]:
        given = changes.pop("products", products(24) if cls.needs_products else None)
        return cls.ranker(cls.settings).fit(changes.pop("training", training_sessions()), given)

    @pytest.mark.parametrize("k", [1, 3, 10])
    def test_at_most_k_distinct_items_best_first(self, fitted: Ranker[Any], k: int) -> None:
        ids, scores = fitted.rank(SESSIONS, k)
        assert len(ids) == len(scores) == len(SESSIONS)
        for listed, values in zip(ids.to_pylist(), scores.to_pylist(), strict=True):
            assert 0 < len(listed) <= k
            assert len(set(listed)) == len(listed) == len(values)
            assert values == sorted(values, reverse=True)
            assert set(listed) <= set(ITEMS)

    def test_k_above_the_catalogue_is_fine(self, fitted: Ranker[Any]) -> None:
        ids, _ = fitted.rank(SESSIONS, 1000)
        assert all(0 < len(listed) <= len(ITEMS) for listed in ids.to_pylist())

    @pytest.mark.parametrize("seen", ["drop", "keep"])
    def test_a_batch_equals_one_by_one(self, fitted: Ranker[Any], seen: Any) -> None:
        ids, scores = fitted.rank(SESSIONS, 5, seen)
        for row, (items, locale) in enumerate(
            zip(SESSIONS.prev_items.to_pylist(), SESSIONS.locales.to_pylist(), strict=True)
        ):
            alone, values = fitted.rank_session(items, locale, 5, seen)
            assert alone == ids[row].as_py()
            assert values == pytest.approx(scores[row].as_py(), rel=self.float_tolerance, abs=self.float_tolerance)

    def test_seen_items_are_dropped_unless_kept(self, fitted: Ranker[Any]) -> None:
        ids, _ = fitted.rank(SESSIONS, 24, "drop")
        for listed, items in zip(ids.to_pylist(), SESSIONS.prev_items.to_pylist(), strict=True):
            assert not set(listed) & set(items)
        kept, _ = fitted.rank(SESSIONS, 24, "keep")
        assert any(
            set(listed) & set(items)
            for listed, items in zip(kept.to_pylist(), SESSIONS.prev_items.to_pylist(), strict=True)
        )

    def test_the_same_seed_gives_the_same_lists(self, fitted: Ranker[Any]) -> None:
        again = self.fit()
        assert again.rank(SESSIONS, 10).ids.equals(fitted.rank(SESSIONS, 10).ids)

    def test_save_then_load_ranks_the_same(self, fitted: Ranker[Any], tmp_path: Path) -> None:
        fitted.save(tmp_path / "model")
        loaded = load_ranker(tmp_path / "model")
        assert type(loaded) is self.ranker
        assert loaded.settings == fitted.settings
        for seen in ("drop", "keep"):
            (ids, scores), (other_ids, other_scores) = fitted.rank(SESSIONS, 10, seen), loaded.rank(SESSIONS, 10, seen)
            assert ids.equals(other_ids)
            assert scores.equals(other_scores)

    def test_a_damaged_model_is_one_line(self, fitted: Ranker[Any], tmp_path: Path) -> None:
        fitted.save(tmp_path / "model")
        arrays = tmp_path / "model" / "arrays.safetensors"
        arrays.write_bytes(arrays.read_bytes()[:-8])
        with pytest.raises(ModelError, match=r"arrays\.safetensors: missing or damaged") as caught:
            load_ranker(tmp_path / "model")
        assert "\n" not in str(caught.value)

    def test_products_keep_lists_to_what_the_locale_sells(self) -> None:
        if not self.filters_by_locale:
            pytest.skip("this ranker has no locale filter, by its definition")
        ranker = self.fit(products=products(16))
        for listed, locale in zip(ranker.rank(SESSIONS, 24).ids.to_pylist(), SESSIONS.locales.to_pylist(), strict=True):
            if locale == "FR":
                assert listed
                assert set(listed) <= set(ITEMS[:16])

    def test_a_locale_without_products_is_not_filtered(self) -> None:
        table = products()
        only_german = table.filter(pa.compute.equal(table["locale"], "DE"))
        listed = self.fit(products=only_german).rank(SESSIONS, 24).ids.to_pylist()
        assert all(listed)

    def test_no_sessions_give_no_lists(self, fitted: Ranker[Any]) -> None:
        ids, scores = fitted.rank(Sessions.of([], []))
        assert (len(ids), len(scores)) == (0, 0)

    @pytest.mark.parametrize(("k", "seen", "message"), [(0, "drop", "k must be at least 1; got 0"), (5, "x", "seen")])
    def test_wrong_requests_are_refused(self, fitted: Ranker[Any], k: int, seen: Any, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            fitted.rank(SESSIONS, k, seen)

    def test_nothing_to_learn_from_is_refused(self) -> None:
        with pytest.raises(DataError, match="no item"):
            self.fit(training=TrainingSessions.of([[]], ["DE"]))

    def test_sessions_of_a_test_split_are_not_learnt_from_unasked(self) -> None:
        with pytest.raises(DataError, match="transductive=True"):
            self.fit(training=TestSessions(Path("sessions_test.parquet")))

    def test_sessions_of_one_item_are_enough_to_fit(self) -> None:
        few = TrainingSessions.of([["B01"], ["B02"], ["B02"]], ["DE", "DE", "FR"], labelled=False)
        listed = self.fit(training=few).rank_session(["B01"], "DE", 30)[0]
        assert set(listed) == set(ITEMS) - {"B01"} if self.ranks_cold_items else listed == ["B02"]
