"""``llmrec reproduce --plan``: how long each row will take and how much memory, told before anything is run.

A row that was measured on the same files takes what its record says. Of the others the commands tell the method, the
files its size, and `RATES` what that size took where it was measured, on two cores of a server's processor. Training
that stops by its validation may take half or twice as long; graphics processors are many times quicker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from llmrec.memory import GIB, free_memory, readable
from llmrec.paper.reproduction.job import ReproduceJob
from llmrec.paper.reproduction.measure import values_of
from llmrec.paper.reproduction.recipe import Protocol, Row, TableRecipe
from llmrec.paper.reproduction.records import Measurement, record_path
from llmrec.paper.reproduction.reproduce import rows_to_run
from llmrec.paper.reproduction.sizes import Counted, Size, Sizes, flag_values
from llmrec.paper.reproduction.source import DataFolder
from llmrec.paper.reproduction.templates import fill
from llmrec.reporting.blocks import Block, Notes, Table, to_markdown

__all__ = ["Estimate", "make_plan", "plan_as_json", "render_plan"]

_MILLION: Final = 1e6


@dataclass(frozen=True)
class Rate:
    """What a method took where it was measured.

    Attributes:
        session_s: Seconds for a session that is learnt from.
        pair_s: Seconds for a session that is learnt from and an item of the softmax.
        ranked_s: Seconds for a session that is ranked.
        start_gib: GiB of what is loaded.
        session_gib: GiB for a million sessions.
        item_gib: GiB for a million items.
        source: Where it was measured.
    """

    source: str
    session_s: float = 0.0
    pair_s: float = 0.0
    ranked_s: float = 0.0
    start_gib: float = 0.3
    session_gib: float = 0.0
    item_gib: float = 0.0

    def takes(self, learnt: Size, ranked: Size) -> tuple[float, float]:
        """Seconds, and GiB at the peak."""
        seconds = learnt.sessions * (self.session_s + self.pair_s * learnt.items) + ranked.sessions * self.ranked_s
        memory = learnt.sessions / _MILLION * self.session_gib + learnt.items / _MILLION * self.item_gib
        return _START_S + seconds, self.start_gib + memory


_START_S: Final = 5.0  # of a verb: imports, files read and written, scoring
_FULL: Final = 3_606_249  # sessions of synthetic `full`
_TASK1: Final = 28_577 * 75_510  # sessions and items of Task 1's stand-in
_SPEED: Final = "docs/experiments/speed.md"
# the softmax over all items is taken in chunks where it does not fit: weights, moments and gradients of the items stay
_STOCK: Final = {"ranked_s": 0.005, "start_gib": 0.8, "item_gib": 2.9, "session_gib": 0.3}
_STRONG: Final = {"ranked_s": 0.005, "start_gib": 0.8, "item_gib": 2.0, "session_gib": 0.3}

# the first that fits ``RANKER`` or ``RANKER RECIPE``
RATES: Final[Mapping[str, Rate]] = {
    "core core_stock": Rate("table8, core", pair_s=1348 / _TASK1, **_STOCK),
    "stamp stamp_stock": Rate("table8, stamp", pair_s=438 / _TASK1, **_STOCK),
    "* *_stock": Rate("table8, gru4rec, narm and srgnn", pair_s=276 / _TASK1, **_STOCK),
    "fusion*": Rate(
        _SPEED, start_gib=1.3, session_s=3412 / _FULL, ranked_s=1 / 43, session_gib=13.9 / _FULL * _MILLION
    ),
    "tiger*": Rate("industrial, tiger", start_gib=0.8, session_s=0.075, ranked_s=0.06, item_gib=1.5),
    **dict.fromkeys(("mgs*", "*4recf*", "srgnnf*"), Rate("industrial, mgs", session_s=114 / 4080, **_STRONG)),
    **dict.fromkeys(
        ("gru4rec*", "narm*", "stamp*", "srgnn*", "core*", "sasrec*"),
        Rate("public, srgnn", session_s=711 / 69_378, **_STRONG),
    ),
    "*": Rate(_SPEED, session_s=34.6 / _FULL, ranked_s=0.00022, session_gib=6.97 / _FULL * _MILLION),
}


@dataclass(frozen=True)
class Estimate:
    """What a row will take.

    Attributes:
        table: Its table.
        row: Its key.
        protocol: What is run; empty where the files for none are there.
        learnt: Sessions that are learnt from; None where that is not known.
        ranked: Sessions that are ranked.
        seconds: None where nothing tells.
        gib: Memory at the peak; None likewise.
        source: Where the figures are from, or what is missing.
    """

    table: str
    row: str
    protocol: str
    learnt: int | None
    ranked: int | None
    seconds: float | None
    gib: float | None
    source: str


def make_plan(job: ReproduceJob) -> list[Estimate]:
    """Estimate every row that `llmrec.paper.reproduction.reproduce.reproduce` would measure.

    Raises:
        ConfigError: as there.
        DataError: as there.
    """
    data, wanted, recorded = rows_to_run(job)
    counted: Counted = {}
    return [
        _estimate(job, data, recipe, row, protocol, recorded, counted)
        for recipe, runs in wanted
        for row, protocol in runs
    ]


def _estimate(
    job: ReproduceJob,
    data: DataFolder | None,
    recipe: TableRecipe,
    row: Row,
    protocol: Protocol | None,
    recorded: Mapping[tuple[str, str, str], Measurement],
    counted: Counted,
) -> Estimate:
    if protocol is None or data is None:
        return Estimate(
            recipe.name, row.name, "", None, None, None, None, "no files for it; without --plan it says which"
        )
    if job.resume and record_path(job.folder / "records", recipe.name, row.name, protocol.name).is_file():
        return Estimate(recipe.name, row.name, protocol.name, None, None, 0.0, 0.0, "finished; it is kept")
    known = recorded.get((recipe.name, row.name, protocol.name))
    if known is not None and known.fingerprint != data.fingerprint_of({*protocol.needs, *row.method.needs}):
        known = None
    learnt, ranked, seconds, gib, source = _of_steps(
        values_of(job.folder, row, protocol, data.path), row, protocol, counted
    )
    if known is not None:
        seconds, source = known.seconds, "its record"
    return Estimate(recipe.name, row.name, protocol.name, learnt, ranked, seconds, gib, source)


def _of_steps(
    values: Mapping[str, Any], row: Row, protocol: Protocol, counted: Counted
) -> tuple[int | None, int | None, float | None, float | None, str]:
    """Sessions learnt from and ranked, seconds, GiB and whose figures, of a row's commands together."""
    if not row.method.steps:
        return None, None, 60.0, 2.0, _SPEED  # statistics are counted once for all rows
    sizes = Sizes(protocol, values, counted)
    learnt, ranked, seconds, gib, source = Size(0, 0), Size(0, 0), 0.0, 0.0, ""
    for step in row.method.steps:
        words = fill(step, values)
        rate = _rate_of(words)
        found = [sizes.of(flag_values(words, flag)) for flag in ("--train", "--pretrain", "--sessions")]
        train, pretrain, asked = found
        if rate is None or train is None or pretrain is None or asked is None:
            return None, None, None, None, _why(words, rate)
        both = train.plus(pretrain)
        took, held = rate.takes(both, asked)
        learnt, ranked = learnt.plus(both), ranked.plus(asked)
        seconds, gib, source = seconds + took, max(gib, held), source or rate.source
    return learnt.sessions, ranked.sessions, seconds, gib, source


