import csv
import json
import math
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sacrebleu.metrics import BLEU

from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.evaluate import evaluate_run
from llmrec.evaluation.results import read_result, write_result
from llmrec.evaluation.runs import write_run
from llmrec.reporting.tables import render_markdown
from tests.places import REAL

TASK2 = REAL / "amazon-m2" / "task2_phase1.parquet"

LOCALES = ["JP", "UK", "UK", "JP"]
TITLES = ["透明 スマホ ケース 耐衝撃", "red mug with a handle", "blue mug with a lid", "黒い 傘"]
WRITTEN = ["透明 スマホ ケース", "red mug with a handle", "blue mug with a handle", "黒い 傘"]


def bleu(tokenize, written, wanted):
    return BLEU(tokenize=tokenize, smooth_method="none", force=True).corpus_score(written, [wanted])


@pytest.fixture
def titles(tmp_path):
    write_run(tmp_path / "run.parquet", LOCALES, WRITTEN, {"seed": 5})
    pq.write_table(
        pa.table({"session_id": [0, 1, 2, 3], "locale": LOCALES, "next_title": TITLES}), tmp_path / "targets.parquet"
    )
    return tmp_path


def test_titles_score_as_sacrebleu_scores_them(titles):
    result = evaluate_run(titles / "run.parquet", titles / "targets.parquet")
    assert result.overall.metrics["bleu"] == pytest.approx(bleu("13a", WRITTEN, TITLES).score, abs=1e-9)
    uk, jp = result.locales["UK"].metrics, result.locales["JP"].metrics
    assert uk["bleu"] == pytest.approx(bleu("13a", WRITTEN[1:3], TITLES[1:3]).score, abs=1e-9)
    assert jp["bleu_char"] == pytest.approx(bleu("char", WRITTEN[::3], TITLES[::3]).score, abs=1e-9)
    assert "bleu_char" not in uk
    assert jp["exact_match"] == 1 / 2
    assert result.macro["bleu"] == pytest.approx((uk["bleu"] + jp["bleu"]) / 2, abs=1e-9)
    assert list(result.locales) == ["UK", "JP"]
    assert result.signatures.keys() == {"bleu", "bleu_char"}
    assert "tok:13a|smooth:none" in result.signatures["bleu"]
    assert (result.n_sessions, result.n_without_target, result.partial) == (4, 0, False)
    assert result.provenance == {"seed": 5}


def test_a_locale_of_a_language_file_has_its_own_bleu_beside_the_papers(titles, monkeypatch):
    (titles / "own.yaml").write_text("locales: {UK: {bleu: zh}, JP: {bleu: 13a}}", encoding="utf-8")
    monkeypatch.setenv("LLMREC_LANGUAGES", str(titles / "own.yaml"))
    result = evaluate_run(titles / "run.parquet", titles / "targets.parquet")
    uk = result.locales["UK"].metrics
    assert uk["bleu_zh"] == pytest.approx(bleu("zh", WRITTEN[1:3], TITLES[1:3]).score, abs=1e-9)
    assert uk["bleu"] == pytest.approx(bleu("13a", WRITTEN[1:3], TITLES[1:3]).score, abs=1e-9)
    assert result.signatures.keys() == {"bleu", "bleu_zh"}
    assert "| BLEU | BLEU (zh) | brevity penalty |" in render_markdown(result)


@pytest.fixture
def ranked(tmp_path):
    lists = [["a", "b"], ["c"], ["d", "e", "f", "g"], []]
    write_run(tmp_path / "run.parquet", ["ES", "FR", "ES", "IT"], lists, {})
    (tmp_path / "targets.csv").write_text("next_item,locale\nb,ES\nc,FR\ng,ES\nh,IT\n", encoding="utf-8")
    return tmp_path


def test_ranked_lists_score_as_worked_by_hand(ranked):
    result = evaluate_run(ranked / "run.parquet", ranked / "targets.csv")
    # ranks 2, 1, 4 and absent
    assert result.overall.metrics["mrr@100"] == (1 / 2 + 1 + 1 / 4) / 4
    assert result.overall.metrics["recall@100"] == 3 / 4
    ndcg = (1 / math.log2(3) + 1 + 1 / math.log2(5)) / 4
    assert result.overall.metrics["ndcg@100"] == pytest.approx(ndcg, abs=1e-12)
    assert result.locales["ES"].metrics["mrr@100"] == (1 / 2 + 1 / 4) / 2
    assert result.macro["mrr@100"] == pytest.approx(((1 / 2 + 1 / 4) / 2 + 1 + 0) / 3, abs=1e-12)
    assert result.signatures == {}


