"""The folder that is reproduced on: a store or raw files, what it is, and how it differs from Amazon-M2."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from llmrec.data.download.boards import MINIONEREC, check_files
from llmrec.data.store import Store
from llmrec.errors import DataError
from llmrec.files import sha256_of
from llmrec.paper.reproduction.recipe import Method, Protocol

__all__ = ["DataFolder", "check_boards", "chosen_files", "differences", "missing_files", "open_data"]

_TABLES: Final = (".csv", ".parquet")
_ROUNDING: Final = 1e-3  # an import may refuse a few broken rows; that is the same data still


@dataclass(frozen=True)
class DataFolder:
    """Where the data lies.

    Attributes:
        path: The folder, as the user gave it.
        fingerprint: Of what a store's tables hold, or of the files' bytes where the folder is no store.
        rows: Rows of a store's tables, ``sessions_train`` for development and validation together.
        synthetic: Whether `llmrec data synth` made it.
        digests: SHA-256 of each raw file and each model beside them, by name; empty for a store.
    """

    path: Path
    fingerprint: str
    rows: Mapping[str, int] = field(default_factory=dict)
    synthetic: bool = False
    digests: Mapping[str, str] = field(default_factory=dict)

    def fingerprint_of(self, names: Iterable[str]) -> str:
        """Fingerprint of some raw files alone, so that a file beside them changes nothing; a store's is whole."""
        return _combined({name: self.digests[name] for name in names}) if self.digests else self.fingerprint


def open_data(path: Path) -> DataFolder:
    """Look at a folder.

    Raises:
        DataError: there is none, or no CSV or Parquet in it.
        StoreError: a store of another version.
    """
    if not path.is_dir():
        raise DataError(f"{path}: no such folder; give a store, or the folder of the authors' public test files")
    if (path / "manifest.json").is_file():
        store = Store.load(path)
        rows = {name: table.rows for name, table in store.manifest.tables.items()}
        parts = [rows[name] for name in ("sessions_development", "sessions_validation") if name in rows]
        rows |= {"sessions_train": sum(parts)} if parts else {}
        return DataFolder(path, store.fingerprint, rows, store.manifest.synthetic)
    files = sorted(one for one in path.iterdir() if one.suffix.lower() in (*_TABLES, ".gguf"))
    if not any(file.suffix.lower() in _TABLES for file in files):
        raise DataError(f"{path}: neither a store nor raw files in it; make a store: llmrec data import SRC {path}")
    digests = {file.name: sha256_of(file) for file in files}
    return DataFolder(path, _combined(digests), digests=digests)


def _combined(digests: Mapping[str, str]) -> str:
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def missing_files(protocol: Protocol, method: Method, data: DataFolder | None) -> list[str]:
    """Files that protocol and method need and the folder lacks; all of them where there is no folder."""
    needs = dict.fromkeys((*protocol.needs, *method.needs))
    lacks = [name for name in needs if data is None or not (data.path / name).is_file()]
    found = {} if data is None else chosen_files(protocol, data.path)
    return lacks + [" or ".join(names) for place, names in protocol.either.items() if place not in found]


def chosen_files(protocol: Protocol, folder: Path) -> dict[str, str]:
    """Name of the file that stands for each place of a protocol's ``either``; a place without one is left out."""
    found: dict[str, str] = {}
    for place, names in protocol.either.items():
        there = [name for name in names if (folder / name).is_file()]
        found |= {place: there[0]} if there else {}
    return found


def check_boards(data: DataFolder, protocols: Iterable[Protocol]) -> None:
    """Hold the files of protocols of a public board against what is known of them.

    Raises:
        DataError: a file is not the board's, or training rows repeat test sessions with their labels.
    """
    files: dict[str, dict[str, Path]] = {}
    for protocol in protocols:
        chosen = {place: data.path / name for place, name in chosen_files(protocol, data.path).items()}
        if protocol.board:
            files.setdefault(protocol.board, {}).update(chosen)
    for board, found in files.items():
        check_files(MINIONEREC[board], found, str(data.path))


def differences(protocol: Protocol, method: Method, data: DataFolder) -> list[str]:
    """How protocol, method and data differ from the paper's, a sentence each; empty where they are the same."""
    found = [*protocol.differs, *method.differs]
    if data.synthetic:
        return [*found, "Synthetic data, not Amazon-M2."]
    for name, size in protocol.sizes.items():
        rows = data.rows.get(name, 0)
        if abs(rows - size) > _ROUNDING * size:
            found.append(f"Other data: {name} has {rows:,} rows, Amazon-M2's {size:,}.")
    return found
