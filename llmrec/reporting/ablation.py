"""What each part of a ranker or selector is worth: switched off, learnt again, judged on the same sessions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from llmrec.console import notice, track
from llmrec.evaluation.bootstrap import Interval
from llmrec.evaluation.differences import Added, difference_of, score_of
from llmrec.reporting.blocks import Table, to_markdown
from llmrec.reporting.tables import label_of, number, with_interval

__all__ = ["Ablation", "ablate", "render_ablation"]


@dataclass(frozen=True)
class Ablation:
    """What is lost where something is switched off.

    Attributes:
        off: What; empty for the whole.
        scores: Metric to its value.
        changes: Metric to the difference from the whole, with its paired bootstrap interval; empty for the whole.
        num_sessions: Sessions judged on.
    """

    off: str
    scores: Mapping[str, float]
    changes: Mapping[str, Interval]
    num_sessions: int


def ablate(options: Sequence[str], judge: Callable[[str], Mapping[str, Added] | None], seed: int = 0) -> list[Ablation]:
    """Judge the whole, then what is left without each of some parts.

    Args:
        options: Parts, by name.
        judge: Learns without a part, nothing for ``""``, and says what each of the ``S`` sessions that were not learnt
            from adds to each metric, see `llmrec.evaluation.differences`; None where there is nothing to judge on.
        seed: Seed of the intervals.

    Returns:
        A row for the whole and for each part, without those that leave other sessions to judge on; empty where the
        whole cannot be judged.
    """
    rows: list[Ablation] = []
    whole: Mapping[str, Added] = {}
    for off in track(["", *options], "ablation", len(options) + 1):
        added = judge(off)
        whole = whole or added or {}
        if not whole:
            break
        size = len(next(iter(whole.values())))
        if added is None or any(len(one) != size for one in added.values()):
            notice(f"without {off}: other sessions have their target proposed; no figure")
            continue
        changes = {metric: difference_of(one, whole[metric], seed=seed) for metric, one in added.items() if off}
        rows.append(Ablation(off, {metric: score_of(one) for metric, one in added.items()}, changes, size))
        parts = (f"{label_of(metric)} {number(metric, score)}" for metric, score in rows[-1].scores.items())
        notice(f"without {off or 'nothing'}: {', '.join(parts)}")
    return rows


def render_ablation(rows: Sequence[Ablation]) -> str:
    """The rows as a Markdown table."""
    columns = ["without", *(name for metric in rows[0].scores for name in (label_of(metric), "change [95 %]"))]
    cells = []
    for row in rows:
        changes = {metric: with_interval(metric, change, "+") for metric, change in row.changes.items()}
        pairs = [(number(metric, score), changes.get(metric, "")) for metric, score in row.scores.items()]
        cells.append([row.off or "(nothing)", *(cell for pair in pairs for cell in pair)])
    caption = f"{rows[0].num_sessions:,} sessions not learnt from; paired bootstrap intervals"
    return to_markdown([Table(columns, cells, caption)])
