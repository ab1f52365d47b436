"""Files and folders that appear whole or not at all, and what a disk says when they cannot."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmrec.errors import DiskError, LlmrecError

__all__ = ["atomic_file", "atomic_folder", "disk_errors", "put_in_place", "sync", "write_text"]

FULL_BYTES = 1 << 16  # a disk with less than this cannot take another artefact


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
