"""Files that appear whole or not at all, and the folders that travel with the package."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from llmrec.errors import ConfigError, DataError, DiskError, LlmrecError

__all__ = [
    "atomic_file",
    "atomic_folder",
    "digest_of",
    "disk_errors",
    "put_in_place",
    "read_record",
    "read_yaml",
    "sha256_of",
    "sha256_of_all",
    "shipped_folder",
    "sync",
    "write_text",
]

R = TypeVar("R")
FULL_BYTES = 1 << 16  # a disk with less than this cannot take another artefact

_PACKAGE = Path(__file__).resolve().parent


def shipped_folder(name: str) -> Path:
    """Folder ``prompts`` or ``accelerate_configs``: inside an installed wheel, else beside a checkout's package."""
    installed = _PACKAGE / "shipped" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def _temporary_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")


def sync(path: Path) -> None:
    """Have a file's bytes on the disk before its name says that they are there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden place into one clear line.

    Raises:
        DiskError: the disk is full or ``target`` cannot be written.
    """
    try:
        yield
    except LlmrecError:
        raise
    except Exception as error:
        number = getattr(error, "errno", None)
        if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            reason = os.strerror(number)
            raise DiskError(f"{target}: cannot be written ({reason}); choose another place") from error
        if number in (errno.ENOSPC, errno.EDQUOT) or _is_full(target):
            raise DiskError(f"{target}: the disk is full; free some space and run the same command again") from error
        raise


def _is_full(target: Path) -> bool:
    """Whether nothing more fits: DuckDB, Arrow, torch and safetensors each report a full disk in their own way."""
    folder = next((parent for parent in target.absolute().parents if parent.is_dir()), None)
    return folder is not None and shutil.disk_usage(folder).free < FULL_BYTES


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Give a temporary path beside ``target`` and rename it there when the block ends without an error.

    Raises:
        DiskError: the disk is full or the place cannot be written. ``target`` is then as it was.
    """
    temporary = _temporary_name(target)
    with disk_errors(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            sync(temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder and put it in the place of ``target`` when the block ends without an error.

    A previous ``target`` stays until the new one is complete.

    Raises:
        DiskError: the disk is full or the place cannot be written. ``target`` is then as it was.
    """
    temporary = _temporary_name(target)
    with disk_errors(target):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            put_in_place(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def put_in_place(folder: Path, target: Path) -> None:
    """Rename a complete folder to ``target``, once its files are on the disk; what was there before goes."""
    for path in folder.rglob("*"):
        if path.is_file():
            sync(path)
    old = _temporary_name(target)
    try:
        if target.exists():
            target.rename(old)
        folder.rename(target)
    finally:
        shutil.rmtree(old, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_record(path: Path, cls: type[R], version: int, again: str) -> R:
    """A record that was written as JSON with its version, by its dataclass.

    Raises:
        DataError: it is none, or of another version; ``again`` says how to make it again.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["version"] != version:
            raise DataError(f"{path}: of version {record['version']}, this llmrec reads {version}; {again}")
        return msgspec.convert(record, cls)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read as a {cls.__name__.lower()}; {again}") from error


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
