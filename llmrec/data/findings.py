"""What an import found: what is wrong or odd in staged sessions and products, counted, and the summary of it all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend
from ibis.util import gen_name

from llmrec.console import Group, Table, table
from llmrec.data.raw import ends_whole
from llmrec.schema import LOCALES

__all__ = [
    "Finding",
    "ImportSummary",
    "TableSummary",
    "coverage_findings",
    "file_findings",
    "product_findings",
    "render_summary",
    "session_findings",
    "usable_sessions",
]


@dataclass(frozen=True)
class Finding:
    """Something in a raw file that is not as it should be.

    Attributes:
        kind: ``repaired``: a value was changed; ``refused``: the row was left out; ``noted``: kept as it is.
        file: The raw file's name.
        what: What was found and what was done.
        count: How many rows, sessions or items.
    """

    kind: Literal["repaired", "refused", "noted"]
    file: str
    what: str
    count: int


@dataclass(frozen=True)
class TableSummary:
    """One table of the store: its rows and their number in each locale."""

    name: str
    rows: int
    locales: Mapping[str, int]


@dataclass(frozen=True)
class ImportSummary:
    """What `llmrec.data.importing.import_dataset` wrote, repaired and refused."""

    store: Path
    fingerprint: str
    tables: tuple[TableSummary, ...]
    findings: tuple[Finding, ...]
    unused: tuple[str, ...]
    seconds: float

    def manifest_part(self) -> dict[str, Any]:
        """Return what the store's manifest keeps under ``summary``."""
        return {"findings": [asdict(finding) for finding in self.findings], "unused": list(self.unused)}


def render_summary(summary: ImportSummary) -> Group:
    """Render the tables that `llmrec data import` prints: rows by locale, then what was found in the raw files."""
    rows = (
        (one.name, f"{one.rows:,}", ", ".join(f"{locale} {num:,}" for locale, num in one.locales.items()))
        for one in summary.tables
    )
    parts: list[Table | str] = [table(f"{summary.store}: rows", ["table", "rows", "by locale"], rows)]
    if summary.findings:
        found = ((one.what, one.kind, one.file, f"{one.count:,}") for one in summary.findings)
        parts.append(table("found in the raw files", ["what", "", "file", "count"], found))
    if summary.unused:
        parts.append(f"not used: {', '.join(summary.unused)}")
    parts.append(f"fingerprint {summary.fingerprint[:16]}, {summary.seconds:.0f} s")
    return Group(*parts)


def usable_sessions(staged: ir.Table, *, training: bool) -> ir.Table:
    """Sessions that have items and a locale and, to train on, a next item."""
    kept = staged.filter((staged.prev_items.length() > 0) & staged.locale.notnull())
    return kept.filter(kept.next_item.notnull()) if training else kept


def file_findings(path: Path) -> list[Finding]:
    """Whether a CSV's end looks cut."""
    if path.suffix.lower() != ".csv" or ends_whole(path):
        return []
    return [Finding("noted", path.name, "last row without a line break: the file may be cut short", 1)]


def session_findings(con: Backend, staged: ir.Table, name: str, *, training: bool) -> list[Finding]:
    """Count what `llmrec.data.sessions.stage_sessions` found in the file ``name``."""
    empty = staged.prev_items.length() == 0
    placeless = ~empty & staged.locale.isnull()
    wanted: list[tuple[str, str, ir.BooleanValue]] = [
        ("repaired", "blanks, empty or nan ids in a session's ids or locale", staged.repaired),
        ("refused", "session without items", empty),
        ("refused", "session without a locale", placeless),
    ]
    if "next_item" in staged.columns:
        usable = ~empty & staged.locale.notnull()
        unlabelled = usable & staged.next_item.isnull()
        kind = ("refused", "training session without next_item") if training else ("noted", "session without a target")
        wanted.append((*kind, unlabelled))
        wanted.append(("noted", "next_item is in prev_items", usable & staged.prev_items.contains(staged.next_item)))
    return _counted(con, staged, name, wanted) + _foreign_locales(con, staged, name, "sessions")


def product_findings(con: Backend, staged: ir.Table, name: str, num_kept: int) -> list[Finding]:
    """Count what `llmrec.data.products.stage_products` found in the file ``name``; ``num_kept`` rows are kept."""
    keyless = staged.id.isnull() | staged.locale.isnull()
    wanted: list[tuple[str, str, ir.BooleanValue]] = [
        ("repaired", "price sentinel, now null", staged.sentinel),
        ("repaired", "price that is no number, now null", staged.odd_price),
        ("repaired", "empty title, kept as empty text", staged.untitled),
        ("repaired", "blanks around id or locale", staged.trimmed),
        ("refused", "product without id or locale", keyless),
    ]
    found = _counted(con, staged, name, wanted)
    keyed = con.to_pyarrow(staged.filter(~keyless).count()).as_py()
    if keyed > num_kept:
        found.append(
            Finding("refused", name, "second row of the same (locale, id); the first is kept", keyed - num_kept)
        )
    return found + _foreign_locales(con, staged, name, "products")


def coverage_findings(
    con: Backend, sessions: ir.Table, products: ir.Table, name: str, *, training: bool
) -> list[Finding]:
    """Count items without a product row in the session's locale, and the sessions that hold one."""
    items = sessions.prev_items
    if training:
        items = items.concat(ibis.array([sessions.next_item]))
    seen = sessions.select("row", "locale", id=items).unnest("id")
    # Each item is looked up once, not once for every session that holds it.
    unknown = seen.select("locale", "id").distinct().anti_join(products, ["locale", "id"])
    missing = con.create_table(gen_name("missing"), unknown)
    num_items = con.to_pyarrow(missing.count()).as_py()
    if not num_items:
        return []
    num_sessions = con.to_pyarrow(seen.semi_join(missing, ["locale", "id"]).row.nunique()).as_py()
    return [
        Finding("noted", name, "distinct items without a product row in their locale", num_items),
        Finding("noted", name, "sessions that hold such an item", num_sessions),
    ]


def _counted(
    con: Backend, staged: ir.Table, name: str, wanted: list[tuple[str, str, ir.BooleanValue]]
) -> list[Finding]:
    sums = {f"n{position}": condition.sum() for position, (_, _, condition) in enumerate(wanted)}
    counts = con.to_pyarrow(staged.aggregate(**sums)).to_pylist()[0]
    found = zip(wanted, counts.values(), strict=True)
    return [Finding(kind, name, what, count) for (kind, what, _), count in found if count]  # type: ignore[arg-type]


def _foreign_locales(con: Backend, staged: ir.Table, name: str, of: str) -> list[Finding]:
    foreign = staged.filter(staged.locale.notin(LOCALES))
    counted = foreign.group_by("locale").aggregate(num_rows=foreign.count()).order_by("locale")
    return [
        Finding("noted", name, f"{of} of locale {row['locale']}, outside the paper's six", row["num_rows"])
        for row in con.to_pyarrow(counted).to_pylist()
    ]
