"""Plots of results and of data: colour-blind-safe, readable on light and on dark ground, without a display."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike

from llmrec.display import for_plot
from llmrec.errors import ConfigError
from llmrec.evaluation.bootstrap import Interval
from llmrec.output import atomic_file

__all__ = [
    "figure_svg",
    "plot_beside",
    "plot_bleu_by_locale",
    "plot_differences",
    "plot_heatmap",
    "plot_histogram",
    "plot_long_tail",
    "plot_long_tails",
    "plot_shares",
    "plot_training_curves",
    "save_figure",
    "styled",
]

INK: Final = "#1b1f24"  # the page's own text colour takes its place in a report
# after Okabe and Ito (2008), in an order in which neighbours differ in lightness too
PALETTE: Final = ("#0f7bc0", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c8c8c")
MARKERS: Final = "osD^vPX"
NAME_CHARACTERS: Final = 50  # of a tick or a series; more of them leave no room for the plot
_STYLE: Final[dict[str, Any]] = {
    "font.family": "sans-serif",
    "font.size": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.alpha": 0.18,
    "lines.linewidth": 2,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched and takes the page's font
    "svg.hashsalt": "llmrec",  # the same plot is the same bytes
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "grid.color": INK,
    "text.parse_math": False,  # a name with $ in it is no formula
    "text.usetex": False,
}


@contextmanager
def styled(**more: Any) -> Iterator[None]:
    """Draw in our style; letters that no font has and names that leave no room are no warning."""
    with mpl.rc_context({**_STYLE, **more}), warnings.catch_warnings():
        for told in (r"Glyph \d+ .* missing", "constrained_layout not applied"):
            warnings.filterwarnings("ignore", told)
        yield


def _figure(columns: int = 1, height: float = 4.2, widths: Sequence[float] | None = None) -> tuple[Figure, list[Any]]:
    figure = Figure(figsize=(9, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False, width_ratios=widths)[0]
    return figure, list(axes)


def _names(names: Iterable[str]) -> list[str]:
    return [for_plot(name, NAME_CHARACTERS) for name in names]


def plot_bleu_by_locale(
    model: Mapping[str, float],
    baseline: Mapping[str, float] | None = None,
    intervals: Mapping[str, Interval] | None = None,
    names: tuple[str, str] = ("model", "Last Product Title"),
) -> Figure:
    """Draw BLEU by locale as bars; with ``intervals`` the differences beside them.

    Args:
        model: Locale (or ``overall``) to BLEU, 0-100.
        baseline: The same for the baseline, with the same keys.
        intervals: Model minus baseline, with the same keys.
        names: What the legend calls the two.
    """
    with styled():
        figure, axes = _figure(2 if intervals else 1, widths=[3, 2] if intervals else None)
        places = np.arange(len(model))
        width = 0.4 if baseline else 0.7
        shift = width / 2 if baseline else 0.0
        bars = [(model, -shift, names[0], PALETTE[0])] + ([(baseline, shift, names[1], PALETTE[1])] if baseline else [])
        for scores, offset, name, colour in bars:
            drawn = axes[0].bar(
                places + offset,
                [scores[key] for key in model],
                width,
                label=for_plot(name, NAME_CHARACTERS),
                color=colour,
            )
            axes[0].bar_label(drawn, fmt="%.1f", padding=4, fontsize=10, rotation=90)
        axes[0].set_xticks(places, _names(model))
        axes[0].set_ylabel("BLEU (0-100)")
        axes[0].grid(axis="x", visible=False)
        axes[0].margins(y=0.2)
        if baseline:
            figure.legend(loc="outside upper left", ncols=2)
        if intervals:
            _draw_intervals(axes[1], list(model), intervals)
        return figure


def _draw_intervals(axes: Any, keys: Sequence[str], intervals: Mapping[str, Interval]) -> None:
    places = np.arange(len(keys))[::-1]
    centre = np.array([intervals[key].difference for key in keys])
    reach = np.array([[intervals[key].difference - intervals[key].low for key in keys]])
    reach = np.vstack([reach, [intervals[key].high - intervals[key].difference for key in keys]])
    # a percentile interval of a skewed metric may leave its centre outside by a hair
    axes.errorbar(centre, places, xerr=np.maximum(reach, 0), fmt="o", color=PALETTE[0], capsize=4, markersize=7)
    axes.axvline(0, color=INK, linewidth=1, linestyle="--")
    axes.set_yticks(places, _names(keys))
    axes.set_ylim(-0.6, len(keys) - 0.4)
    axes.set_xlabel("difference in BLEU points\n(95 % paired bootstrap)")
    axes.grid(axis="y", visible=False)


def plot_differences(intervals: Mapping[str, Interval]) -> Figure:
    """Draw differences in BLEU with their intervals below each other, the first on top; 0 is no difference.

    Args:
        intervals: Name to its difference from one baseline.
    """
    with styled():
        figure, (axes,) = _figure(height=1.4 + 0.38 * len(intervals))
        _draw_intervals(axes, list(intervals), intervals)
        return figure


def plot_beside(
    points: Mapping[str, tuple[float | None, float | None]], names: tuple[str, str], x_label: str
) -> Figure:
    """Draw two values for each name as dots on one line, joined where both are known.

    Args:
        points: Name to first and second value; None where one is not known.
        names: What the legend calls the two.
        x_label: What the values are, with their unit.
    """
    with styled():
        figure, (axes,) = _figure(height=1.6 + 0.42 * len(points))
        places = np.arange(len(points))[::-1]
        pairs = np.array([[np.nan if one is None else one for one in pair] for pair in points.values()], dtype=float)
        axes.hlines(places, pairs.min(axis=1), pairs.max(axis=1), color=INK, alpha=0.35, linewidth=2)
        for column, (name, colour, marker) in enumerate(zip(names, (PALETTE[1], PALETTE[0]), "Do", strict=True)):
            axes.plot(
                pairs[:, column], places, marker, color=colour, markersize=8, label=for_plot(name, NAME_CHARACTERS)
            )
        axes.set_yticks(places, _names(points))
        axes.set_ylim(-0.6, len(points) - 0.4)
        axes.set_xlabel(for_plot(x_label))
        figure.legend(loc="outside upper left", ncols=2)
        return figure


def plot_training_curves(train: Sequence[tuple[int, float]], validation: Sequence[tuple[int, float]]) -> Figure:
    """Draw the loss while training.

    Args:
        train: Optimizer step and training loss, in order of steps.
        validation: Optimizer step and validation loss; may be empty.
    """
    with styled():
        figure, (axes,) = _figure()
        for points, name, colour, marker in (
            (train, "training", PALETTE[0], None),
            (validation, "validation", PALETTE[4], "o"),
        ):
            if points:
                axes.plot(*zip(*points, strict=True), label=name, color=colour, marker=marker)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("loss (nats per token)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
        return figure


def plot_long_tail(series: Mapping[str, tuple[ArrayLike, ArrayLike]], x_label: str, y_label: str) -> Figure:
    """Draw counts on two logarithmic axes, as the paper's Figures 2, 4 and 5.

    Args:
        series: Name to its x and y, each of shape ``(N,)`` and above 0; a locale each, or one nameless series ``""``.
        x_label: What x counts.
        y_label: What y counts.
    """
    with styled():
        figure, (axes,) = _figure(height=4.8)
        for position, (name, (x, y)) in enumerate(series.items()):
            style = {"marker": MARKERS[position % len(MARKERS)], "color": PALETTE[position % len(PALETTE)]}
            axes.plot(x, y, linestyle="none", markersize=5, alpha=0.75, label=for_plot(name, NAME_CHARACTERS), **style)
        _use_logarithms(axes)
        axes.set_xlabel(for_plot(x_label))
        axes.set_ylabel(for_plot(y_label))
        if any(series):
            axes.legend()
        return figure


def _use_logarithms(axes: Any) -> None:
    """Logarithmic axes with plain numbers, also between powers of ten where an axis spans few of them."""
    for scale, axis, limits in (
        (axes.set_xscale, axes.xaxis, axes.get_xlim),
        (axes.set_yscale, axes.yaxis, axes.get_ylim),
    ):
        scale("log")
        low, high = limits()
        narrow = low > 0 and high / low < 200
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.set_minor_formatter(NullFormatter())


def plot_long_tails(series: Mapping[str, tuple[ArrayLike, ArrayLike]], x_label: str, y_label: str) -> Figure:
    """Draw counts on logarithmic axes, a panel for each name and the same axes in all of them.

    Args:
        series: As `plot_long_tail`, at least one.
        x_label: What x counts.
        y_label: What y counts.
    """
    columns = min(3, len(series))
    rows = -(-len(series) // columns)
    with styled():
        figure = Figure(figsize=(9, 0.8 + 2.6 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for position, (name, (x, y)) in enumerate(series.items()):
            colour = PALETTE[position % len(PALETTE)]
            panels[position].plot(x, y, linestyle="none", marker="o", markersize=4, alpha=0.8, color=colour)
            panels[position].set_title(for_plot(name, NAME_CHARACTERS), fontsize=13)
            _use_logarithms(panels[position])
            panels[position].tick_params(labelbottom=position >= len(series) - columns)
        for spare in panels[len(series) :]:
            spare.set_visible(False)
        figure.supxlabel(for_plot(x_label), fontsize=13)
        figure.supylabel(for_plot(y_label), fontsize=13)
        return figure


def plot_shares(shares: Mapping[str, float], y_label: str) -> Figure:
    """Draw fractions as bars, each with its percentage.

    Args:
        shares: Name to a fraction in [0, 1].
        y_label: What they are shares of.
    """
    with styled():
        figure, (axes,) = _figure()
        heights = [100 * share for share in shares.values()]
        drawn = axes.bar(range(len(shares)), heights, 0.65, color=PALETTE[0])
        axes.bar_label(drawn, fmt="%.1f", padding=3, fontsize=11)
        axes.set_xticks(range(len(shares)), _names(shares))
        axes.set_ylabel(for_plot(f"{y_label} (%)"))
        axes.set_ylim(0, max(1.0, *heights) * 1.15)
        axes.grid(axis="x", visible=False)
        return figure


def plot_histogram(values: ArrayLike, x_label: str, y_label: str, width: float) -> Figure:
    """Draw how values are spread, with their median; what lies beyond 98 in 100 of them stands in the last bar.

    Args:
        values: Shape ``(N,)``, at least one, 0 or above.
        x_label: What they are.
        y_label: What is counted.
        width: Width of a bar, in units of the values.
    """
    numbers = np.asarray(values, dtype=np.float64)
    end = width * max(10, np.ceil(np.quantile(numbers, 0.98) / width))
    middle = float(np.median(numbers))
    with styled():
        figure, (axes,) = _figure()
        edges = np.append(np.arange(0, end, width), end)
        axes.hist(np.minimum(numbers, end - width / 2), edges, color=PALETTE[0], edgecolor="white", linewidth=0.3)
        axes.axvline(middle, color=PALETTE[4], linestyle="--", label=f"median {middle:.2f}")
        axes.set_xlim(0, end)
        axes.set_xlabel(for_plot(f"{x_label}; last bar: {end - width:.1f} and above"))
        axes.set_ylabel(for_plot(y_label))
        axes.legend()
        return figure


def plot_heatmap(matrix: ArrayLike, labels: Sequence[str], value_label: str) -> Figure:
    """Draw a square matrix with its values, rows against columns.

    Args:
        matrix: Shape ``(N, N)``; NaN cells stay empty.
        labels: ``N`` names of rows and columns.
        value_label: What a cell holds, with its unit.

    Raises:
        ConfigError: the shape is not ``(N, N)``.
    """
    values = np.asarray(matrix, dtype=np.float64)
    if values.shape != (len(labels), len(labels)):
        raise ConfigError(f"a heatmap of {len(labels)} labels needs a square matrix of that size; got {values.shape}")
    with styled(**{"axes.grid": False}):
        figure, (axes,) = _figure(height=6)
        # cells and no colour bar: both imshow and a colour bar would embed a picture, which a report's page forbids
        image = axes.pcolormesh(values, cmap="cividis", edgecolors="face", linewidth=0.5)
        axes.set_aspect("equal")
        axes.invert_yaxis()
        axes.set_title(for_plot(value_label), fontsize=13)
        places = np.arange(len(labels)) + 0.5
        axes.set_xticks(places, _names(labels))
        axes.set_yticks(places, _names(labels))
        for row, column in np.argwhere(np.isfinite(values)):
            dark = image.norm(values[row, column]) < 0.5
            style = {"ha": "center", "va": "center", "fontsize": 11, "color": "white" if dark else "black"}
            axes.text(column + 0.5, row + 0.5, f"{values[row, column]:#.3g}", **style)
        return figure


def figure_svg(figure: Figure) -> str:
    """Render a figure as an ``<svg>`` element for an HTML page; its ink is the text colour of the page."""
    buffer = io.StringIO()
    with styled():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    element = text[text.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'<g id="[^"]*"', "<g", element)  # two plots in one page would share these ids
    return element.replace(INK, "currentColor").strip()


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG, by the file's ending.

    Raises:
        ConfigError: another ending.
        DiskError: the place cannot be written.
    """
    form = path.suffix.lower().removeprefix(".")
    if form not in ("png", "svg"):
        raise ConfigError(f"{path}: plots are written as .png or .svg")
    with styled(), atomic_file(path) as temporary:
        figure.savefig(temporary, format=form, dpi=150, facecolor="white")
