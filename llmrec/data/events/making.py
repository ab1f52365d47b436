"""A log of events to a store: all steps, in order, and what was found."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import ibis
import ibis.expr.types as ir
from ibis.util import gen_name

from llmrec.api.public import public
from llmrec.console import Progress, notice
from llmrec.console import out as out_console
from llmrec.data.connection import dropped, numbered
from llmrec.data.digests import fingerprint_of
from llmrec.data.events.cases import LEARN, TEST, VALIDATE, Split, cases, counts
from llmrec.data.events.forms import DAY, utc
from llmrec.data.events.job import EventsJob, gap_of, moment_of, weights_of
from llmrec.data.events.shop_products import ShopProducts, in_locales, stage_shop_products
from llmrec.data.events.staging import Log, Weighing, stage_log
from llmrec.data.events.visits import Cut, bots, grown, people, shortened_steps, visits, without_reloads
from llmrec.data.findings import Finding, ImportSummary, coverage_findings, product_findings, render_summary
from llmrec.data.importing import StoreWork, opened_store, write_manifest, write_table, write_targets
from llmrec.data.products import no_products, unique_products
from llmrec.data.spark.open_cluster import check_places
from llmrec.data.splits import in_validation, validation_limits
from llmrec.data.staged_targets import targets_table
from llmrec.data.store import TimeSplit
from llmrec.errors import ConfigError, DataError
from llmrec.files import uri_of
from llmrec.schema import PRODUCT_COLUMNS
from llmrec.settings import resolve

__all__ = ["LogSummary", "import_events", "run_events_job"]

_PART: Final = 8_000_000  # events whose users are looked at together: about 2 GiB
_TRAINING: Final = ("session_id", "prev_items", "next_item", "locale")
_TESTED: Final = ("session_id", "prev_items", "locale", "time")


@dataclass(frozen=True)
class LogSummary(ImportSummary):
    """`llmrec.data.findings.ImportSummary` of a log.

    Attributes:
        columns: For each file the column of each role.
        time_split: Where time cut it; None where nothing is tested.
    """

    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    time_split: TimeSplit | None = None


def run_events_job(job: EventsJob) -> LogSummary:
    """`llmrec data events`: make the store, and print what was found."""
    summary = _made(job)
    out_console.print(render_summary(summary))
    if summary.time_split is None:
        notice("nothing is tested: --test-days 7 or --test-from DAY cuts the log by time")
    else:
        notice(summary.time_split.told())
    if job.engine == "spark":
        train = f"--train {uri_of(job.out)}/sessions_development.parquet"
        notice(f"next: llmrec rank covisit --engine spark {train} --save URI")
        return summary
    test = f"--sessions {job.out}/sessions_{'test' if summary.time_split else 'validation'}.parquet"
    notice(f"next: llmrec rank covisit --train {job.out}/sessions_development.parquet {test} --out RUN")
    return summary


@public
def import_events(logs: Path | str | Sequence[Path | str], out: Path | str, **settings: Any) -> LogSummary:
    """Make a store of a shop's log of events; `llmrec.open_store` opens it.

    Args:
        logs: CSV, TSV, JSON Lines (each also gzipped) or Parquet files, one row an event.
        out: The store's folder; a store there is replaced once the new one is complete.
        settings: Those of `llmrec.data.events.job.EventsJob`, for instance ``item="sku", test_days=7``.

    Raises:
        ConfigError: a setting is wrong, or ``out`` holds something else than a store.
        DataError: a file cannot be read; names file and row, counted from 1 without the header.
        DiskError: the disk is full or ``out`` cannot be written. What was at ``out`` is then untouched.

    Example:
        >>> import_events("log.csv.gz", "stores/shop", products="products.csv", test_days=7)  # doctest: +SKIP
    """
    several = [logs] if isinstance(logs, Path | str) else logs
    if isinstance(products := settings.get("products"), str):
        settings["products"] = Path(products)
    return _made(resolve(EventsJob, {"logs": [Path(one) for one in several], "out": Path(out), **settings}))


def _made(job: EventsJob) -> LogSummary:
    started = time.monotonic()
    weighing = Weighing(weights_of(job.weights), [one.strip() for one in (job.target or "").split(",") if one.strip()])
    _check(job)
    check_places(job.engine, {"LOG": job.logs, "STORE": [job.out], "--products": [job.products]})
    with opened_store(job.out, on_disk=True, master=job.master, engine=job.engine) as work:
        steps = _Steps(work.bar, len(job.logs) + 4)
        steps.next(job.logs[0].name)
        log = stage_log(work.con, job, weighing)
        work.findings += log.findings
        products = None
        if job.products is not None:
            steps.next(job.products.name)
            products = stage_shop_products(work.con, job, job.products, log.locale)
            log = _placed(log, products)
        cut = Cut(gap_of(job.gap, log.by_session), log.by_session, job.max_events)
        span, split = _split(work, job, log, bool(weighing.targets))
        rows = _all_cases(work, job, log, cut, split, steps, grows=weighing.grows)
        steps.next("write")
        known = _write_products(work, products, rows)
        _write_training(work, rows, job)
        time_split = None if split.test is None else _write_test(work, rows, split, known, span)
        if known is not None:
            name = log_name(job.logs)
            sessions = rows.filter(rows.side != TEST).mutate(row=rows.session_id)
            work.findings += coverage_findings(work.con, sessions, known, name, training=True)
        summary = LogSummary(
            store=job.out,
            fingerprint=fingerprint_of(work.digests),
            tables=tuple(work.tables),
            findings=tuple(work.findings),
            unused=(),
            seconds=time.monotonic() - started,
            columns=log.columns,
            time_split=time_split,
        )
        drawn = 0.0 if job.validation_days else job.validation_share
        settings: dict[str, Any] = {"seed": job.seed, "validation_share": drawn}
        if time_split is not None:
            settings["time_split"] = time_split
        write_manifest(work, summary, log_name(job.logs), settings)
        steps.next("")
    return summary


def log_name(logs: Sequence[Path]) -> str:
    """What the logs are called together."""
    return logs[0].name if len(logs) == 1 else f"{len(logs)} logs"


class _Steps:
    """A bar over steps of which each may take long."""

    def __init__(self, bar: Progress, total: int) -> None:
        self.bar, self.task = bar, bar.add_task("events", total=total, note="")
        self.begun = False

    def next(self, note: str) -> None:
        """Begin a step; the one before is done."""
        self.bar.update(self.task, advance=int(self.begun), note=note)
        self.begun = True

    def more(self, number: int) -> None:
        """There are more steps than were known."""
        self.bar.update(self.task, total=(self.bar.tasks[self.task].total or 0) + number)


def _check(job: EventsJob) -> None:
    if job.test_from is not None and job.test_days is not None:
        raise ConfigError("--test-from and --test-days exclude each other: both say where the test begins")
    if not 0 < job.validation_share < 1:
        raise ConfigError(f"the validation share must be above 0 and below 1; got {job.validation_share:g}")
    if job.products is None:
        given = {"--id": job.product_id, "--title": job.product_title, "--columns": job.columns}
        for flag, value in ({**given, "--product-locale": job.product_locale}).items():
            if value is not None:
                raise ConfigError(f"{flag} is of products; give --products FILE, or leave it out")
    gap_of(job.gap, False)
    if job.test_from is not None:
        moment_of(job.test_from)


def _placed(log: Log, products: ShopProducts) -> Log:
    """A log that says no locale takes that of its products."""
    if log.placed or not products.placed:
        return log
    if products.locale is None:
        raise DataError(
            f"{products.path.name}: products of several locales, and the log says none; name its column or the one: "
            "--locale"
        )
    return replace(log, events=log.events.mutate(locale=ibis.literal(products.locale)))


def _split(work: StoreWork, job: EventsJob, log: Log, typed: bool) -> tuple[tuple[int, int], Split]:
    """First and last time of the log, and where it is cut."""
    times = log.events.filter(log.events.wrong == 0).time
    first, last = work.con.to_pyarrow(times.min()).as_py(), work.con.to_pyarrow(times.max()).as_py()
    end = (last // DAY + 1) * DAY
    test = moment_of(job.test_from) if job.test_from is not None else None
    if job.test_days is not None:
        test = end - job.test_days * DAY
    if test is not None and not first < test <= last:
        raise DataError(
            f"{log_name(job.logs)}: the test begins at {utc(test)}, and the log goes from {utc(first)} to {utc(last)}; "
            "cut it inside: --test-from, --test-days"
        )
    validation = None
    if job.validation_days is not None:
        validation = (end if test is None else test) - job.validation_days * DAY
        if validation <= first:
            raise DataError(
                f"{log_name(job.logs)}: validation begins at {utc(validation)}, before all events ({utc(first)}); "
                "give fewer --validation-days"
            )
    return (first, last), Split(test, validation, job.prefixes, typed)


def _all_cases(
    work: StoreWork, job: EventsJob, log: Log, cut: Cut, split: Split, steps: _Steps, *, grows: bool
) -> ir.Table:
    """Cases of all users, a part of them at a time, ordered by their targets' times: ``session_id`` is the place."""
    con, found = work.con, _Found()
    events = log.events.filter(log.events.wrong == 0).drop("wrong", "type")
    parts = con.to_pyarrow(events.count()).as_py() // _PART + 1 if con.name == "duckdb" else 1  # a cluster has its own
    steps.more(parts)
    name, first, second = (gen_name(what) for what in ("cases", "visits", "short"))
    for part in range(parts):
        steps.next(f"sessions, part {part + 1} of {parts}" if parts > 1 else "sessions")
        mine = events if parts == 1 else events.filter((events.user.hash() % parts + parts) % parts == part)
        robots = bots(mine, cut)
        found.add(con.to_pyarrow(robots.aggregate(bots=robots.count(), bot_events=robots.num.sum())))
        whole = con.create_table(first, visits(people(mine, cut), cut))
        fewer = whole
        for wanted, less in ((grows, grown), (job.drop_reloads, without_reloads)):
            if wanted:  # ibis cannot put one filter of a list into another: each is a view
                fewer = con.create_view(gen_name("steps"), less(fewer))
        short = con.create_table(second, shortened_steps(fewer, job.max_items))
        found.add(con.to_pyarrow(whole.aggregate(sessions=whole.count(), events=whole.steps.length().sum())))
        lengths = fewer.steps.length()
        cut_off = lengths > job.max_items
        found.add(con.to_pyarrow(fewer.aggregate(steps=lengths.sum(), long=cut_off.sum())))
        found.add(con.to_pyarrow(counts(short, split)))
        made = cases(short, split)
        if part:
            con.insert(name, made)
        else:
            con.create_table(name, made)
        dropped(con, first, second)
    work.findings += found.findings(log_name(job.logs), job, log)
    steps.next("order")
    unordered = con.table(name)
    ordered = numbered(con, "ordered", unordered.order_by("time", "row"), "session_id")
    dropped(con, name)
    if not con.to_pyarrow((ordered.side != TEST).sum()).as_py():
        raise DataError(
            f"{log_name(job.logs)}: no session of two items to learn from, of {found.num['sessions']:,}; "
            "give a longer log, a longer --gap, or another --user column"
        )
    return ordered


