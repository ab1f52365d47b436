"""Sessions scored in groups: who is in which, and that a group scores what its sessions alone would score."""

from __future__ import annotations

import json
from pathlib import Path

import ir_measures
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, Success, nDCG

from llmrec.cli import main
from llmrec.data.store import Store
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.evaluate import evaluate_run
from llmrec.evaluation.metrics import MAX_RANKED, metric_by_rank
from llmrec.evaluation.results import read_result, write_result
from llmrec.evaluation.runs import write_run
from llmrec.evaluation.scoring import score_rankings, score_titles
from llmrec.reporting.tables import render_markdown

SESSIONS = [
    (["a", "b"], "UK", "c"),
    (["a", "a"], "UK", "d"),
    (["a", "b", "a", "b"], "ES", "a"),
    (["c", "d", "e"], "ES", "z"),
]
RANKED = [["c", "d"], ["x", "d"], ["a"], ["x"]]  # ranks 1, 2, 1 and none
OTHER = [["d", "c"], ["d"], ["x", "a"], ["z"]]  # ranks 2, 1, 2 and 1


@pytest.fixture
def files(tmp_path: Path) -> Path:
    lists, locales, wanted = ([session[place] for session in SESSIONS] for place in range(3))
    columns = {"prev_items": pa.array(lists, pa.list_(pa.string())), "locale": pa.array(locales)}
    pq.write_table(pa.table(columns | {"next_item": pa.array(wanted)}), tmp_path / "labelled.parquet")
    pq.write_table(pa.table(columns), tmp_path / "sessions.parquet")
    pq.write_table(pa.table({"locale": locales, "next_item": wanted}), tmp_path / "targets.parquet")
    learnt = [["c", "q"], ["a", "a", "a"], ["d", "c", "c", "c", "c", "c"]]  # c 6 times, a 3, d once, z never
    pq.write_table(pa.table({"prev_items": learnt, "locale": ["UK"] * 3}), tmp_path / "train.parquet")
    for name, ranked in (("run", RANKED), ("other", OTHER)):
        write_run(tmp_path / f"{name}.parquet", pa.array(locales), pa.array(ranked), {"ranker": name})
    return tmp_path


def groups(files: Path, by: str, **more) -> dict[str, tuple[int, float]]:
    more.setdefault("train", [files / "train.parquet"])
    result = evaluate_run(files / "run.parquet", files / "labelled.parquet", by=[by], samples=20, **more)
    return {name: (part.num_sessions, part.metrics["mrr@100"]) for name, part in result.breakdowns[by].items()}


def test_sessions_are_sorted_as_worked_by_hand(files: Path) -> None:
    everything = ("all sessions", (4, 2.5 / 4))
    assert groups(files, "locale") == {
        "UK": (2, 1.5 / 2),
        "ES": (2, 1 / 2),
        "all sessions": (4, 2.5 / 4),
        "mean of locales": (4, (1.5 / 2 + 1 / 2) / 2),
    }
    assert groups(files, "length") == {"2 items": (2, 1.5 / 2), "3": (1, 0), "4": (1, 1)} | dict([everything])
    assert groups(files, "repeats") == {"no repeat": (2, 1 / 2), "1 visit again": (1, 1 / 2), "2": (1, 1)} | dict(
        [everything]
    )
    assert groups(files, "popularity") == {
        "never in training": (1, 0),
        "once": (1, 1 / 2),
        "2-5 times": (1, 1),
        "6-20": (1, 1),
    } | dict([everything])
    assert groups(files, "novelty") == {"warm": (3, 2.5 / 3), "cold": (1, 0)} | dict([everything])


