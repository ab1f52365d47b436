"""What is wrong or odd in staged sessions and products, counted."""

from __future__ import annotations

from pathlib import Path

import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend
from ibis.util import gen_name

from llmrec.data.raw import ends_whole
from llmrec.data.summary import Finding
from llmrec.schema import LOCALES

__all__ = ["coverage_findings", "file_findings", "product_findings", "session_findings", "usable_sessions"]


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
        ("repaired", "blanks or empty ids in a session's ids or locale", staged.repaired),
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
