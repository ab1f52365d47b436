"""What an import did: tables, locales, and every repair, refusal and oddity with its count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from llmrec.console import Group, Table, table

__all__ = ["Finding", "ImportSummary", "TableSummary", "render_summary"]


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