def test_lengths_are_read_beside_the_targets_or_where_told(files: Path) -> None:
    run, targets = files / "run.parquet", files / "targets.parquet"
    beside = evaluate_run(run, targets, by=["length"], samples=5).breakdowns["length"]
    assert list(beside) == ["2 items", "3", "4", "all sessions"]
    (files / "sessions.parquet").rename(files / "elsewhere.parquet")
    with pytest.raises(ConfigError, match=r"targets.parquet: holds no prev_items .*add --sessions FILE"):
        evaluate_run(run, targets, by=["length"], samples=5)
    told = evaluate_run(run, targets, by=["length"], samples=5, sessions=files / "elsewhere.parquet")
    assert told.breakdowns["length"] == beside
    pq.write_table(pa.table({"prev_items": [["a"]], "locale": ["UK"]}), files / "short.parquet")
    with pytest.raises(DataError, match="1 sessions for the 4 targets"):
        evaluate_run(run, targets, by=["length"], samples=5, sessions=files / "short.parquet")


def test_what_cannot_be_grouped_is_refused(files: Path) -> None:
    for by, message in (("size", "--by must be one of locale, length"), ("novelty", "add --train FILE")):
        with pytest.raises(ConfigError, match=message):
            evaluate_run(files / "run.parquet", files / "labelled.parquet", by=[by])


def test_differences_are_of_the_group_and_survive_the_file(files: Path) -> None:
    result = evaluate_run(
        files / "run.parquet", files / "labelled.parquet", compare=files / "other.parquet", by=["locale"], hits=[1, 5]
    )
    uk = result.breakdowns["locale"]["UK"]
    assert uk.differences["mrr@100"].difference == pytest.approx((1 + 1 / 2 - 1 / 2 - 1) / 2)
    assert result.breakdowns["locale"]["ES"].differences["hit@1"].difference == (1 + 0 - 0 - 1) / 2
    assert uk.p_values["mrr@100"] == 1
    assert result.overall.metrics["hit@1"] == 2 / 4
    assert result.overall.metrics["hit@5"] == result.overall.metrics["recall@100"]
    write_result(files / "result.json", result)
    assert read_result(files / "result.json") == result
    assert result.targets == "labelled.parquet"
    shown = render_markdown(result)
    assert "### By locale" in shown
    assert "Hit@1" in shown
    assert "p: two-sided" in shown


def test_more_cutoffs_are_scored_with_every_metric(files: Path) -> None:
    run, targets = files / "run.parquet", files / "labelled.parquet"
    result = evaluate_run(run, targets, by=["locale"], cutoffs=[1, 100], samples=9)
    assert result.overall.metrics["ndcg@1"] == result.overall.metrics["recall@1"] == 2 / 4
    assert list(result.overall.metrics) == ["mrr@100", "recall@100", "ndcg@100", "mrr@1", "recall@1", "ndcg@1"]
    assert result.breakdowns["locale"]["UK"].intervals["ndcg@1"].low is not None
    assert "NDCG@1" in render_markdown(result)
    with pytest.raises(ConfigError, match="a cutoff of 1 to 100"):
        evaluate_run(run, targets, cutoffs=[0])


def test_a_result_written_before_breakdowns_is_read(files: Path) -> None:
    result = evaluate_run(files / "run.parquet", files / "labelled.parquet", compare=files / "other.parquet", samples=9)
    write_result(files / "result.json", result)
    record = json.loads((files / "result.json").read_text(encoding="utf-8"))
    for name in ("breakdowns", "targets", "checksum"):
        del record[name]
    del record["comparison"]["p_values"]
    (files / "result.json").write_text(json.dumps(record), encoding="utf-8")
    old = read_result(files / "result.json")
    assert (old.breakdowns, old.targets, old.comparison.p_values) == ({}, "", {})
    assert "difference [95 %] |" in render_markdown(old)


