"""One ablation for all: rows in order, differences from the whole, parts that leave other sessions without a figure."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.evaluation.bleu import bleu_stats
from llmrec.reporting.ablation import ablate, render_ablation

WHOLE = np.array([1.0, 0.5, 0.0, 1.0])


def test_a_part_is_worth_what_is_lost_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    judged = {"": WHOLE, "same": WHOLE, "first": WHOLE - [1, 0, 0, 0], "shrinks": WHOLE[:2]}
    rows = ablate(list(judged)[1:], lambda off: {"mrr@100": judged[off], "recall@100": np.ceil(judged[off])})
    assert [row.off for row in rows] == ["", "same", "first"]
    assert [row.scores["mrr@100"] for row in rows] == [2.5 / 4, 2.5 / 4, 1.5 / 4]
    assert rows[0].changes == {}
    assert rows[2].changes["recall@100"].difference == (0 + 1 + 0 + 1 - 3) / 4
    assert rows[2].changes["mrr@100"].low <= -1 / 4 <= rows[2].changes["mrr@100"].high
    assert "without shrinks: other sessions have their target proposed" in capsys.readouterr().err
    lines = render_ablation(rows).splitlines()
    assert lines[0] == "4 sessions not learnt from; paired bootstrap intervals"
    assert lines[2:5] == [
        "| without | MRR@100 | change [95 %] | Recall@100 | change [95 %] |",
        "|---|---:|---:|---:|---:|",
        "| (nothing) | 0.6250 |  | 0.7500 |  |",
    ]
    assert lines[5] == "| same | 0.6250 | +0.0000 [+0.0000, +0.0000] | 0.7500 | +0.0000 [+0.0000, +0.0000] |"


def test_titles_are_judged_by_corpus_bleu() -> None:
    wanted = ["a b c d e", "f g h i j"]
    rows = ablate(["copy"], lambda off: {"bleu": bleu_stats(["a b c d x", wanted[1]] if off else wanted, wanted)})
    # 9/10, 7/8, 5/6 and 3/4 of the n-grams match
    expected = 100 * (9 / 10 * 7 / 8 * 5 / 6 * 3 / 4) ** (1 / 4)
    assert rows[1].scores["bleu"] == pytest.approx(expected)
    assert rows[1].changes["bleu"].difference == pytest.approx(expected - 100)


def test_nothing_to_judge_on_is_no_row() -> None:
    assert ablate(["a"], lambda off: None) == []
