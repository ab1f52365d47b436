"""YAML and digests of files, and the folders that travel with the package."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from llmrec.errors import ConfigError

__all__ = [
    "digest_of",
    "read_yaml",
    "sha256_of",
    "sha256_of_all",
    "shipped_folder",
]

_PACKAGE = Path(__file__).resolve().parent


def shipped_folder(name: str) -> Path:
    """Folder ``prompts`` or ``accelerate_configs``: inside an installed wheel, else beside a checkout's package."""
    installed = _PACKAGE / "shipped" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_of_all(paths: Iterable[Path]) -> str:
    """SHA-256 over the SHA-256 of some files, in their order, in hexadecimal; their names are no part of it."""
    return hashlib.sha256("".join(map(sha256_of, paths)).encode()).hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of a value as JSON, in hexadecimal: names what a cache was made of. No JSON counts as text."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def read_yaml(path: Path, mend: str = "choose another file") -> Any:
    """What a YAML file of a user's holds; ``mend`` says what to do where it cannot be read.

    Raises:
        ConfigError: it cannot be read, or is not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); {mend}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date of month 13 is a ValueError
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
