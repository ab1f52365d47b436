"""Accuracy against what else lists are, a panel a measure and a point a run: what one costs of the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from llmrec.display import for_plot
from llmrec.errors import ConfigError
from llmrec.evaluation.bootstrap import Interval
from llmrec.evaluation.scoring import OVERALL
from llmrec.reporting.plots import INK, MARKERS, NAME_CHARACTERS, PALETTE, styled
from llmrec.reporting.standings import Entry
from llmrec.reporting.tables import label_of

__all__ = ["plot_trade_offs"]

ACCURACY: Final = "mrr@100"
_COLUMNS: Final = 3
_BETTER: Final = {  # which way is commonly wanted; the others are neither good nor bad by themselves
    **dict.fromkeys(("coverage", "entropy", "novelty", "serendipity", "diversity", "in_locale"), "wanted →"),
    **dict.fromkeys(("gini", "popularity", "popreo", "calibration"), "← wanted"),
}


def plot_trade_offs(entries: Sequence[Entry], metrics: Sequence[str] = ()) -> Figure:
    """Draw MRR@100 of runs against each of their measures beyond accuracy, both with their 95 % intervals.

    Args:
        entries: Results of one split, of ranked lists.
        metrics: Measures to draw; without any of `llmrec.evaluation.beyond` those that every result has.

    Raises:
        ConfigError: the results are of several splits, or have no measure in common.
    """
    if len({entry.split for entry in entries}) > 1:
        raise ConfigError("--plot sets runs of one split beside each other; give results of one targets file")
    shared = [name for name in _measures(entries[0]) if all(name in _measures(entry) for entry in entries)]
    chosen = [name for name in metrics if name in shared] or shared
    if not chosen or any(ACCURACY not in entry.result.overall.metrics for entry in entries):
        raise ConfigError(
            "--plot draws measures beyond accuracy, which these results do not share; "
            "write them again: llmrec evaluate RUN --targets FILE --train FILE --beyond 10"
        )
    columns = min(_COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    with styled():
        figure = Figure(figsize=(4.2 * columns, 1.1 + 2.9 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for panel, metric in zip(panels, chosen, strict=False):
            _draw(panel, metric, entries)
        for spare in panels[len(chosen) :]:
            spare.set_visible(False)
        figure.supylabel(label_of(ACCURACY), fontsize=13)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=min(4, len(names)), handletextpad=0.3)
        return figure


def _measures(entry: Entry) -> dict[str, Interval]:
    part = entry.result.beyond.get(OVERALL)
    return {} if part is None else dict(part.intervals)


def _draw(panel: Any, metric: str, entries: Sequence[Entry]) -> None:
    for place, entry in enumerate(entries):
        across, upward = _measures(entry)[metric], _accuracy(entry)
        lap = place // len(PALETTE)  # each seven runs pair colours and markers anew
        style = {"color": PALETTE[place % len(PALETTE)], "marker": MARKERS[(place + lap) % len(MARKERS)]}
        name = for_plot(entry.method, NAME_CHARACTERS)
        panel.errorbar(
            across.difference,
            upward.difference,
            xerr=_reach(across),
            yerr=_reach(upward),
            label=name,
            capsize=2,
            linewidth=1.2,
            markersize=8,
            linestyle="none",
            **style,
        )
    panel.set_xlabel(for_plot(label_of(metric)))
    panel.set_title(_BETTER.get(metric.partition("@")[0], ""), fontsize=9, color=INK, alpha=0.65, loc="right")
    panel.margins(0.12)


def _accuracy(entry: Entry) -> Interval:
    part = entry.result.parts.get("all")
    value = entry.result.overall.metrics[ACCURACY]
    return part.intervals[ACCURACY] if part is not None else Interval(value, value, value, 0)


def _reach(interval: Interval) -> Any:
    below, above = interval.difference - interval.low, interval.high - interval.difference
    return np.maximum([[below], [above]], 0)  # a percentile interval of a skewed measure may leave its value outside