def test_a_baseline_stands_beside_with_its_interval(ranked):
    write_run(ranked / "base.parquet", ["ES", "FR", "ES", "IT"], [["b"], [], ["g"], []], {})
    result = evaluate_run(ranked / "run.parquet", ranked / "targets.csv", compare=ranked / "base.parquet", samples=50)
    assert result.comparison is not None
    assert result.comparison.scores == {"overall": 2 / 4, "ES": 1.0, "FR": 0.0, "IT": 0.0}
    assert result.comparison.intervals["overall"].difference == pytest.approx((1.75 - 2) / 4)
    assert result.comparison.intervals["FR"].low == result.comparison.intervals["FR"].high == 1.0
    table = render_markdown(result)
    assert "MRR@100 of base.parquet" in table
    assert "-0.0625 [" in table


def test_titles_are_looked_up_by_locale_and_id(tmp_path):
    write_run(tmp_path / "run.parquet", ["UK", "DE", "DE", "DE"], ["a b c d", "e f g h", "x", "y"], {})
    pq.write_table(
        pa.table({"locale": ["UK", "DE", "DE", "DE"], "next_item": ["007", "007", "gone", "bare"]}),
        tmp_path / "targets.parquet",
    )
    with (tmp_path / "products.csv").open("w", encoding="utf-8", newline="") as handle:
        rows = [("007", "DE", "e f\ng h"), ("007", "UK", "a b c d"), ("bare", "DE", ""), ("7", "UK", "NA")]
        csv.writer(handle).writerows([("id", "locale", "title"), *rows])
    result = evaluate_run(tmp_path / "run.parquet", tmp_path / "targets.parquet", tmp_path / "products.csv")
    assert result.overall.metrics["bleu"] == pytest.approx(100.0)
    assert (result.n_sessions, result.n_without_target) == (2, 2)
    assert "2 sessions without a known target were left out" in render_markdown(result)
    with pytest.raises(DataError, match="add --products FILE"):
        evaluate_run(tmp_path / "run.parquet", tmp_path / "targets.parquet")
    products = pa.table({"id": ["007"], "locale": ["UK"], "title": ["a b c d"]})
    pq.write_table(products, tmp_path / "products.parquet")
    beside = evaluate_run(tmp_path / "run.parquet", tmp_path / "targets.parquet")
    assert (beside.n_sessions, beside.n_without_target) == (1, 3)


def test_a_partial_run_is_scored_on_its_rows_and_stamped(titles):
    write_run(titles / "run.parquet", LOCALES[:2], WRITTEN[:2], {}, partial=True)
    write_run(titles / "all.parquet", LOCALES, TITLES, {})
    result = evaluate_run(
        titles / "run.parquet", titles / "targets.parquet", compare=titles / "all.parquet", samples=10
    )
    assert (result.n_sessions, result.partial) == (2, True)
    assert "PARTIAL: only the first 2 sessions" in render_markdown(result)
    with pytest.raises(DataError, match=r"run\.parquet: 2 rows, all\.parquet has 4"):
        evaluate_run(titles / "all.parquet", titles / "targets.parquet", compare=titles / "run.parquet")


@pytest.mark.parametrize(
    ("locales", "message"),
    [
        (["JP", "UK", "JP", "UK"], "run.parquet, row 3: locale 'JP', but targets.parquet has 'UK' there"),
        (["JP", "UK", "UK"], "3 predictions for the 4 sessions of targets.parquet"),
    ],
)
def test_a_run_of_another_split_is_refused(titles, locales, message):
    write_run(titles / "run.parquet", locales, WRITTEN[: len(locales)], {})
    with pytest.raises(DataError, match=re.escape(message)):
        evaluate_run(titles / "run.parquet", titles / "targets.parquet")


@pytest.mark.parametrize("name", ["next_item", "gt", "item", "item_id"])
def test_the_column_of_ids_may_have_the_name_that_its_maker_gave_it(ranked, name):
    (ranked / "theirs.csv").write_text(f"{name}\nb\nc\ng\nh\n", encoding="utf-8")
    result = evaluate_run(ranked / "run.parquet", ranked / "theirs.csv")
    assert result.overall.metrics["recall@100"] == 3 / 4