class _Found:
    """Numbers of all parts together."""

    def __init__(self) -> None:
        self.num: dict[str, int] = {}

    def add(self, table: Any) -> None:
        """Add the numbers of one part."""
        for key, value in table.to_pylist()[0].items():
            self.num[key] = self.num.get(key, 0) + int(value or 0)

    def findings(self, name: str, job: EventsJob, log: Log) -> list[Finding]:
        """What is to be told of them."""
        num = self.num
        what: list[tuple[Any, str, int]] = [
            ("refused", f"users with more than {job.max_events:,} events, taken for bots", num["bots"]),
            ("refused", "event of such a user", num["bot_events"]),
            (
                "repaired",
                "event that repeats the item before it, or that a heavier one follows",
                num["events"] - num["steps"],
            ),
            ("repaired", f"session cut to its last {job.max_items:,} items", num["long"]),
            ("refused", "session of one item: nothing follows it", num["alone"]),
            ("noted", "session that begins before the test and goes on in it: tested, not learnt", num["crossing"]),
            ("refused", "session to test without a target of --target in the test", num["untested"]),
            ("noted", "training session without an event of --target: its last item is the target", num["unlabelled"]),
            ("noted", "times are days: all of a user's events of a day are one session", int(log.dates)),
        ]
        return [Finding(kind, name, text, count) for kind, text, count in what if count]


