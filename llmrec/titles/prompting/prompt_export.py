"""Prompt sessions as a folder that `datasets.load_dataset` and every other Hugging Face tool reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
from datasets import Dataset

from llmrec.console import track
from llmrec.errors import ConfigError
from llmrec.hub.cards import card_text, language_codes, size_category
from llmrec.output import atomic_folder
from llmrec.reporting.blocks import Block, Heading, Notes, Paragraph
from llmrec.text.prompts import Prompt

__all__ = ["export_prompt_sessions"]

GROUP_ROWS = 50_000
_MEANINGS = {
    "session_id": "row of the session in its source file, from 0",
    "locale": "the shop",
    "prompt": "what a model reads",
    "last_title": "most recent title of the session, the Last Product Title baseline; empty where it has none",
    "target_title": "what a model should write; null where the next product is not known or has no title",
    "input_ids": "tokens of the prompt",
    "labels": "tokens of the target title; empty where it is null",
}


def export_prompt_sessions(
    splits: Mapping[str, Dataset], out: Path, *, prompt: Prompt, k: int, fingerprint: str
) -> None:
    """Write prompt sessions as Parquet with a dataset card; the folder appears whole or not at all.

    Args:
        splits: By split name, what `build_prompt_sessions` returned; all with the same columns.
        out: Folder to write: ``data/SPLIT.parquet`` and ``README.md``. It must be new, empty or an earlier export.
        prompt: The prompt they were built with.
        k: Number of most recent titles they were built with.
        fingerprint: Of the store they were built from.

    Raises:
        ConfigError: there is no split, the splits' columns differ, or ``out`` holds something else.
        DiskError: ``out`` cannot be written.
    """
    if len({tuple(sessions.column_names) for sessions in splits.values()}) != 1:
        named = ", ".join(splits) or "none"
        raise ConfigError(f"splits to export must be there and have the same columns; got {named}; build them alike")
    if out.exists() and not _is_export(out):
        raise ConfigError(f"{out} is there and holds no exported prompt sessions; choose another place")
    with atomic_folder(out) as folder:
        (folder / "data").mkdir()
        for split, sessions in splits.items():
            _write_parquet(folder / "data" / f"{split}.parquet", sessions, split)
        (folder / "README.md").write_text(_card(splits, prompt, k, fingerprint), encoding="utf-8")


def _is_export(out: Path) -> bool:
    """Whether a folder may be replaced: it is empty, or holds what an export writes and nothing else."""
    return (
        out.is_dir()
        and {path.name for path in out.iterdir()} in (set(), {"README.md", "data"})
        and all(path.suffix == ".parquet" for path in out.glob("data/*"))
    )


def _write_parquet(file: Path, sessions: Dataset, split: str) -> None:
    groups = sessions.with_format("arrow").iter(GROUP_ROWS)
    with pq.ParquetWriter(file, sessions.features.arrow_schema, compression="zstd") as writer:
        for group in track(groups, f"export {split}", total=-(-len(sessions) // GROUP_ROWS)):
            writer.write_table(group)


def _card(splits: Mapping[str, Dataset], prompt: Prompt, k: int, fingerprint: str) -> str:
    """Dataset card: what the hub and `datasets` read, and what a person needs to know."""
    locales = sorted({locale for sessions in splits.values() for locale in sessions.unique("locale")})
    data = [{"split": split, "path": f"data/{split}.parquet"} for split in splits]
    header = {
        "language": language_codes(locales),
        "task_categories": ["text-generation"],
        "tags": ["recommendation", "session-based"],
        "size_categories": [size_category(sum(map(len, splits.values())))],
        "configs": [{"config_name": "default", "data_files": data}],
    }
    columns = next(iter(splits.values())).column_names
    blocks: list[Block] = [
        Heading("Prompt sessions: the next product's title", 1),
        Paragraph(
            f"Shopping sessions of {', '.join(locales)}, each with its {k} most recent titles written as a prompt and "
            "the title of the next product."
        ),
        Notes([f"{split}: {len(sessions):,} sessions" for split, sessions in splits.items()]),
        Notes([f"{column}: {_MEANINGS[column]}" for column in columns]),
        Paragraph("Before you publish this, add the data's licence to the header (Amazon-M2's is Apache 2.0)."),
        Paragraph(f"Prompt {prompt.path.stem} (SHA-256 {prompt.hash}), K = {k}, store {fingerprint}."),
    ]
    return card_text(header, blocks)