@pytest.mark.parametrize("kind", ["titles", "ranking"])
def test_a_stores_targets_fall_in_with_the_sessions_that_they_belong_to(tmp_path, kind):
    # session 1 has no known target, so the store's targets leave it out
    locales = ["UK", "DE", "UK"]
    pq.write_table(
        pa.table({"session_id": [0, 1, 4], "prev_items": [["x"]] * 3, "locale": locales}),
        tmp_path / "sessions_test.parquet",
    )
    held_out = {"next_item": ["a", "b"], "next_title": ["a b c d", "e f g h"]}
    pq.write_table(
        pa.table({"session_id": [0, 4], "locale": ["UK", "UK"], **held_out}), tmp_path / "targets_test.parquet"
    )
    predictions = [["a"], ["z"], ["q", "b"]] if kind == "ranking" else ["a b c d", "z", "e f g h"]
    write_run(tmp_path / "run.parquet", locales, predictions, {})
    result = evaluate_run(tmp_path / "run.parquet", tmp_path / "targets_test.parquet")
    assert (result.n_sessions, result.n_without_target, list(result.locales)) == (2, 1, ["UK"])
    expected = ("mrr@100", (1 + 1 / 2) / 2) if kind == "ranking" else ("bleu", 100)
    assert result.overall.metrics[expected[0]] == pytest.approx(expected[1])
    pq.write_table(
        pa.table({"session_id": [0, 7], "locale": ["UK", "UK"], **held_out}), tmp_path / "targets_test.parquet"
    )
    with pytest.raises(DataError, match=r"holds other sessions than sessions_test\.parquet beside it; import"):
        evaluate_run(tmp_path / "run.parquet", tmp_path / "targets_test.parquet")


def test_what_cannot_be_scored_is_named(ranked):
    run = ranked / "run.parquet"
    pq.write_table(pa.table({"locale": ["ES"], "prev_items": [["a"]]}), ranked / "bare.parquet")
    (ranked / "broken.parquet").write_bytes(b"no")
    (ranked / "empty.csv").write_text('next_item\n""\n""\n""\n""\n', encoding="utf-8")
    (ranked / "headless.csv").write_text("b,ES\n", encoding="utf-8")
    for name, message in [
        ("bare.parquet", "neither 'next_item' nor 'next_title'"),
        ("none.parquet", "no such targets file"),
        ("broken.parquet", "not a whole Parquet file"),
        ("headless.csv", "add the header"),
        ("empty.csv", "no session has a target"),
    ]:
        with pytest.raises(DataError, match=message):
            evaluate_run(run, ranked / name)
    write_run(ranked / "words.parquet", ["ES", "FR", "ES", "IT"], ["a", "b", "c", "d"], {})
    with pytest.raises(DataError, match="compare runs of one kind"):
        evaluate_run(run, ranked / "targets.csv", compare=ranked / "words.parquet")


def test_a_table_of_ranks_holds_a_row_for_each_locale(ranked):
    table = render_markdown(evaluate_run(ranked / "run.parquet", ranked / "targets.csv"))
    assert "| locale | sessions | MRR@100 | Recall@100 | NDCG@100 |" in table
    assert "| ES | 2 | 0.3750 | 1.0000 |" in table
    assert "| all sessions | 4 | 0.4375 | 0.7500 |" in table
    assert "| mean of locales | 3 | 0.4583 |" in table