def _write_products(work: StoreWork, products: ShopProducts | None, rows: ir.Table) -> ir.Table | None:
    if products is None:
        write_table(work, no_products(), "products")
        work.findings.append(Finding("noted", "products", "no products file: titles are not known", 1))
        return None
    locales = work.con.to_pyarrow(rows.select("locale").distinct().order_by("locale")).column(0).to_pylist()
    staged = in_locales(work.con, products, locales)
    kept = unique_products(work.con, staged)
    num_kept = write_table(work, kept.select(*PRODUCT_COLUMNS), "products")
    name = products.path.name
    work.findings += product_findings(work.con, staged, name, num_kept)
    if products.decoded:
        work.findings.append(Finding("repaired", name, "texts with HTML entities, now characters", products.decoded))
    return kept.select("locale", "id", "title")


def _write_training(work: StoreWork, rows: ir.Table, job: EventsJob) -> None:
    learnt = rows.filter(rows.side != TEST)
    if job.validation_days is not None:
        chosen = (rows.side == VALIDATE) & rows.goal
    else:
        limits = validation_limits(work.con, learnt.filter(learnt.goal), seed=job.seed, share=job.validation_share)
        chosen = in_validation(rows, limits, seed=job.seed) & rows.goal
    left = (rows.side == LEARN) & ~chosen
    for name, some in (("development", rows.filter(left)), ("validation", learnt.filter(chosen))):
        write_table(work, some.select(*_TRAINING).order_by("session_id"), f"sessions_{name}")


