"""Text neighbours, by hand."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from llmrec.errors import DataError, ModelError
from llmrec.processes import map_in_threads
from llmrec.rankers import Sessions, TrainingSessions, load_ranker
from llmrec.rankers.ranker_record import RANKER
from llmrec.rankers.recipes import ranker_settings
from llmrec.rankers.vectors import cells, text_knn
from llmrec.rankers.vectors.text_knn import TextKnn, TextKnnSettings
from llmrec.testing.ranker_contract import RankerContract, products, training_sessions
from tests.places import ROOT
from tests.rankers.embedded import embed
from tests.rewriting import rewrite

TRAINING = TrainingSessions.of([["a", "b"], ["b", "d"]], ["DE", "FR"])


class TestTextKnn(RankerContract):
    ranker = TextKnn
    settings = TextKnnSettings(text_dim=16)
    needs_products = True
    ranks_cold_items = True

    def test_sessions_of_one_item_are_enough_to_fit(self) -> None:
        few = TrainingSessions.of([["B01"], ["B02"], ["B02"]], ["DE", "DE", "FR"], labelled=False)
        listed = self.fit(training=few).rank_session(["B01"], "DE", 24)[0]
        assert len(listed) == 23  # all other products, those without a session too


def by_hand(vectors: dict[str, list[float]], **settings: Any) -> TextKnn:
    """A fitted ranker whose vectors are the given ones, of length 1."""
    rows = [{"id": item, "locale": locale, "title": item} for item in vectors for locale in ("DE", "FR")]
    ranker = TextKnn(TextKnnSettings(**settings)).fit(TRAINING, pa.Table.from_pylist(rows))
    ranker._set(np.array([vectors[item] for item in sorted(vectors)], dtype=np.float32))
    return ranker


PLANE = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.8, 0.6], "d": [0.6, 0.8], "e": [0.0, 0.0]}


def test_scores_are_cosines_with_the_recency_weighted_mean() -> None:
    # b is last: (1/2) a + 1 b = (.5, 1), of length sqrt(1.25)
    ids, scores = by_hand(PLANE, recency=0.5).rank_session(["a", "b"], "DE", 2)
    assert ids == ["d", "c"]
    assert scores == pytest.approx([(0.6 * 0.5 + 0.8) / 1.25**0.5, (0.8 * 0.5 + 0.6) / 1.25**0.5], abs=1e-6)


def test_only_the_last_items_count() -> None:
    ranker = by_hand(PLANE, history=1)
    assert ranker.rank_session(["a", "a", "b"], "DE", 1) == (["d"], [pytest.approx(0.8)])


def test_an_item_that_training_never_saw_counts_and_is_ranked() -> None:
    assert by_hand(PLANE).rank_session(["c"], "FR", 2)[0] == ["d", "a"]  # .96, .8
    assert by_hand(PLANE).rank_session(["d"], "FR", 1)[0] == ["c"]


def test_a_session_without_a_text_gets_what_sells_and_a_product_without_one_is_not_alike() -> None:
    ranker = by_hand(PLANE)
    assert ranker.rank_session(["e"], "FR", 9)[0] == ["b", "d"]  # of the locale's training sessions
    ids, scores = ranker.rank_session(["a"], "DE", 9)
    assert ids == ["c", "d", "b"]  # e has nothing that could be alike
    assert scores[:3] == pytest.approx([0.8, 0.6, 0.0])


def test_a_product_of_another_locale_is_not_offered() -> None:
    titles = {"a": "USB Kabel schwarz", "b": "USB Kabel weiß", "d": "Gartenschlauch", "f": "USB Kabel rot"}
    rows = [{"id": item, "locale": "DE", "title": title} for item, title in titles.items()]
    rows += [{"id": item, "locale": "FR", "title": titles[item]} for item in ("a", "b", "d")]
    ranker = TextKnn(TextKnnSettings(text_dim=3)).fit(TRAINING, pa.Table.from_pylist(rows))
    assert "f" in ranker.rank_session(["a"], "DE", 2)[0]
    assert "f" not in ranker.rank_session(["a"], "FR", 9)[0]


def test_a_ranker_saved_under_old_names_of_its_settings_ranks_the_same(tmp_path: Path) -> None:
    ranker = by_hand(PLANE, recency=0.4, history=1)
    ranker.save(tmp_path / "model")
    record = tmp_path / "model" / "ranker.json"
    settings = json.loads(record.read_text(encoding="utf-8"))["settings"]
    settings |= {"decay": settings.pop("recency"), "last": settings.pop("history")}
    rewrite(record, {"settings": settings}, without=("settings",))
    loaded = load_ranker(tmp_path / "model")
    assert loaded.settings == ranker.settings
    assert loaded.rank_session(["a", "b"], "DE", 2) == ranker.rank_session(["a", "b"], "DE", 2)


def test_a_saved_ranker_needs_no_folder(tmp_path: Path) -> None:
    rows = [
        {"id": item, "locale": "DE", "title": f"USB Kabel {item} {number} m"} for number, item in enumerate("abcdf")
    ]
    folder = embed(pa.Table.from_pylist(rows), tmp_path / "embedded", dim=4)
    ranker = TextKnn(TextKnnSettings(text=str(folder))).fit(TRAINING)
    ranker.save(tmp_path / "model")
    shutil.rmtree(folder)
    assert load_ranker(tmp_path / "model").rank_session(["a"], "DE", 9) == ranker.rank_session(["a"], "DE", 9)


def test_a_title_finds_its_like() -> None:
    ranker = TextKnn(TextKnnSettings(text_dim=16)).fit(training_sessions(), products(24))
    first = ranker.rank_session(["B04"], "DE", 3)[0]  # "Kabel 1 rot": the other three cables of number 1, or the red
    assert set(first) <= {"B05", "B06", "B07", "B00", "B08", "B12", "B16", "B20"}


def test_the_ranker_that_was_called_title_vectors_is_read_and_searches_exactly(tmp_path: Path) -> None:
    """What version 0.1 wrote: these settings, and counts beside the vectors."""
    fitted = TextKnn(TextKnnSettings(text_dim=16, recency=0.6)).fit(training_sessions(), products(24))
    fitted.save(tmp_path / "now")
    now, old = RANKER.read(tmp_path / "now"), {"size": 16, "history": 10, "recency": 0.6, "prior_weight": 0.0}
    arrays = {**RANKER.read_arrays(tmp_path / "now", now), "counts": np.zeros((3, 24), dtype=np.int32)}
    for folder, prior_weight in (("old", 0.0), ("weighed", 0.1)):
        settings = {**old, "prior_weight": prior_weight}
        RANKER.write(
            tmp_path / folder, {"ranker": "title_vectors", "settings": settings, "locales": now.locales}, arrays
        )
    read = load_ranker(tmp_path / "old")
    assert isinstance(read, TextKnn)
    assert read.settings == TextKnnSettings(text_dim=16, recency=0.6, index="exact")
    assert read.rank_session(["B04"], "DE", 9) == fitted.rank_session(["B04"], "DE", 9)
    with pytest.raises(ModelError, match=r"prior_weight is no setting any more.; fit it again with"):
        load_ranker(tmp_path / "weighed")


def test_settings_by_the_old_ranker_and_its_old_names_are_read() -> None:
    settings = ranker_settings("title_vectors", changes={"size": "16", "prior_weight": "0"})
    assert settings == TextKnnSettings(text_dim=16, recency=0.6, index="cells")


def test_few_products_or_an_exact_search_need_no_faiss() -> None:
    code = (
        "import sys; from tests.rankers.vectors.test_text_knn import by_hand, PLANE; "
        "by_hand(PLANE).rank_session(['a'], 'DE', 2); print('faiss' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"


def test_without_products_or_folder_it_says_what_to_give() -> None:
    with pytest.raises(DataError, match="give their file with products"):
        TextKnn(TextKnnSettings()).fit(training_sessions())


@pytest.mark.parametrize("kind", ["hnsw", "cells"])
def test_a_graph_and_cells_find_nearly_what_an_exact_search_finds(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (cells, text_knn):
        monkeypatch.setattr(place, "WHOLE", 10_000)
    rng = np.random.default_rng(1)
    words = [f"{a}{b}" for a in "bdfgklmnprst" for b in "aeiou"]
    rows = [
        {"id": f"P{number:05d}", "locale": "DE", "title": " ".join(rng.choice(words, 6))} for number in range(21_000)
    ]
    table, training = pa.Table.from_pylist(rows), TrainingSessions.of([["P00001", "P00002"]], ["DE"])
    asked = Sessions.of([[f"P{number:05d}"] for number in range(40)], ["DE"] * 40)
    ranker = TextKnn(TextKnnSettings(text_dim=16, index=kind)).fit(training, table)  # type: ignore[arg-type]
    exact = TextKnn(TextKnnSettings(text_dim=16, index="exact")).fit(training, table).rank(asked, 10).ids.to_pylist()
    listed = ranker.rank(asked, 10).ids.to_pylist()
    found = [len(set(one) & set(other)) / 10 for one, other in zip(exact, listed, strict=True)]
    assert np.mean(found) > 0.9
    assert ranker.rank_session(["P00007"], "DE", 10)[0] == listed[7]


def test_threads_that_ask_at_once_share_what_one_of_them_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    made, make = [], text_knn._finder_of

    def slowly(*given: Any) -> Any:
        made.append(given[2])
        time.sleep(0.2)
        return make(*given)

    monkeypatch.setattr(text_knn, "_finder_of", slowly)
    ranker = by_hand(PLANE)
    lists = map_in_threads(lambda item: ranker.rank_session([item], "DE", 2)[0], ["a", "a", "a"], 3)
    assert len(made) == 1
    assert lists[0] == lists[1] == lists[2]


def test_cells_of_few_products_are_exact() -> None:
    asked = Sessions.of([[f"B{number:02}"] for number in range(24)], ["DE"] * 24)
    lists = [
        TextKnn(TextKnnSettings(text_dim=16, index=kind))
        .fit(training_sessions(), products(24))
        .rank(asked, 10)
        .to_list()
        for kind in ("exact", "cells")
    ]
    assert lists[0] == lists[1]
