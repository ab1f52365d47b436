"""What an import found: what is wrong or odd in staged sessions and products, counted, and the summary of it all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend

from llmrec.console import Group, Table, table
from llmrec.data.connection import stored
from llmrec.data.raw import ends_whole
from llmrec.files import uri_of
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

_KEYLESS: Final = "product without id or locale"
_Kind = Literal["repaired", "refused", "noted"]
_Wanted = list[tuple[_Kind, str, ir.BooleanValue]]  # kind, what, and where it is so


@dataclass(frozen=True)
class Finding:
    """Something in a raw file that is not as it should be.

    Attributes:
        kind: ``repaired``: a value was changed; ``refused``: the row was left out; ``noted``: kept as it is.
        file: The raw file's name.
        what: What was found and what was done.
        count: How many rows, sessions or items.
    """

    kind: _Kind
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
    title = f"{uri_of(summary.store) or summary.store}: rows"
    parts: list[Table | str] = [table(title, ["table", "rows", "by locale"], rows)]
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
    wanted: _Wanted = [
        ("repaired", "blanks, empty or nan ids in a session's ids or locale", staged.repaired),
        ("refused", "session without items", empty),
        ("refused", "session without a locale", placeless),
    ]
    if "next_item" in staged.columns:
        usable = ~empty & staged.locale.notnull()
        unlabelled = usable & staged.next_item.isnull()
        missing = "training session without next_item" if training else "session without a target"
        wanted.append(("refused" if training else "noted", missing, unlabelled))
        wanted.append(("noted", "next_item is in prev_items", usable & staged.prev_items.contains(staged.next_item)))
    parts = _by_locale(con, staged, wanted)
    return _counted(parts, name, wanted) + _foreign_locales(parts, name, "sessions")


def product_findings(con: Backend, staged: ir.Table, name: str, num_kept: int) -> list[Finding]:
    """Count what `llmrec.data.products.stage_products` found in the file ``name``; ``num_kept`` rows are kept."""
    keyless = staged.id.isnull() | staged.locale.isnull()
    wanted: _Wanted = [
        ("repaired", "price sentinel, now null", staged.sentinel),
        ("repaired", "price that is no number, now null", staged.odd_price),
        ("repaired", "empty title, kept as empty text", staged.untitled),
        ("repaired", "blanks around id or locale", staged.trimmed),
        ("refused", _KEYLESS, keyless),
    ]
    parts = _by_locale(con, staged, wanted)
    found = _counted(parts, name, wanted)
    keyed = sum(part["num_rows"] - part[_KEYLESS] for part in parts)
    if keyed > num_kept:
        found.append(
            Finding("refused", name, "second row of the same (locale, id); the first is kept", keyed - num_kept)
        )
    return found + _foreign_locales(parts, name, "products")


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
    missing = stored(con, "missing", unknown)
    num_items = con.to_pyarrow(missing.count()).as_py()
    if not num_items:
        return []
    num_sessions = con.to_pyarrow(seen.semi_join(missing, ["locale", "id"]).row.nunique()).as_py()
    return [
        Finding("noted", name, "distinct items without a product row in their locale", num_items),
        Finding("noted", name, "sessions that hold such an item", num_sessions),
    ]


def _by_locale(con: Backend, staged: ir.Table, wanted: _Wanted) -> list[dict[str, Any]]:
    """Rows of each locale, and those for which each condition holds, in one look at ``staged``."""
    sums = {what: condition.sum() for _, what, condition in wanted}
    grouped = staged.group_by("locale").aggregate(num_rows=staged.count(), **sums).order_by("locale")
    return con.to_pyarrow(grouped).to_pylist()  # type: ignore[no-any-return]


def _counted(parts: list[dict[str, Any]], name: str, wanted: _Wanted) -> list[Finding]:
    counts = [(kind, what, sum(part[what] or 0 for part in parts)) for kind, what, _ in wanted]
    return [Finding(kind, name, what, count) for kind, what, count in counts if count]


def _foreign_locales(parts: list[dict[str, Any]], name: str, of: str) -> list[Finding]:
    return [
        Finding("noted", name, f"{of} of locale {part['locale']}, outside the paper's six", part["num_rows"])
        for part in parts
        if part["locale"] not in (None, *LOCALES)
    ]