def _write_test(
    work: StoreWork, rows: ir.Table, split: Split, products: ir.Table | None, span: tuple[int, int]
) -> TimeSplit:
    con = work.con
    tested = con.create_table(gen_name("tested"), rows.filter(rows.side == TEST).drop("side", "row", "goal"))
    if not con.to_pyarrow(tested.count()).as_py():
        raise DataError(
            f"no session with a target from {utc(split.test or 0)} on; let the test begin earlier: --test-days"
        )
    write_table(
        work,
        tested.mutate(time=(tested.time // 1000).as_timestamp("ms")).select(*_TESTED).order_by("session_id"),
        "sessions_test",
    )
    targets = targets_table(tested, products)
    if targets is not None:
        write_targets(work, targets, "test")
    learnt = rows.filter(rows.side != TEST)
    known = (
        learnt.select("locale", id=learnt.prev_items)
        .unnest("id")
        .select("locale", "id")
        .union(learnt.select("locale", id=learnt.next_item))
    )
    new = tested.select("locale", id=tested.next_item).anti_join(known.distinct(), ["locale", "id"])
    share = con.to_pyarrow(new.count()).as_py() / con.to_pyarrow(tested.count()).as_py()
    first, last = span
    return TimeSplit(
        first=utc(first),
        test=utc(split.test or 0),
        last=utc(last),
        validation=None if split.validation is None else utc(split.validation),
        new_targets=round(share, 6),
    )
