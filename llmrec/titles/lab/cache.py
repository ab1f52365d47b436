"""Answers already given, on disk: an answer that came once is never asked for again, whatever ended the run.

SQLite, one row an answer, committed as it comes: a killed process loses none, and two processes may share the file.
Answers repeat what sessions held: the file is its owner's alone.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from llmrec.errors import DataError, DiskError
from llmrec.files import digest_of
from llmrec.output import check, disk_errors
from llmrec.records import parse_record, record_text
from llmrec.titles.lab.answers import Answer

__all__ = ["AnswerCache", "cache_key", "open_cache", "remove_cache"]

_WAIT_S: Final = 60.0  # for another process to finish its row
_READ_AT_ONCE: Final = 500  # SQLite's limit on variables is far above


def cache_key(request: Mapping[str, Any]) -> str:
    """Names everything that decides an answer: SHA-256 of the request as JSON."""
    return digest_of(request)


@dataclass(frozen=True)
class _Kept(Answer):
    """An answer as it is kept; one of before does not say to what."""

    key: str | None = None


class AnswerCache:
    """Answers by key, for all threads of a process; made by `open_cache`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._lock = threading.Lock()

    def read(self, keys: Iterable[str]) -> dict[str, Answer]:
        """The answers that there are.

        Raises:
            DataError: the file is damaged.
        """
        wanted = list(dict.fromkeys(keys))
        found: dict[str, Answer] = {}
        with _explained(self._path), self._lock:
            for start in range(0, len(wanted), _READ_AT_ONCE):
                part = wanted[start : start + _READ_AT_ONCE]
                marks = ",".join("?" * len(part))
                rows = self._connection.execute(f"SELECT key, answer FROM answers WHERE key IN ({marks})", part)
                found.update((key.decode(), self._answer(key.decode(), held)) for key, held in rows)
        return found

    def _answer(self, key: str, held: bytes) -> Answer:
        again = "delete it or name another with --cache"
        kept = parse_record(held, _Kept, self._path, again)
        if kept.key not in (None, key):
            raise DataError(f"{self._path}: damaged (the answer to another question); {again}")
        return Answer(kept.text, kept.prompt_tokens, kept.completion_tokens, kept.seconds, kept.logprobs)

    def add(self, answers: Mapping[str, Answer]) -> None:
        """Keep answers, in the file when this returns; an answer that is there already stays as it is.

        Raises:
            DiskError: the file cannot be written.
        """
        rows = [(key, record_text({**asdict(answer), "key": key})) for key, answer in answers.items()]
        with _explained(self._path), self._lock, self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", rows)


@contextmanager
def open_cache(path: Path) -> Iterator[AnswerCache]:
    """Open a file of answers; it is made where there is none.

    Raises:
        DataError: the file is something else, or damaged.
        DiskError: it cannot be written.
    """
    check(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() or not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives its log beside it the same rights
            path.chmod(0o600)
    with _explained(path):
        connection = sqlite3.connect(path, timeout=_WAIT_S, check_same_thread=False)
        connection.text_factory = bytes  # which may be no text in a damaged file
    try:
        with _explained(path), connection:
            # a write-ahead log needs no wait for the disk after each answer, and a crash of the machine leaves it whole
            connection.execute("PRAGMA trusted_schema=OFF")  # a file from elsewhere calls nothing
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")
        yield AnswerCache(path, connection)
    finally:
        connection.close()


def remove_cache(path: Path) -> None:
    """Delete a file of answers, and SQLite's own beside it."""
    for end in ("", "-wal", "-shm"):
        path.with_name(f"{path.name}{end}").unlink(missing_ok=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:  # a folder in its place, a read-only or a full disk
        raise DiskError(
            f"{path}: answers cannot be kept there ({' '.join(str(error).split())}); name another file with --cache"
        ) from error
    except (sqlite3.DatabaseError, ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: holds no answers of this program; delete it or name another with --cache") from error
