"""The page of a comparison: table, plot, titles side by side, and what the models were told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.evaluation.scoring import OVERALL
from llmrec.reporting import page
from llmrec.reporting.blocks import Block, Code, Heading, Notes, Paragraph, Plot, Table, Text, provenance_table
from llmrec.reporting.plots import plot_differences
from llmrec.titles.lab.sample import SampledSession
from llmrec.titles.lab.scores import (
    BASELINE,
    CellScore,
    bleu_table,
    cost_table,
    locale_table,
    short_labels,
)

__all__ = ["notes", "write_page"]


def write_page(
    path: Path,
    sample: Sequence[SampledSession],
    scores: Sequence[CellScore],
    prompts: Mapping[str, str],
    provenance: Mapping[str, Any],
    num_examples: int,
) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        sample: ``S`` sessions.
        scores: From `llmrec.titles.lab.scores.score_cells`.
        prompts: For each prompt, by its label, what a model is told of the first session shown.
        provenance: How the comparison was made.
        num_examples: Sessions to show.

    Raises:
        DiskError: the place cannot be written.
    """
    lines = notes(sample, scores)
    blocks: list[Block] = [
        Paragraph(lines[0]),
        replace(bleu_table(scores), caption=""),
        Notes(lines[1:]),
        Heading("Against the last title"),
        _plot(scores),
        Heading("By locale"),
        replace(locale_table(sample, scores), caption=""),
        Heading("Cost"),
        replace(cost_table(scores), caption=""),
    ]
    shown = shown_sessions(sample, num_examples)
    if shown:
        blocks += [Heading("Side by side"), *_side_by_side(sample, scores, shown)]
    blocks += [Heading("Prompts"), Paragraph("What is said of the first of these sessions.", note=True)]
    for name, text in prompts.items():
        blocks += [Heading(name, 3), Code(text, locale=sample[shown[0] if shown else 0].locale)]
    blocks.append(provenance_table(provenance))
    page.write_page(path, "Prompts compared", blocks)


def notes(sample: Sequence[SampledSession], scores: Sequence[CellScore]) -> list[str]:
    """What a reader must know beside the tables, the sample first."""
    locales = [session.locale for session in sample]
    counts = ", ".join(f"{locale} {locales.count(locale):,}" for locale in dict.fromkeys(locales))
    models = ", ".join(dict.fromkeys(score.cell.model_label for score in scores))
    return [
        f"Next-product titles by {models} for {len(sample):,} sessions, drawn evenly from the locales: {counts}.",
        "Every row answers the same sessions. BLEU is a corpus score (0-100, 13a) of this sample; intervals: 95 %, "
        "paired bootstrap over its sessions.",
        "Tokens and seconds are those of the first time. A cut prompt lost its oldest titles to the model's length; an "
        "answer without a title counts as an empty title.",
    ]


def shown_sessions(sample: Sequence[SampledSession], number: int) -> list[int]:
    """Places of the sessions to show, at even distances: not chosen."""
    return np.unique(np.linspace(0, len(sample) - 1, min(number, len(sample)), dtype=int)).tolist() if number else []


def _plot(scores: Sequence[CellScore]) -> Plot:
    labels = short_labels([score.cell for score in scores])
    compared = {label: score.result.comparison for label, score in zip(labels, scores, strict=True)}
    intervals = {label: one.intervals[OVERALL] for label, one in compared.items() if one}
    alt = "; ".join(f"{name}: {interval.difference:+.2f}" for name, interval in intervals.items())
    caption = f"BLEU minus that of {BASELINE}; right of 0 is better."
    return Plot(plot_differences(intervals), f"Differences in BLEU from {BASELINE}. {alt}", caption)


def _side_by_side(sample: Sequence[SampledSession], scores: Sequence[CellScore], shown: Sequence[int]) -> list[Block]:
    blocks: list[Block] = [Paragraph("Drawn at even distances from the sample, not chosen.", note=True)]
    labels = short_labels([score.cell for score in scores])
    for place in shown:
        session = sample[place]
        titles = [("came next", session.target), (BASELINE, session.last_title)]
        titles += [(label, score.titles[place]) for label, score in zip(labels, scores, strict=True)]
        viewed = Text([str(product["title"]) for product in session.products], session.locale)
        rows = [("viewed, newest last", viewed), *((name, Text(title, session.locale)) for name, title in titles)]
        blocks.append(Heading(f"{session.locale}, session {session.session_id}", 3))
        blocks.append(Table(("by", "title"), rows, align="l"))
    return blocks
