"""The index: exact answers, approximate ones near them, filters, changes without a build."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from bench.retrieval import clustered
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import ConfigError, DataError
from llmrec.memory import Free
from llmrec.text.search import choose
from llmrec.text.search import index as index_module
from llmrec.text.search.choose import KINDS, choose_kind, index_bytes
from llmrec.text.search.index import Index, build_index
from llmrec.text.search.recall import recall, trade_off, trade_off_table, tuned

APPROXIMATE = [kind for kind in KINDS if kind != "exact"]
DIM = 16
VECTORS = clustered(3_200, DIM)
CATALOGUE, QUERIES = VECTORS[:3_000], VECTORS[3_000:3_100]
GROUPS = np.where(np.arange(3_000) % 50 == 0, 2, np.arange(3_000) % 2)  # 60 products of group 2


@pytest.fixture(scope="module", params=KINDS)
def built(request: pytest.FixtureRequest) -> Index:
    return build_index(CATALOGUE, GROUPS, request.param, exact_rows=100)


def by_hand(queries: np.ndarray, k: int, rows: np.ndarray) -> np.ndarray:
    scores = np.einsum("nd,qd->qn", VECTORS[rows], queries)
    return np.stack([rows[np.lexsort((rows, -one))[:k]] for one in scores])


def test_exact_search_is_the_sorted_product() -> None:
    scores, rows = build_index(CATALOGUE, kind="exact").search(QUERIES, 20)
    np.testing.assert_array_equal(rows, by_hand(QUERIES, 20, np.arange(3_000)))
    np.testing.assert_allclose(scores, np.take_along_axis(QUERIES @ CATALOGUE.T, rows, axis=1), atol=1e-6)


def test_approximate_search_finds_nearly_all_and_scores_are_exact(built: Index) -> None:
    exact, _ = build_index(CATALOGUE, kind="exact").search(QUERIES, 10)
    scores, rows = built.search(QUERIES, 10)
    assert recall(scores, exact) >= 0.95
    np.testing.assert_allclose(scores, np.take_along_axis(QUERIES @ CATALOGUE.T, rows, axis=1), atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()


@settings(max_examples=4)
@given(seed=st.integers(0, 1_000), kind=st.sampled_from(APPROXIMATE))
def test_recall_holds_for_other_clustered_vectors(seed: int, kind: str) -> None:
    vectors = clustered(1_300, DIM, seed)
    approximate, exact = (
        build_index(vectors[:1_200], kind=one, exact_rows=100).search(vectors[1_200:], 10)[0] for one in (kind, "exact")
    )
    assert recall(approximate, exact) >= 0.9


def test_one_by_one_is_the_same_as_a_batch(built: Index) -> None:
    scores, rows = built.search(QUERIES, 10)
    for place in range(0, len(QUERIES), 7):
        one_score, one_row = built.search(QUERIES[place : place + 1], 10)
        np.testing.assert_array_equal(one_row[0], rows[place])
        np.testing.assert_array_equal(one_score[0], scores[place])


def test_each_query_is_answered_from_its_own_locale(built: Index) -> None:
    groups = np.arange(len(QUERIES)) % 3
    _, rows = built.search(QUERIES, 60, groups)
    assert (rows >= 0).all()  # the rare one has just as many
    np.testing.assert_array_equal(GROUPS[rows], np.repeat(groups[:, None], 60, axis=1))
    rare = np.flatnonzero(groups == 2)
    np.testing.assert_array_equal(rows[rare, :10], by_hand(QUERIES[rare], 10, np.flatnonzero(GROUPS == 2)))
    assert (built.search(QUERIES, 5, np.full(len(QUERIES), 9))[1] == -1).all()


@pytest.mark.parametrize("share", [2, 30])
def test_only_allowed_rows_are_found_and_k_of_them(built: Index, share: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "EXACT_ROWS", 10)  # so that FAISS has to filter
    allowed = np.arange(3_000) % share == 1
    _, rows = built.search(QUERIES, 40, allowed=allowed)
    assert (rows >= 0).all()
    assert allowed[rows].all()
    exact, _ = build_index(CATALOGUE, kind="exact").search(QUERIES, 10, allowed=allowed)
    assert recall(built.search(QUERIES, 10, allowed=allowed)[0], exact) >= 0.95


def test_k_above_the_catalogue_gives_every_row_once(built: Index) -> None:
    scores, rows = built.search(QUERIES[:3], 3_500)
    assert (np.sort(rows[:, :3_000], axis=1) == np.arange(3_000)).all()
    assert (rows[:, 3_000:] == -1).all()
    assert np.isneginf(scores[:, 3_000:]).all()


def test_equal_vectors_go_to_the_smaller_row(built: Index) -> None:
    twins = np.concatenate([CATALOGUE, CATALOGUE[:1], CATALOGUE[:1]])
    kind = built.shards[0].kind
    _, rows = build_index(twins, kind=kind, exact_rows=100).search(CATALOGUE[:1], 3)
    assert rows.tolist() == [[0, 3_000, 3_001]]


def test_more_ties_than_k_go_to_the_smallest_rows() -> None:
    same = np.tile(CATALOGUE[:1], (70_000, 1))  # more than one block of rows
    assert build_index(same, kind="exact").search(CATALOGUE[:1], 5)[1].tolist() == [[0, 1, 2, 3, 4]]


def test_a_product_without_text_is_never_found(built: Index) -> None:
    vectors = CATALOGUE.copy()
    vectors[::3] = 0
    _, rows = build_index(vectors, kind=built.shards[0].kind, exact_rows=100).search(-QUERIES, 3_000)
    assert (rows[:, :2_000] % 3 > 0).all()
    assert (rows[:, 2_000:] == -1).all()


def test_an_index_of_nothing_answers_with_nothing() -> None:
    for vectors in (np.zeros((0, DIM), np.float32), np.zeros((4, DIM), np.float32)):
        assert (build_index(vectors).search(QUERIES, 3)[1] == -1).all()


def test_adding_and_removing_equal_a_build(built: Index) -> None:
    kind = built.shards[0].kind
    half = build_index(CATALOGUE[:2_000], GROUPS[:2_000], kind, exact_rows=100)
    before = half.search(QUERIES, 10)
    changed = half.with_added(CATALOGUE[2_000:], GROUPS[2_000:]).without(np.arange(0, 3_000, 5))
    gone = np.arange(3_000) % 5 == 0
    scores, rows = changed.search(QUERIES, 10)
    exact_scores, exact_rows = build_index(CATALOGUE, GROUPS, "exact", removed=gone).search(QUERIES, 10)
    assert not gone[rows].any()
    assert recall(scores, exact_scores) >= 0.95
    if kind == "exact":
        np.testing.assert_array_equal(rows, exact_rows)
        np.testing.assert_array_equal(scores, exact_scores)
    assert len(changed) == 2_400
    for now, then in zip(half.search(QUERIES, 10), before, strict=True):
        np.testing.assert_array_equal(now, then)  # the index before is as it was


def test_numbers_without_an_order_are_refused(built: Index) -> None:
    odd = CATALOGUE[:5].copy()
    odd[3, 2] = np.nan
    with pytest.raises(DataError, match=r"row 3 \(from 0\) holds NaN"):
        build_index(odd)
    with pytest.raises(DataError, match="queries: row 3"):
        built.search(odd, 5)
    with pytest.raises(DataError, match="vectors to add: row 3"):
        built.with_added(odd, np.zeros(5))


def test_wrong_width_k_and_kind_are_refused(built: Index) -> None:
    with pytest.raises(ConfigError, match=r"shape \(100, 8\), the index holds \(N, 16\)"):
        built.search(QUERIES[:, :8], 5)
    with pytest.raises(ConfigError, match="k must be at least 1"):
        built.search(QUERIES, 0)
    with pytest.raises(ConfigError, match="did you mean 'hnsw'"):
        build_index(CATALOGUE, kind="hnws")


@pytest.mark.parametrize(
    ("num", "memory_mb", "kind"),
    [
        (20_000, None, "exact"),
        (100_000, None, "hnsw"),
        (100_000, 30, "ivf"),
        (1_410_000, None, "ivf"),
        (1_410_000, 600, "ivf"),
        (1_410_000, 120, "pq"),
    ],
)
def test_size_and_memory_choose_the_kind(num: int, memory_mb: float | None, kind: str) -> None:
    assert choose_kind("auto", num, 256, memory_mb) == kind


def test_what_does_not_fit_the_memory_is_refused_with_a_number() -> None:
    with pytest.raises(ConfigError, match="a 'pq' index of 1,410,000 × 256 takes about 107 MB"):
        choose_kind("auto", 1_410_000, 256, 50)
    assert choose_kind("exact", 1_410_000, 256, 50) == "exact"


def test_memory_that_is_there_chooses_the_kind_and_refuses_one_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choose, "free_memory", lambda: Free(700_000_000, "a test"))
    assert choose_kind("auto", 1_410_000, 256) == "pq"
    others = "--kind exact, --kind hnsw, --kind pq"
    with pytest.raises(ConfigError, match=rf"^building a 'ivf' index of .* 668 MiB are free .* fits: {others}$"):
        choose_kind("ivf", 1_410_000, 256)


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_the_size_that_was_foretold_is_the_size(kind: str, tmp_path) -> None:
    made = build_index(CATALOGUE, kind=kind, exact_rows=100)
    index_module.write_structure(made.shards[0].structure, tmp_path / "file")
    foretold = index_bytes(made.shards[0].kind, len(CATALOGUE), DIM)
    assert (tmp_path / "file").stat().st_size == pytest.approx(foretold, rel=0.15)


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_tuning_takes_the_least_effort_that_reaches_the_recall(kind: str) -> None:
    made = build_index(CATALOGUE, GROUPS, kind, exact_rows=100)
    index, measured = tuned(made, 0.9)
    assert sorted(measured) == [0, 1]  # the rare locale is searched exactly
    for shard in index.shards[:2]:
        points = measured[shard.group]
        reached = [point.effort for point in points if point.recall >= 0.9]
        assert shard.effort == reached[0]
        assert points[-1].recall >= points[0].recall
    assert "chosen" in str(trade_off_table(index, measured, ("UK", "DE", "ES")).columns[4]._cells)
    with pytest.raises(ConfigError, match="--recall must be above 0 and at most 1"):
        tuned(made, 1.5)


def test_the_recall_that_tuning_states_is_that_of_the_products() -> None:
    made = build_index(CATALOGUE, kind="ivf", exact_rows=100)
    point = trade_off(made.vectors, made.shards[0])[0]
    one = dataclasses.replace(made, shards=(dataclasses.replace(made.shards[0], effort=point.effort),))
    drawn = np.random.default_rng(0).choice(3_000, 200, replace=False)
    hits = []
    for row in drawn:
        others = np.arange(3_000) != row
        wanted = set(by_hand(CATALOGUE[row : row + 1], 10, np.flatnonzero(others))[0].tolist())
        found = [one_row for one_row in one.search(CATALOGUE[row : row + 1], 11)[1][0].tolist() if one_row != row]
        hits.append(len(wanted & set(found[:10])) / 10)
    assert np.mean(hits) == pytest.approx(point.recall, abs=0.02)


@pytest.mark.parametrize("works", [True, False])
def test_a_gpu_is_used_where_faiss_has_one_and_can(
    works: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def to_gpu(flat):
        asked.append(flat)
        if not works:
            raise RuntimeError("no kernel image")
        return flat

    monkeypatch.setattr(index_module.faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(index_module.faiss, "index_cpu_to_all_gpus", to_gpu, raising=False)
    index = build_index(CATALOGUE, kind="ivf", exact_rows=100)
    assert len(asked) == 1
    assert ("cannot use the GPU (no kernel image)" in capfd.readouterr().err) is not works
    exact, _ = build_index(CATALOGUE, kind="exact").search(QUERIES, 10)
    assert recall(index.search(QUERIES, 10)[0], exact) >= 0.95
