"""Measures beyond accuracy: by hand, beside plain loops, and what is refused."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from math import log, log2, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import llmrec
from llmrec.cli import main
from llmrec.errors import ConfigError
from llmrec.evaluation.beyond.exposure import Exposures, exposure
from llmrec.evaluation.beyond.measures import Lists, beyond_accuracy
from llmrec.evaluation.beyond.title_diversity import diversity, title_vectors
from llmrec.evaluation.beyond.training import Training, popularity_groups
from llmrec.evaluation.results import Result, read_result
from llmrec.evaluation.runs import write_run
from llmrec.reporting.standings import read_entry
from llmrec.reporting.tables import render_markdown
from llmrec.reporting.trade_offs import plot_trade_offs

ITEMS = [f"i{number}" for number in range(8)]


def trained(counts: dict[str, int], sessions: int, locale: str = "UK") -> Training:
    return Training(pa.array(counts), pa.array([locale] * len(counts)), np.array(list(counts.values())), sessions)


def measured(ranked: list[list[str]], targets: list[str], cutoff: int, **more: Any) -> dict[str, float]:
    lists = Lists(pa.array(ranked, pa.list_(pa.string())), pa.array(targets), np.array(["UK"] * len(ranked)), **more)
    part = beyond_accuracy(lists, {"overall": np.arange(len(ranked))}, [cutoff], samples=20)["overall"]
    return {name.partition("@")[0]: value for name, value in part.metrics.items()}


def test_exposure_by_hand() -> None:
    # two of four items, one listed three times as often: shares 3/4 and 1/4
    coverage, gini, entropy = exposure(np.array([3, 1]), 4)
    assert coverage == 0.5
    assert gini == pytest.approx((-3 * 0 + -1 * 0 + 1 * 1 + 3 * 3) / (4 * 4))
    assert entropy == pytest.approx(-(0.75 * log2(0.75) + 0.25 * log2(0.25)))
    assert exposure(np.array([2, 2, 2]), 3).tolist() == pytest.approx([1, 0, log2(3)])
    assert exposure(np.array([0]), 3).tolist() == [0, 0, 0]


def test_one_session_has_an_interval_of_no_width() -> None:
    found = Exposures.of(np.array([[0, 1]]), 4, 0).intervals()
    assert (found["coverage"].low, found["coverage"].difference, found["coverage"].high) == (0.5, 0.5, 0.5)


def test_head_and_tail_make_a_fifth_of_the_visits_each() -> None:
    # of ten visits the first two are the head's; what begins after the eighth is the tail's
    assert popularity_groups(np.array([1, 2, 5, 1, 1, 0])).tolist() == [1, 1, 0, 2, 2, 2]


LISTS = st.lists(st.lists(st.sampled_from(ITEMS), min_size=1, max_size=5, unique=True), min_size=1, max_size=8)


@settings(max_examples=40)
@given(ranked=LISTS, counts=st.lists(st.integers(1, 9), min_size=6, max_size=6), data=st.data())
def test_measures_equal_plain_loops(ranked: list[list[str]], counts: list[int], data: st.DataObject) -> None:
    targets = data.draw(st.lists(st.sampled_from(ITEMS), min_size=len(ranked), max_size=len(ranked)))
    known = dict(zip(ITEMS, counts, strict=False))
    found = measured(ranked, targets, 3, training=trained(known, 9))
    assert found == pytest.approx(plain(ranked, targets, 3, known, 9), abs=1e-9)


def plain(
    ranked: list[list[str]], targets: list[str], cutoff: int, counts: dict[str, int], sessions: int
) -> dict[str, float]:
    """The formulas of docs/beyond.md, one list after the other."""
    lists = [items[:cutoff] for items in ranked]
    size = len({*counts} | {item for items in lists for item in items})
    listed = Counter(item for items in lists for item in items)
    rising = sorted([*listed.values(), *[0] * (size - len(listed))])
    total = sum(rising)
    ranks = {count: rank for rank, count in enumerate(sorted({*counts.values()}, reverse=True), 1)}
    order = sorted(ITEMS, key=lambda item: (-counts.get(item, 0), item))
    visits, before, group = sum(counts.values()), 0, {}
    for item in order:
        group[item] = (
            "tail" if item not in counts or before >= 0.8 * visits else "head" if before < 0.2 * visits else "middle"
        )
        before += counts.get(item, 0)

    def unexpected(item: str, rank: int) -> float:
        by_all = (size + 1 - ranks[counts[item]]) / size if item in counts else 0.0
        return max((size + 1 - rank) / size - by_all, 0.0)

    rates, wanted, given = [], {}, {}
    for name in ("head", "middle", "tail"):
        places = [place for place, target in enumerate(targets) if group[target] == name]
        if places:
            rates.append(sum(targets[place] in lists[place] for place in places) / len(places))
        wanted[name] = len(places) / len(targets)
        given[name] = sum(sum(group[item] == name for item in items) / len(items) for items in lists) / len(lists)
    given = {name: 0.99 * given[name] + 0.01 * wanted[name] for name in given}
    return {
        "coverage": len(listed) / size,
        "gini": sum((2 * place - size - 1) * one for place, one in enumerate(rising, 1)) / (size * total),
        "entropy": -sum(one / total * log2(one / total) for one in listed.values()),
        "novelty": mean([mean([-log2(counts.get(item, 1) / sessions) for item in items]) for items in lists]),
        "popularity": mean([mean([counts.get(item, 0) for item in items]) for items in lists]),
        "serendipity": mean(
            [
                sum(unexpected(item, rank) for rank, item in enumerate(items, 1) if item == target) / len(items)
                for items, target in zip(lists, targets, strict=True)
            ]
        ),
        "popreo": float(np.std(rates) / np.mean(rates)) if any(rates) else 0.0,
        "calibration": sum(one * log(one / given[name]) for name, one in wanted.items() if one),
    }


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_the_example_of_rectools_comes_out_the_same() -> None:
    # rectools 0.19, docstrings of Serendipity and MeanInvUserFreq
    ranked = [["i1", "i2"], ["i2", "i3"], ["i3"], ["i2", "i3"]]
    training = trained({"i1": 3, "i2": 2}, 3)
    shop = pa.table({"locale": ["UK"] * 4, "id": ["i1", "i2", "i3", "i4"], "title": [None] * 4})
    targets = ["i1", "i2", "i2", "i2"]
    assert measured(ranked, targets, 1, training=training, products=shop)["serendipity"] == (0 + 0.25 + 0 + 0.25) / 4
    novel = measured([["i3"], ["i2", "i3"], ["i1", "i2"]], ["i1"] * 3, 2, training=trained({"i1": 3, "i2": 1}, 3))
    assert novel["novelty"] == pytest.approx((log2(3) + log2(3) + log2(3) / 2) / 3)


def test_titles_differ_as_their_words_do() -> None:
    titles = ["red tea cup", "red tea pot", "blaue Tasse", None, "東京 red"]
    vectors = title_vectors(pa.array(titles))
    idf = {word: log(6 / (1 + n)) + 1 for word, n in (("red", 3), ("tea", 2), ("cup", 1), ("pot", 1))}
    shared = idf["red"] ** 2 + idf["tea"] ** 2
    cosine = shared / (shared + idf["cup"] ** 2)  # cup and pot weigh the same
    assert (vectors[0] @ vectors[1].T).toarray()[0, 0] == pytest.approx(cosine)
    assert vectors[4].nnz == 3  # two letters of Japanese and a word
    lists = np.array([[0, 1, -1], [0, 2, -1], [0, 3, -1], [0, 1, 2]])
    found = diversity(lists, vectors, np.arange(5))
    assert found.tolist() == pytest.approx([1 - cosine, 1.0, np.nan, (1 - cosine + 2) / 3], nan_ok=True)
    dense = vectors.toarray()
    assert found[3] == pytest.approx(mean([1 - dense[a] @ dense[b] for a, b in combinations((0, 1, 2), 2)]))
    assert sqrt((dense[0] ** 2).sum()) == pytest.approx(1)


def test_a_locale_is_shown_what_it_sells() -> None:
    shop = pa.table({"locale": ["UK", "UK", "DE"], "id": ["a", "b", "c"], "title": ["x", "y", "z"]})
    found = measured([["a", "c"], ["b"]], ["a", "b"], 2, training=trained({"a": 1}, 1), products=shop)
    assert found["in_locale"] == 0.75
    assert found["coverage"] == 1.0  # the two products of UK, and what is listed beside them


@pytest.fixture
def files(tmp_path: Path) -> Path:
    wanted = pa.table({"locale": ["UK", "UK", "DE"], "next_item": ["b", "a", None]})
    pq.write_table(wanted, tmp_path / "targets.parquet")
    learnt = pa.table(
        {"prev_items": [["a", "b", "a"], ["b"], []], "next_item": ["c", None, None], "locale": ["UK"] * 3}
    )
    pq.write_table(learnt, tmp_path / "train.parquet")
    write_run(tmp_path / "run.parquet", wanted["locale"], pa.array([["a", "b"], ["c", "a"], ["b"]]), {"ranker": "r"})
    return tmp_path


def test_the_command_writes_and_shows_them(files: Path) -> None:
    words = ["--targets", str(files / "targets.parquet"), "--train", str(files / "train.parquet")]
    more = ["--beyond", "1", "2", "--json", str(files / "one.json")]
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(files / "run.parquet"), *words, *more])
    assert ended.value.code == 0
    result = read_result(files / "one.json")
    part = result.beyond["overall"]
    assert part.num_sessions == result.n_sessions == 2  # the one without a target is left out
    assert part.metrics["popularity@1"] == (1 + 1) / 2  # a in one session of two, c in one
    assert part.metrics["novelty@2"] == pytest.approx((1 + 0 + 1 + 1) / 4)
    assert "novelty@2" in render_markdown(result).lower()


def test_a_run_less_another_is_the_difference_of_their_measures_with_a_paired_interval(files: Path) -> None:
    write_run(files / "other.parquet", ["UK", "UK", "DE"], [["c", "b", "a"], [], ["c"]], {"ranker": "r"})

    def scored(name: str, compare: str | None = None) -> Result:
        other = None if compare is None else files / compare
        asked = {"train": files / "train.parquet", "beyond": [2], "samples": 50, "compare": other}
        return llmrec.evaluate(files / name, files / "targets.parquet", **asked)

    result, theirs = scored("run.parquet", "other.parquet"), scored("other.parquet").beyond["overall"].metrics
    ours = result.beyond["overall"]
    assert ours.differences.keys() == ours.metrics.keys() & theirs.keys()
    for name, found in ours.differences.items():
        assert found.difference == pytest.approx(ours.metrics[name] - theirs[name], abs=1e-12), name
    assert any(found.low < found.difference < found.high for found in ours.differences.values())
    same = scored("run.parquet", "run.parquet").beyond["overall"].differences
    assert {(found.low, found.difference, found.high) for found in same.values()} == {(0.0, 0.0, 0.0)}
    assert "Beyond accuracy, less other" in render_markdown(result)


def test_results_show_them_and_draw_trade_offs(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        result = llmrec.evaluate(
            files / "run.parquet", files / "targets.parquet", train=files / "train.parquet", beyond=[2], samples=9
        )
        result.save(files / f"{name}.json")
    words = [f"A={files / 'one.json'}", f"B={files / 'two.json'}", "--plot", str(files / "plot.png")]
    with pytest.raises(SystemExit) as ended:
        main(["results", *words, "--metrics", "mrr@100", "gini@2"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    gini = result.beyond["overall"].metrics["gini@2"]
    assert f"| A | {gini:.4f} | {gini:.4f} |" in shown  # less is better there: neither is in bold
    assert (files / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_of_results_without_them_is_refused(files: Path) -> None:
    llmrec.evaluate(files / "run.parquet", files / "targets.parquet", samples=9).save(files / "bare.json")
    entry = read_entry(str(files / "bare.json"))
    with pytest.raises(ConfigError, match="--beyond 10"):
        plot_trade_offs([entry])


@pytest.mark.parametrize(
    ("last", "names"),
    [
        ("2026-11-03", ["2026-11-02", "2026-11-03"]),
        ("2026-12-31", ["week of 2026-11-02", "week of 2026-12-28"]),
        ("2027-11-02", ["2026-11", "2027-11"]),
    ],
)
def test_sessions_by_time(files: Path, last: str, names: list[str]) -> None:
    times = ["2026-11-02 09:00:00", f"{last} 10:00:00", None]
    table = pa.table({"prev_items": [["x"], ["y"], ["z"]], "locale": ["UK", "UK", "DE"], "time": times})
    pq.write_table(table, files / "sessions.parquet")
    result = llmrec.evaluate(files / "run.parquet", files / "targets.parquet", by=["time"], samples=9)
    assert list(result.breakdowns["time"]) == [*names, "all sessions"]
    assert result.breakdowns["time"][names[0]].metrics["mrr@100"] == 0.5


def test_without_training_files_or_for_titles_it_is_refused(files: Path) -> None:
    run, targets = files / "run.parquet", files / "targets.parquet"
    with pytest.raises(ConfigError, match="beyond counts items in what the run learnt from; add train"):
        llmrec.evaluate(run, targets, beyond=[10])
    with pytest.raises(ConfigError, match="must be 1 to 100; got 0"):
        llmrec.evaluate(run, targets, beyond=[0], train=files / "train.parquet")
    with pytest.raises(ConfigError, match="holds titles"):
        llmrec.evaluate(["red cup"], ["tea pot"], beyond=[10], train=files / "train.parquet")