def test_titles_are_broken_down_too(tiny_store: Store, tmp_path: Path) -> None:
    sessions = pq.read_table(tiny_store.path / "sessions_validation.parquet")
    titles = pa.array(["USB-C Cable 2 m, Braided"] * len(sessions))
    write_run(tmp_path / "run.parquet", sessions["locale"], titles, {})
    targets = tiny_store.path / "sessions_validation.parquet"
    train = [tiny_store.path / "sessions_development.parquet"]
    result = evaluate_run(tmp_path / "run.parquet", targets, by=["repeats", "novelty"], train=train, samples=20)
    parts = result.breakdowns["repeats"]
    assert sum(part.num_sessions for name, part in parts.items() if name != "all sessions") == result.n_sessions
    assert parts["all sessions"].metrics["bleu"] == pytest.approx(result.overall.metrics["bleu"])
    assert list(result.breakdowns["novelty"]) == ["warm", "all sessions"]
    with pytest.raises(ConfigError, match="--hits is of ranked lists alone"):
        evaluate_run(tmp_path / "run.parquet", targets, hits=[1])


masks = st.lists(st.sampled_from("xyz"), min_size=1, max_size=25)


@settings(max_examples=20, deadline=None)
@given(masks, st.data())
def test_groups_score_what_their_sessions_alone_score(labels: list[str], data: st.DataObject) -> None:
    ranks = data.draw(st.lists(st.integers(0, 5), min_size=len(labels), max_size=len(labels)))
    lists = [[f"t{place}" if place == rank else f"o{place}" for place in range(1, 6)] for rank in ranks]
    targets = [f"t{rank}" for rank in ranks]  # t0 is in no list
    locales = ["UK"] * len(labels)
    split = {name: np.array([label == name for label in labels]) for name in dict.fromkeys(labels)}
    ranked, wanted = pa.chunked_array([pa.array(lists)]), pa.chunked_array([pa.array(targets)])
    parts = score_rankings("r", locales, ranked, wanted, groupings={"label": split}, samples=30).breakdowns["label"]
    for name, mask in split.items():
        rows = np.flatnonzero(mask).tolist()
        alone = score_rankings("r", ["UK"] * len(rows), ranked.take(rows), wanted.take(rows))
        assert dict(parts[name].metrics) == pytest.approx(dict(alone.overall.metrics))
        assert all(interval.low <= interval.high for interval in parts[name].intervals.values())
    weighted = sum(parts[name].num_sessions * parts[name].metrics["mrr@100"] for name in split) / len(labels)
    assert parts["all sessions"].metrics["mrr@100"] == pytest.approx(weighted)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 100), min_size=1, max_size=20), st.sampled_from([1, 3, 10, 100]))
def test_every_metric_agrees_with_ir_measures(ranks: list[int], k: int) -> None:
    relevant = [ir_measures.Qrel(str(row), "t", 1) for row in range(len(ranks))]
    scored = [
        ir_measures.ScoredDoc(str(row), "t" if place == rank else f"o{place}", 1.0 / place)
        for row, rank in enumerate(ranks)
        for place in range(1, 101)
    ]
    reference = ir_measures.calc_aggregate([RR @ k, Success @ k, nDCG @ k], relevant, scored)
    for metric, measure in ((f"mrr@{k}", RR @ k), (f"hit@{k}", Success @ k), (f"ndcg@{k}", nDCG @ k)):
        assert metric_by_rank(metric)[ranks].mean() == pytest.approx(reference[measure], abs=1e-9)


@given(st.sampled_from(["mrr", "hit", "recall", "ndcg"]), st.integers(1, MAX_RANKED))
def test_a_better_rank_never_scores_less_and_a_miss_scores_nothing(name: str, k: int) -> None:
    values = metric_by_rank(f"{name}@{k}")
    assert values[0] == 0
    assert (np.diff(values[1:]) <= 0).all()
    assert values[1] == 1
    assert (values[k + 1 :] == 0).all()


@pytest.mark.parametrize("metric", ["mrr", "map@10", "mrr@0", "hit@101", "hit@x"])
def test_an_unknown_metric_is_refused(metric: str) -> None:
    with pytest.raises(ConfigError, match=f"no metric '{metric}'"):
        metric_by_rank(metric)


