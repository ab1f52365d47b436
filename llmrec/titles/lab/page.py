"""The page of a comparison: table, plot, titles side by side, and what the models were told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.evaluation.scoring import OVERALL
from llmrec.reporting.page import (
    Html,
    figure_block,
    heading,
    paragraph,
    provenance_block,
    table_block,
    text_block,
    titles_block,
    write_html_report,
)
from llmrec.reporting.plots import plot_differences
from llmrec.titles.lab.sample import SampledSession
from llmrec.titles.lab.scores import (
    BASELINE,
    CellScore,
    bleu_rows,
    cost_rows,
    locale_rows,
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
    told = notes(sample, scores)
    blocks = [paragraph(told[0]), table_block(*bleu_rows(scores))]
    blocks += [paragraph(note, note=True) for note in told[1:]]
    blocks += [
        heading("Against the last title"),
        _plot(scores),
        heading("By locale"),
        table_block(*locale_rows(sample, scores)),
        heading("Cost"),
        table_block(*cost_rows(scores)),
    ]
    shown = shown_sessions(sample, num_examples)
    if shown:
        blocks += [heading("Side by side"), *_side_by_side(sample, scores, shown)]
    blocks += [heading("Prompts"), paragraph("What is said of the first of these sessions.", note=True)]
    for name, text in prompts.items():
        blocks += [heading(name, 3), text_block(text, sample[shown[0] if shown else 0].locale)]
    blocks.append(provenance_block(provenance))
    write_html_report(path, "Prompts compared", blocks)


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


def _plot(scores: Sequence[CellScore]) -> Html:
    labels = short_labels([score.cell for score in scores])
    compared = {label: score.result.comparison for label, score in zip(labels, scores, strict=True)}
    intervals = {label: one.intervals[OVERALL] for label, one in compared.items() if one}
    alt = "; ".join(f"{name}: {interval.difference:+.2f}" for name, interval in intervals.items())
    caption = f"BLEU minus that of {BASELINE}; right of 0 is better."
    return figure_block(plot_differences(intervals), f"Differences in BLEU from {BASELINE}. {alt}", caption)


def _side_by_side(sample: Sequence[SampledSession], scores: Sequence[CellScore], shown: Sequence[int]) -> list[Html]:
    blocks = [paragraph("Drawn at even distances from the sample, not chosen.", note=True)]
    labels = short_labels([score.cell for score in scores])
    for place in shown:
        session = sample[place]
        titles = [("came next", session.target), (BASELINE, session.last_title)]
        titles += [(label, score.titles[place]) for label, score in zip(labels, scores, strict=True)]
        blocks.append(heading(f"{session.locale}, session {session.session_id}", 3))
        blocks.append(titles_block([str(product["title"]) for product in session.products], titles, session.locale))
    return blocks