def _rate_of(words: Sequence[str]) -> Rate | None:
    """Rate of a command that ranks; None for one whose time nothing here tells."""
    if words[:2] == ["llmrec", "rank"]:
        name = words[2]
    elif words[0] == "scripts/rank.py":
        name = words[1]
    else:
        return None
    if "--load" in words:  # it was trained by the step before
        return Rate(_SPEED, ranked_s=0.005)
    kind = " ".join([name, *flag_values(words, "--recipe")])
    return next(rate for pattern, rate in RATES.items() if fnmatchcase(kind, pattern))


def _why(words: Sequence[str], rate: Rate | None) -> str:
    if rate is not None:
        return "the sizes of its files are not known yet"
    recipe = next(iter(flag_values(words, "--recipe")), "")
    return f"{words[0]}: llmrec plan {recipe} tells what it needs" if recipe else f"{' '.join(words[:2])}: no figure"


def render_plan(plan: Sequence[Estimate]) -> str:
    """The plan as Markdown: a row a line, the sum, and what to know."""
    rows = [
        [
            f"{one.table} {one.row}",
            one.protocol or "–",
            "–" if one.learnt is None else f"{one.learnt:,}",
            "–" if one.ranked is None else f"{one.ranked:,}",
            _time(one.seconds),
            "–" if one.gib is None else f"{one.gib:.1f} GiB",
            one.source,
        ]
        for one in plan
    ]
    known = [one.seconds for one in plan if one.seconds is not None]
    most = max((one.gib for one in plan if one.gib is not None), default=0.0)
    peak = f"{most:.1f} GiB at the peak" if most else "memory not recorded"
    blocks: list[Block] = [Table(("row", "protocol", "learnt from", "ranked", "time", "memory", "by"), rows)]
    free = free_memory()
    notes = [
        f"{len(known)} of {len(plan)} rows: {_time(sum(known))} one after the other, {peak}; "
        f"{readable(free.size)} are free ({free.source}).",
        "Times are of two cores of a server's processor; a training that validation stops may take half or twice.",
        "The same command without --plan runs them; with --resume it keeps what has finished.",
    ]
    if most * GIB > free.size:
        notes.insert(1, "That is more than is free here: run the largest rows on another machine, by --only.")
    return to_markdown([*blocks, Notes(notes)])


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}" if seconds < 10 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s"


def plan_as_json(plan: Sequence[Estimate]) -> list[dict[str, Any]]:
    """The plan as plain values."""
    return [vars(one).copy() for one in plan]