def test_the_mean_of_locales_has_the_width_that_theory_gives() -> None:
    # 900 sessions of one locale and 100 of another, hits with share 1/2: the variance of the mean of the two means
    # is (1/4 / 900 + 1/4 / 100) / 4
    lists = [["t"] if row % 2 else ["o"] for row in range(1000)]
    locales = ["UK"] * 900 + ["ES"] * 100
    split = {name: np.array([one == name for one in locales]) for name in ("UK", "ES")}
    ranked, wanted = pa.chunked_array([pa.array(lists)]), pa.chunked_array([pa.array(["t"] * 1000)])
    result = score_rankings("r", locales, ranked, wanted, groupings={"locale": split}, samples=2000)
    interval = result.breakdowns["locale"]["mean of locales"].intervals["mrr@100"]
    error = ((0.25 / 900 + 0.25 / 100) / 4) ** 0.5
    assert interval.difference == result.macro["mrr@100"] == 0.5
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_the_interval_of_bleu_holds_its_score() -> None:
    titles = ["red cable two metres long", "blue lamp with a green shade", "small kettle for the kitchen table"] * 20
    written = [title if place % 3 else title.replace("green", "red") for place, title in enumerate(titles)]
    split = {"even": np.arange(60) % 2 == 0, "odd": np.arange(60) % 2 == 1}
    result = score_titles("r", ["UK"] * 60, written, titles, groupings={"half": split}, samples=200)
    for part in result.breakdowns["half"].values():
        assert part.intervals["bleu"].low <= part.metrics["bleu"] <= part.intervals["bleu"].high


def test_the_command_prints_tables_with_intervals_and_n(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", str(files / "run.parquet"), "--targets", str(files / "labelled.parquet")]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--by", "length", "repeats", "--hits", "1", "10", "--samples", "20"])
    assert stop.value.code == 0
    shown = capfd.readouterr().out
    assert "### By session length" in shown
    assert "| 2 items | 2 | 0.7500 [" in shown
    assert "### By repeated visits" in shown
    assert "Hit@10" in shown
    assert list(read_written(files, arguments).breakdowns) == ["length", "locale"]


def read_written(files: Path, arguments: list[str]):
    with pytest.raises(SystemExit):
        main([*arguments, "--by", "length", "locale", "--json", str(files / "made.json")])
    return read_result(files / "made.json")


def test_a_difference_has_one_interval_and_one_p_wherever_it_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rng, locales, wanted = np.random.default_rng(4), ["UK", "DE", "ES"] * 40, ["t"] * 80 + ["z"] * 40
    for name, share in (("run", 0.6), ("other", 0.4)):
        hits = rng.random(120) < share
        lists = [[target] if hit else ["o"] for target, hit in zip(wanted, hits, strict=True)]
        write_run(tmp_path / f"{name}.parquet", pa.array(locales), pa.array(lists), {})
    pq.write_table(pa.table({"locale": locales, "next_item": wanted}), tmp_path / "targets.parquet")
    pq.write_table(pa.table({"prev_items": [["t", "o"]], "locale": ["UK"]}), tmp_path / "train.parquet")
    arguments = ["evaluate", str(tmp_path / "run.parquet"), "--targets", str(tmp_path / "targets.parquet")]
    arguments += ["--compare", str(tmp_path / "other.parquet"), "--train", str(tmp_path / "train.parquet")]
    for file, more in (("alone.json", []), ("by.json", ["--by", "locale", "novelty"])):
        with pytest.raises(SystemExit):
            main([*arguments, "--samples", "99", "--json", str(tmp_path / file), *more])
    lines = capfd.readouterr().out.splitlines()
    for name, shown in (("UK", 3), ("DE", 3), ("ES", 3), ("all sessions", 4)):
        assert len(told := [line.split(" | ")[-1] for line in lines if line.startswith(f"| {name} |")]) == shown
        assert len(set(told)) == 1
    result = read_result(tmp_path / "by.json")
    assert result.comparison == read_result(tmp_path / "alone.json").comparison  # a further table moves no figure
    for name in ("warm", "cold"):
        assert result.breakdowns["novelty"][name] == result.parts[name]
        assert result.breakdowns["novelty"][name].differences["mrr@100"] == result.comparison.intervals[name]
