"""A fitted ranker on disk: ``ranker.json`` says what it is, ``arrays.safetensors`` holds what it learnt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from llmrec.errors import ConfigError, ModelError
from llmrec.files import atomic_folder, sha256_of
from llmrec.settings import resolve

__all__ = ["name_of_model", "read_model", "refuse_foreign", "write_model"]

RECORD: Final = "ranker.json"
ARRAYS: Final = "arrays.safetensors"
_FORMAT: Final = "llmrec ranker"
_VERSION: Final = 1


def write_model(
    folder: Path, name: str, settings: Any, locales: tuple[str, ...], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write a ranker; one that was in ``folder`` stays until the new one is complete.

    Raises:
        ConfigError: ``folder`` holds something else.
        DiskError: the place cannot be written.
    """
    refuse_foreign(folder)
    with atomic_folder(folder) as temporary:
        save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, temporary / ARRAYS)
        values = {key: str(value) if isinstance(value, Path) else value for key, value in vars(settings).items()}
        record = {
            "format": _FORMAT,
            "version": _VERSION,
            "ranker": name,
            "settings": values,
            "locales": list(locales),
            "arrays_sha256": sha256_of(temporary / ARRAYS),
        }
        (temporary / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def refuse_foreign(folder: Path) -> None:
    """Refuse to put a ranker in the place of something else.

    Raises:
        ConfigError: ``folder`` holds something that is no ranker.
    """
    if folder.exists() and not (folder / RECORD).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: exists and holds no ranker; choose another folder for --save")


def name_of_model(folder: Path) -> str:
    """Name of the ranker that a folder holds.

    Raises:
        ModelError: there is none, or it is of another version.
    """
    return str(_record(folder)["ranker"])


def read_model(
    folder: Path, name: str, settings_class: type[Any]
) -> tuple[Any, tuple[str, ...], dict[str, NDArray[Any]]]:
    """Settings, locales and arrays of a ranker that `write_model` wrote.

    Raises:
        ModelError: there is none, it is of another version or another ranker, or its files are damaged.
    """
    record = _record(folder)
    if record["ranker"] != name:
        held = record["ranker"]
        raise ModelError(f"{folder}: holds the ranker '{held}', not '{name}'; llmrec rank {held} --load {folder}")
    file = folder / ARRAYS
    if not file.is_file() or sha256_of(file) != record["arrays_sha256"]:
        raise ModelError(f"{file}: missing or damaged (its checksum is not ranker.json's); fit it again with --save")
    try:
        settings = resolve(settings_class, record["settings"])
        return settings, tuple(record["locales"]), load_file(file)
    except (SafetensorError, ConfigError, TypeError) as error:
        raise ModelError(f"{folder}: damaged model ({error}); fit it again with --save") from error


def _record(folder: Path) -> dict[str, Any]:
    file = folder / RECORD
    if not file.is_file():
        raise ModelError(f"{folder}: no ranker here (no {RECORD}); make one: llmrec rank RANKER ... --save {folder}")
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        fits = record["format"] == _FORMAT and {"ranker", "settings", "locales", "arrays_sha256"} <= record.keys()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{file}: not a ranker's record; fit it again with --save") from error
    if not fits or record.get("version") != _VERSION:
        raise ModelError(f"{file}: a ranker of another version; fit it again with --save")
    return dict(record)
