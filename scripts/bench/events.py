"""A shop's log of events to a store, on logs made up by SQL: seconds, CPU seconds, and how memory grows."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.measure import RUNS, Measurement, app, measure, show
from llmrec.console import notice

__all__ = ["events", "write_log"]

# Visits of one to nine events over sixty days: few people come often, few items are seen by many.
LOG = """
COPY (
  WITH visits AS (
    SELECT range AS visit, (hash(range) >> 4)::BIGINT AS draw FROM range({visits})
  ), steps AS (
    SELECT visit, ((draw % {people}) * ((draw >> 20) % {people})) // {people} AS person,
           1788220800 + ((draw >> 7) % 5184000) AS begun, unnest(range(1 + (draw >> 11) % 9)) AS step
    FROM visits
  )
  SELECT 'u' || person AS user_id,
         'P' || lpad((((hash(visit * 31 + step) % 100000) * (hash(visit * 5 + step) % 100000)) // 100000)::VARCHAR,
                       7, '0') AS product_id,
         strftime(to_timestamp(begun + step * 47), '%Y-%m-%dT%H:%M:%SZ') AS timestamp,
         CASE WHEN hash(visit + step) % 20 = 0 THEN 'purchase' WHEN hash(visit + step) % 10 = 1 THEN 'cart'
              ELSE 'view' END AS event_type,
         CASE person % 3 WHEN 0 THEN 'UK' WHEN 1 THEN 'DE' ELSE 'FR' END AS locale
  FROM steps ORDER BY begun
) TO '{file}' (HEADER)
"""


def write_log(file: Path, number: int) -> None:
    """Write a log of about so many events."""
    import duckdb

    file.parent.mkdir(parents=True, exist_ok=True)
    visits = number // 5
    with duckdb.connect(config={"memory_limit": "3GiB", "temp_directory": str(file.parent / "spill")}) as con:
        con.execute(LOG.format(visits=visits, people=visits // 3 + 1, file=file))


def _stored(file: Path, store: Path) -> tuple[float, int]:
    """CPU seconds, and the sessions that were made."""
    from llmrec.data.events.making import import_events

    before = _cpu()
    summary = import_events(file, store, test_days=7, weights="view=1,cart=2,purchase=3", drop_reloads=True)
    return _cpu() - before, sum(one.rows for one in summary.tables if one.name.startswith("sessions"))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@app.command()
def events(
    millions: Annotated[list[int], typer.Option("--millions", help="Events of a log; may be repeated.")] = [1, 5, 20],  # noqa: B006
) -> None:
    """Sessions out of made-up logs: how time and peak memory grow with the log."""
    rows: list[tuple[str, Measurement, str]] = []
    for number in millions:
        file = RUNS / "events" / f"log{number}.csv"
        if not file.is_file():
            notice(f"making a log of {number} M events first")
            write_log(file, number * 1_000_000)
        made = measure(_stored, file, RUNS / "events" / f"store{number}")
        value: Any = made.value
        note = f"{value[0]:.0f} CPU s, {value[1]:,} sessions, {value[0] / number:.1f} CPU s a million"
        rows.append((f"{number} M events ({file.stat().st_size >> 20:,} MiB)", made, note))
    show("events: sessions, split by time", rows)
