"""What each kind of title and each ranker is worth: switched off, learnt again, judged out of fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmrec.console import notice
from llmrec.errors import DataError
from llmrec.evaluation.bleu import bleu_from_stats
from llmrec.evaluation.bootstrap import Interval
from llmrec.evaluation.differences import difference_of
from llmrec.rankers.fusion.ranker import Fusion
from llmrec.rankers.sessions import TrainingSessions
from llmrec.selection.learning import Lessons, learn_choice, learn_lessons
from llmrec.selection.selector import Selector, ranker_settings_of
from llmrec.selection.settings import SelectSettings
from llmrec.selection.table import TitleTable

__all__ = ["Ablation", "ablate_selector", "render_ablation"]


@dataclass(frozen=True)
class Ablation:
    """What is lost where something is switched off.

    Attributes:
        off: What; empty for the whole.
        bleu: Corpus BLEU out of fold.
        change: Against the whole, with its paired bootstrap interval; None for the whole itself.
        num_sessions: Sessions judged on.
    """

    off: str
    bleu: float
    change: Interval | None
    num_sessions: int


def ablate_selector(
    settings: SelectSettings, training: TrainingSessions, products: Any, table: TitleTable, names: Sequence[str]
) -> list[Ablation]:
    """Learn with everything, then without each of some names.

    Args:
        settings: Settings.
        training: Sessions to learn from.
        products: Their products.
        table: Titles.
        names: Kinds of titles or rankers; a kind of title needs no ranker to be fitted again.

    Raises:
        ConfigError: a name is neither.
        DataError: there is nothing to judge on.
    """
    options = [Selector(replace(settings, without=(*settings.without, name))).settings for name in names]

    def lessons_of(chosen: SelectSettings) -> Lessons:
        return learn_lessons(Fusion(ranker_settings_of(chosen)), training, products, table)

    lessons = lessons_of(settings)
    whole = learn_choice(lessons, table, settings).stats
    if whole is None:
        raise DataError("too few labelled sessions to judge on: an ablation needs two folds with targets proposed")
    rows = [Ablation("", float(bleu_from_stats(whole.sum(axis=0))), None, len(whole))]
    for name, changed in zip(names, options, strict=True):
        part = lessons_of(changed) if name in settings.sources else lessons
        stats = learn_choice(part, table, changed).stats
        if stats is None or len(stats) != len(whole):
            notice(f"without {name}: other sessions have their target proposed; no figure")
            continue
        change = difference_of(stats, whole, seed=settings.seed)
        rows.append(Ablation(name, float(bleu_from_stats(stats.sum(axis=0))), change, len(stats)))
        notice(f"without {name}: BLEU {rows[-1].bleu:.2f}")
    return rows


def render_ablation(rows: Sequence[Ablation]) -> str:
    """The rows as a Markdown table."""
    lines = [
        f"{rows[0].num_sessions:,} sessions out of fold; 95 % paired bootstrap intervals",
        "",
        "| without | BLEU | change |",
        "|---|---:|---|",
    ]
    for row in rows:
        one = row.change
        told = "" if one is None else f"{one.difference:+.2f} [{one.low:+.2f}, {one.high:+.2f}]"
        lines.append(f"| {row.off or '(nothing)'} | {row.bleu:.2f} | {told} |")
    return "\n".join(lines)