def test_to_evaluate_loads_no_model_library():
    code = (
        "import sys, llmrec.evaluation.evaluate, llmrec.reporting.tables; "
        "raise SystemExit(bool({'torch', 'transformers', 'llmrec.titles'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not TASK2.is_file(), reason="real Amazon-M2 sessions are not here; set LLMREC_REAL_DATA")
def test_real_sessions_score_by_the_place_at_which_the_target_was_put(tmp_path):
    sessions = pq.read_table(TASK2)
    generator = np.random.default_rng(0)
    places = generator.integers(0, 30, len(sessions))  # 0: the target is not in the list
    filler = [f"none{number}" for number in range(30)]
    lists = [
        filler if place == 0 else [*filler[: place - 1], target, *filler[place:]]
        for place, target in zip(places, sessions["next_item"].to_pylist(), strict=True)
    ]
    write_run(tmp_path / "run.parquet", sessions["locale"], lists, {})
    result = evaluate_run(tmp_path / "run.parquet", TASK2)
    expected = np.where(places > 0, 1 / np.maximum(places, 1), 0)
    assert result.overall.metrics["mrr@100"] == pytest.approx(expected.mean(), abs=1e-12)
    assert result.overall.metrics["recall@100"] == pytest.approx((places > 0).mean(), abs=1e-12)
    assert list(result.locales) == ["ES", "FR", "IT"]
    assert json.dumps(result.macro)


@pytest.mark.skipif(not (REAL / "industrial").is_dir(), reason="the real shop's data is not here; set LLMREC_REAL_DATA")
def test_copying_the_last_title_scores_on_a_real_shop_what_sacrebleu_says(tmp_path):
    shop = REAL / "industrial"
    with (shop / "products_train.csv").open(encoding="utf-8", newline="") as handle:
        titles = {row["id"]: row["title"] for row in csv.DictReader(handle)}
    with (shop / "sessions_train.csv").open(encoding="utf-8", newline="") as handle:
        sessions = list(csv.DictReader(handle))
    last = [titles[re.findall(r"'([^']*)'", row["prev_items"])[-1]] for row in sessions]
    write_run(tmp_path / "run.parquet", [row["locale"] for row in sessions], last, {})
    result = evaluate_run(tmp_path / "run.parquet", shop / "sessions_train.csv", shop / "products_train.csv")
    known = [row for row, session in enumerate(sessions) if titles[session["next_item"]]]
    wanted = [titles[sessions[row]["next_item"]] for row in known]
    expected = bleu("13a", [last[row] for row in known], wanted).score
    assert result.overall.metrics["bleu"] == pytest.approx(expected, abs=1e-9)
    assert expected == pytest.approx(16.3, abs=0.05)  # the figure that the data's own description gives
    assert (result.n_sessions, list(result.locales)) == (len(known), ["US"])


def test_warm_and_cold_targets_are_scored_apart(tmp_path):
    """Training holds a, b (as a history) and f (as a next item); the targets are b, z, f, a, y."""
    lists = [["a", "b"], ["z"], ["d", "e", "f", "g"], [], ["c", "y"]]
    targets = ["b", "z", "f", "a", "y"]
    write_run(tmp_path / "run.parquet", ["UK"] * 5, lists, {})
    write_run(tmp_path / "other.parquet", ["UK"] * 5, [["b"], ["z"], ["f"], [], []], {})
    pq.write_table(pa.table({"locale": ["UK"] * 5, "next_item": targets}), tmp_path / "targets.parquet")
    labelled = {"prev_items": [["a", "b"]], "next_item": ["f"], "locale": ["UK"]}
    pq.write_table(pa.table(labelled), tmp_path / "train.parquet")
    pq.write_table(pa.table({"prev_items": [["c", "c"]], "locale": ["UK"]}), tmp_path / "bare.parquet")
    train = [tmp_path / "train.parquet", tmp_path / "bare.parquet"]
    result = evaluate_run(
        tmp_path / "run.parquet", tmp_path / "targets.parquet", train=train, compare=tmp_path / "other.parquet"
    )
    warm, cold, every = (result.parts[name] for name in ("warm", "cold", "all"))
    assert (warm.num_sessions, cold.num_sessions, every.num_sessions) == (3, 2, 5)
    assert warm.metrics["mrr@100"] == pytest.approx((1 / 2 + 1 / 3 + 0) / 3)
    assert warm.metrics["recall@100"] == pytest.approx(2 / 3)
    assert cold.metrics["mrr@100"] == pytest.approx((1 + 1 / 2) / 2)
    assert every.metrics == result.overall.metrics
    interval = cold.intervals["mrr@100"]
    assert interval.difference == cold.metrics["mrr@100"]
    assert (interval.low, interval.high) == (0.5, 1.0)  # of two sessions: both the worse, or both the better
    assert result.comparison.intervals["warm"].difference == pytest.approx((-1 / 2 - 2 / 3) / 3)
    assert result.comparison.scores["cold"] == pytest.approx(1 / 2)
    write_result(tmp_path / "result.json", result)
    assert read_result(tmp_path / "result.json") == result
    table = render_markdown(result)
    assert "| cold targets | 2 | 0.7500 | 1.0000 |" in table
    assert "cold (2): MRR@100 0.7500 [0.5000, 1.0000]" in table


def test_a_part_without_sessions_is_empty(tmp_path):
    write_run(tmp_path / "run.parquet", ["UK"], [["a"]], {})
    pq.write_table(pa.table({"locale": ["UK"], "next_item": ["a"]}), tmp_path / "targets.parquet")
    pq.write_table(pa.table({"prev_items": [["a"]], "locale": ["UK"]}), tmp_path / "train.parquet")
    result = evaluate_run(
        tmp_path / "run.parquet", tmp_path / "targets.parquet", train=[tmp_path / "train.parquet"], samples=10
    )
    assert (result.parts["cold"].num_sessions, result.parts["cold"].metrics) == (0, {})
    assert "| cold targets | 0 | – |" in render_markdown(result)


def test_titles_have_no_cold_targets(titles):
    with pytest.raises(ConfigError, match="holds titles; --train tells warm from cold"):
        evaluate_run(titles / "run.parquet", titles / "targets.parquet", train=[titles / "targets.parquet"])
