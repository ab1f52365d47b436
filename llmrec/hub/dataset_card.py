"""The card of a dataset: its tables as the hub's viewer reads them, rows by locale, where it is from, its licence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

import llmrec
from llmrec.data.raw import parquet_schema, parquet_table
from llmrec.evaluation.results import Result
from llmrec.evaluation.runs import read_run
from llmrec.hub.cards import card_text, language_codes, portable, section, size_category
from llmrec.hub.forms import RUN, Form
from llmrec.hub.remote import Repo
from llmrec.reporting.blocks import Block, Code, Heading, Paragraph, Table, provenance_table
from llmrec.reporting.tables import result_blocks

__all__ = ["run_card", "store_card"]

_MEANINGS: Final = {
    "products": "products, keyed by locale and id: title, price, brand and other attributes",
    "sessions": "sessions with their next item, to learn from and to validate on",
    "test_sessions": "sessions without their next item",
    "targets": "what is right for test sessions: for scoring alone, never for training",
}
_REAL: Final = "Sessions are what people looked at: share them where their owner lets you, and name the licence."
_MADE_UP: Final = "Made up by llmrec's own generator: no person and no product stands behind it."
_NO_LICENCE: Final = "Its owner has named none: ask before you use it."


def store_card(form: Form, folder: Path, repo: Repo, licence: str | None) -> str:
    """Card of a store: a configuration for each kind of table, a split for each of the store's."""
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=dict[str, Any])
    files = sorted(folder.glob("*.parquet"))
    tables = {file.stem: _table(file, manifest) for file in files}
    configs: dict[str, list[dict[str, str]]] = {}
    for name, columns, _ in ((name, *table) for name, table in tables.items()):
        config, split = _config(name, columns)
        parts = "/*" if (folder / f"{name}.parquet").is_dir() else ""  # Spark's
        configs.setdefault(config, []).append({"split": split, "path": f"{name}.parquet{parts}"})
    first = "sessions" if "sessions" in configs else "products"
    locales = sorted({locale for _, rows in tables.values() for locale in rows})
    total = sum(sum(rows.values()) for _, rows in tables.values())
    header = {
        "language": language_codes(locales),
        "license": licence,
        "task_categories": ["other"],
        "tags": ["llmrec", *form.tags, *(["synthetic"] if manifest.get("synthetic") else [])],
        "size_categories": [size_category(total)],
        "configs": [
            {"config_name": name, "data_files": data, **({"default": True} if name == first else {})}
            for name, data in sorted(configs.items(), key=lambda one: one[0] != first)
        ],
    }
    columns = ["table", "rows", *locales]
    rows = [
        [name, f"{sum(counts.values()):,}", *(f"{counts.get(locale, 0):,}" for locale in locales)]
        for name, (_, counts) in tables.items()
    ]
    source = manifest.get("source") or "not recorded"
    made_up = _MADE_UP if manifest.get("synthetic") else _REAL
    share, seed = manifest.get("validation_share", 0), manifest.get("seed")
    blocks: list[Block] = [
        Heading(repo.name.rpartition("/")[2], 1),
        Paragraph(f"{form.summary} A store of llmrec {llmrec.__version__}."),
        Heading("Use"),
        Code(_usage(repo, first), "python"),
        Heading("Tables"),
        Table(columns, rows),
        *section("What they hold", *map(_meaning, configs)),
        *section(
            "Source",
            f"Raw files: {portable(str(source))}.",
            f"Fingerprint: {manifest.get('fingerprint')}.",
            f"Imported: {manifest.get('created') or 'not recorded'}, by llmrec {manifest.get('llmrec') or 'unknown'}.",
            f"Validation sessions: {share:.0%} of the labelled ones, drawn by seed {seed}.",
        ),
        *section("Intended use", form.intended),
        *section("Limits", *form.limits),
        *section("Licence", licence or _NO_LICENCE, made_up),
    ]
    return card_text(header, blocks)


def run_card(form: Form, file: Path, repo: Repo, licence: str | None, results: Sequence[Result]) -> str:
    """Card of a run: what made it, and its scores where they are known."""
    run = read_run(file)
    locales = sorted(set(run.locales.to_pylist()))
    header = {
        "language": language_codes(locales),
        "license": licence,
        "task_categories": ["other"],
        "tags": ["llmrec", "run", *form.tags],
        "size_categories": [size_category(len(run))],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": RUN}]}],
    }
    part = " It stops short of its split." if run.partial else ""
    blocks: list[Block] = [
        Heading(repo.name.rpartition("/")[2], 1),
        Paragraph(f"{form.summary} {len(run):,} sessions of {', '.join(locales)}; {run.kind}.{part}"),
        Heading("Use"),
        Code(f'import llmrec\n\nrun = llmrec.from_pretrained("{repo}")\nllmrec.evaluate(run.path, targets)', "python"),
        *(block for one in results for block in result_blocks(one)),
        Heading("Made by"),
        provenance_table(_known(portable(run.provenance))),
        *section("Intended use", form.intended),
        *section("Limits", *form.limits),
        *section("Licence", licence or _NO_LICENCE),
    ]
    return card_text(header, blocks)


def _meaning(config: str) -> str:
    return f"{config}: {_MEANINGS.get(config.partition('_next')[0], 'a table')}"


def _known(provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in provenance.items() if value not in (None, [], {}, "")}


def _table(file: Path, manifest: Mapping[str, Any]) -> tuple[list[str], dict[str, int]]:
    """Columns of a table, and its rows by locale."""
    known = manifest.get("locales", {}).get(file.stem)
    if known is None:
        counted = parquet_table(file, ["locale"]).column("locale").value_counts().to_pylist()
        known = {row["values"]: row["counts"] for row in counted}
    return parquet_schema(file).names, known


def _config(name: str, columns: Sequence[str]) -> tuple[str, str]:
    """Configuration and split of a table; tables of one configuration have the same columns."""
    kind, _, split = name.partition("_")
    if kind == "sessions":
        return ("sessions" if "next_item" in columns else "test_sessions"), split
    if kind == "targets":
        both = {"next_item", "next_title"} & {*columns}
        return ("targets" if both == {"next_item"} else f"targets_{'_'.join(sorted(both))}"), split
    return name, "train"


def _usage(repo: Repo, config: str) -> str:
    return "\n".join(
        [
            "import llmrec, datasets",
            "",
            f'store = llmrec.from_pretrained("{repo}")',
            f'rows = datasets.load_dataset("{repo.name}", "{config}")  # or without llmrec',
        ]
    )
