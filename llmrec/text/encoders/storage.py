"""An encoder on disk: ``encoder.json`` says what it is, ``arrays.safetensors`` holds what it learnt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from llmrec.errors import ConfigError, ModelError

__all__ = ["Arrays", "content_fingerprint", "prepare_folder", "read_encoder", "read_record", "write_encoder"]

Arrays = Mapping[str, NDArray[Any]]

RECORD: Final = "encoder.json"
ARRAYS: Final = "arrays.safetensors"
_FORMAT: Final = "llmrec encoder"
_VERSION: Final = 1
_WAY_OUT: Final = "make it again: llmrec embed PRODUCTS --out DIR"


def content_fingerprint(kind: str, settings: Mapping[str, Any], arrays: Arrays) -> str:
    """SHA-256 over what decides an encoder's vectors: its kind, settings, and each array's name, shape and values."""
    digest = hashlib.sha256(json.dumps([kind, settings], sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def prepare_folder(folder: Path) -> None:
    """Make a folder for an encoder; one that holds an encoder is written over.

    Raises:
        ConfigError: ``folder`` holds something else.
    """
    if folder.exists() and not (folder / RECORD).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: exists and holds no encoder; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)


def write_encoder(
    folder: Path, kind: str, settings: Mapping[str, Any], arrays: Arrays, fingerprint: str | None = None
) -> None:
    """Write an encoder into ``folder``; the caller makes the folder appear whole.

    Args:
        folder: Where to; made if missing.
        kind: What `llmrec.text.encoders.registry` finds the class by.
        settings: Plain values that JSON holds.
        arrays: What it learnt; none for an encoder that keeps its weights in files of its own.
        fingerprint: Of an encoder with files of its own; that of the arrays where not given.
    """
    prepare_folder(folder)
    if arrays:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / ARRAYS)
    record = {
        "format": _FORMAT,
        "version": _VERSION,
        "kind": kind,
        "settings": dict(settings),
        "fingerprint": fingerprint or content_fingerprint(kind, settings, arrays),
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any]:
    """What ``encoder.json`` says: ``kind``, ``settings``, ``fingerprint``.

    Raises:
        ModelError: there is none, or it is damaged or of another version.
    """
    file = folder / RECORD
    if not file.is_file():
        raise ModelError(f"{folder}: no encoder here (no {RECORD}); {_WAY_OUT}")
    try:
        record = dict(json.loads(file.read_text(encoding="utf-8")))
        whole = record["format"] == _FORMAT and isinstance(record["settings"], dict)
        whole = whole and isinstance(record["kind"], str) and isinstance(record["fingerprint"], str)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file}: not an encoder's record; {_WAY_OUT}") from error
    if not whole or record.get("version") != _VERSION:
        raise ModelError(f"{file}: an encoder of another version; {_WAY_OUT}")
    return record


def read_encoder(folder: Path, kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Settings and arrays of an encoder that `write_encoder` wrote.

    Raises:
        ModelError: there is none, it is of another kind or version, or its files are damaged.
    """
    record = read_record(folder)
    if record["kind"] != kind:
        raise ModelError(f"{folder}: holds the encoder '{record['kind']}', not '{kind}'")
    file = folder / ARRAYS
    try:
        arrays = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file}: missing or damaged; {_WAY_OUT}") from error
    if content_fingerprint(kind, record["settings"], arrays) != record["fingerprint"]:
        raise ModelError(f"{file}: damaged (its fingerprint is not {RECORD}'s); {_WAY_OUT}")
    return record["settings"], arrays
