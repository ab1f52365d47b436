"""Secrets that every test has in its environment and its servers' URLs, and a look for them in all that tests leave."""

from __future__ import annotations

import gzip
import os
import zlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["ENVIRONMENT", "PATH_KEY", "PROXIES", "forms_of", "found", "leaks"]

MARK: Final = "".join(("7ac1e9d0", "4b6f42c8"))  # in all of them: one look finds any, but no copy of this file
PATH_KEY: Final = f"{MARK}a5b6c7d8"  # in a URL's path, as a test's server has it
PROXY: Final = f"http://planted-user:{MARK}proxy@127.0.0.1:9"
PROXIES: Final = {  # of a firm: with a password, and asked for nothing on this machine
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), PROXY),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost,::1"),
}
ENVIRONMENT: Final = {
    **PROXIES,
    "HF_TOKEN": f"hf_{MARK}token",
    "OPENAI_API_KEY": f"sk-{MARK}openai",
    "WANDB_API_KEY": f"{MARK}0000wandb00000000",
    "MY_DB_PASSWORD": f"{MARK} database",
}
NAMES: Final = {f"{MARK}proxy": "the proxy's password", PATH_KEY: "the key in a URL's path"} | {
    value: name for name, value in ENVIRONMENT.items() if name not in PROXIES
}
LARGEST: Final = 1 << 26  # bytes that a packed file may grow to: a hostile one says that it holds billions


def forms_of(secrets: Iterable[str]) -> tuple[bytes, ...]:
    """Secrets as they are, in base64 wherever they begin, and as Windows writes text."""
    return tuple(form for one in secrets for form in (one.encode(), one.encode("utf-16-le"), *_in_base64(one)))


def _in_base64(secret: str) -> Iterator[bytes]:
    for before in range(3):  # what is in front of it shifts its letters; those at its ends are of its neighbours too
        letters = b64encode(b"\0" * before + secret.encode()).rstrip(b"=")
        yield letters[-(-before * 8 // 6) : -1]


_FORMS: Final = forms_of([MARK])


def found(content: Any, forms: Sequence[bytes] = _FORMS) -> list[bytes]:
    """Which forms some bytes hold (or a map of a file's)."""
    return [form for form in forms if content.find(form) >= 0]


def leaks(folder: Path) -> list[str]:
    """Every file below a folder that holds a planted secret, and which; in what Parquet and gzip pack, too."""
    told = []
    for where, _, names in os.walk(folder):
        for path in (Path(where, name) for name in names):
            if path.is_symlink() or not path.is_file():
                continue
            if (held := _held(path)) or found(str(path.relative_to(folder)).encode("utf-8", "surrogateescape")):
                told.append(f"{path}: {held or 'a secret in its name'}")
    return told


def _held(path: Path) -> str:
    """What a file holds of them; empty where nothing."""
    for content in _contents(path):
        if found(content):
            text = bytes(content[:]).decode("latin-1")
            named = [name for secret, name in NAMES.items() if secret in text]
            return ", ".join(named) or "a planted secret, in another form"
    return ""


def _contents(path: Path) -> Iterator[Any]:
    """A file's bytes, then what it packs, as far as it can be read."""
    try:
        start = b""
        for content in _written(path):
            start = start or content[:4]
            yield content
        if start == b"PAR1":
            yield from _texts(path)
        elif start[:2] == b"\x1f\x8b":
            with gzip.open(path) as unpacked:
                yield unpacked.read(LARGEST)
    except (OSError, EOFError, ValueError, MemoryError, zlib.error, pa.ArrowException):
        return  # a test's broken file


def _written(path: Path) -> Iterator[bytes]:
    """A file's bytes but for its holes, which can be terabytes."""
    size, place = path.stat().st_size, 0
    with path.open("rb") as handle:
        while place < size:
            try:
                start = os.lseek(handle.fileno(), place, os.SEEK_DATA)
            except OSError:  # a hole to its end
                return
            place = os.lseek(handle.fileno(), start, os.SEEK_HOLE)
            yield os.pread(handle.fileno(), place - start, start)


def _texts(path: Path) -> Iterator[bytes]:
    """The texts of a Parquet file's columns."""
    size = 0
    for batch in pq.ParquetFile(path).iter_batches(1 << 12):
        size += batch.nbytes
        if size > LARGEST:
            return
        for column in batch.columns:
            yield from (buffer.to_pybytes() for buffer in column.buffers() if buffer is not None)
