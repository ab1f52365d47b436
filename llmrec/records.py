"""Records of ours: JSON that is checked as it is read, and that says of itself whether it is whole.

A record is written with ``checksum``: SHA-256 of the rest as canonical JSON (keys sorted, no blanks, UTF-8). A record
without one, from before, counts as whole where every value is of its type. Types are dataclasses or `msgspec.Struct`,
whose ranges are `msgspec.Meta` and whose relations are ``__post_init__``'s (ValueError). Reading is strict: no NaN, no
key twice, no unknown key, no ``317.0`` for 317.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Annotated, Any, Final, TypeVar

import msgspec

from llmrec.display import shortened, visible
from llmrec.errors import DataError, LlmrecError
from llmrec.output import write_text

__all__ = [
    "Count",
    "Digest",
    "FileName",
    "line_text",
    "parse_record",
    "read_lines",
    "read_record",
    "record_text",
    "write_record",
]

R = TypeVar("R")

Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]  # beyond, other readers of JSON round
Digest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
FileName = Annotated[str, msgspec.Meta(pattern=r"\A(?!\.{1,2}\Z)[^/\\\x00]+\Z", max_length=255)]  # in its own folder

LARGEST: Final = 1 << 24  # bytes of a record, or of a line of several
_CHECKSUM: Final = "checksum"
_LINE: Final = "line"
_REASON: Final = 200  # characters
_DEEPEST: Final = 64  # lists and mappings within one another: whoever walks or compares a record has room to


def read_record(
    path: Path,
    cls: type[R],
    again: str,
    *,
    format: str | None = None,
    version: int | None = None,
    error: type[LlmrecError] = DataError,
) -> R:
    """Read a record from a file.

    Args:
        path: JSON file.
        cls: Type of the record. A dataclass has a field for every key; a struct says itself whether it must.
        again: How it is made again, for the error's line.
        format: What the record must say under ``format``.
        version: And under ``version``.
        error: What is raised.

    Raises:
        `error`: there is none, it is of another version, or it is damaged.
    """
    return parse_record(_content(path, again, error), cls, path, again, format=format, version=version, error=error)


def parse_record(
    content: bytes | str,
    cls: type[R],
    where: Path | str,
    again: str,
    *,
    format: str | None = None,
    version: int | None = None,
    line: int | None = None,
    error: type[LlmrecError] = DataError,
) -> R:
    """A record from its JSON, as `read_record`; ``where`` begins the error; ``line`` is its number among others."""
    try:
        record = _parsed(content)
        if isinstance(record, dict):
            stated = record.pop(_CHECKSUM, None)
            if format is not None and record["format"] != format:
                raise error(f"{where}: not a record of '{format}'; {again}")
            if version is not None and isinstance(held := record["version"], int) and held != version:
                raise error(f"{where}: of version {held}, this llmrec reads {version}; {again}")
            if _checksum(record) != stated and stated is not None:  # refuses lone surrogates, too
                raise ValueError("its checksum is not that of its content")
            if line is not None and record.pop(_LINE, line) != line:  # of before: without
                raise ValueError("it was another line")
        value: R = msgspec.convert(record, cls)
        if not isinstance(value, msgspec.Struct):
            for key in _unknown(record, msgspec.to_builtins(value, str_keys=True)):
                raise ValueError(f"unknown key '{key}'")
    except (ValueError, RecursionError) as problem:
        raise error(f"{where}: damaged ({_reason(problem)}); {again}") from problem
    except KeyError as problem:
        raise error(f"{where}: damaged (no {problem}); {again}") from problem
    return value


def write_record(path: Path, record: Any) -> None:
    """Write a record with its checksum, atomically; see `record_text`.

    Raises:
        DiskError: the place cannot be written.
    """
    write_text(path, record_text(record))


def record_text(record: Any) -> str:
    """A mapping, dataclass or struct as JSON with its checksum, for people to read too.

    Numbers that are not finite become null, and lone surrogates question marks.
    """
    return json.dumps(_stamped(record), indent=2, ensure_ascii=False) + "\n"


def line_text(record: Any, line: int) -> str:
    """`record_text` as one line of a file of several, which holds its number from 1: none goes or moves unseen."""
    content = msgspec.to_builtins(record, str_keys=True, enc_hook=_builtin)
    return json.dumps(_stamped({**content, _LINE: line}), ensure_ascii=False) + "\n"


def read_lines(
    path: Path, cls: type[R], again: str, *, appended: bool = False, error: type[LlmrecError] = DataError
) -> Iterator[R]:
    """Records of a file that holds one a line.

    Args:
        path: The file.
        cls: As for `read_record`; so are ``again`` and ``error``.
        again: How the file is made again.
        appended: Whether it grows by appending: a last line that a killed process cut short is left out.
        error: What is raised.

    Raises:
        `error`: the file cannot be read, or a line is damaged, missing or in another place.
    """
    with _opened(path, again, error) as handle:
        for number, line in enumerate(iter(lambda: handle.readline(LARGEST), b""), 1):
            try:
                yield parse_record(line, cls, f"{path}, line {number}", again, line=number, error=error)
            except error:
                if not appended or line.endswith(b"\n") or len(line) == LARGEST:
                    raise


def _opened(path: Path, again: str, error: type[LlmrecError]) -> IO[bytes]:
    if not path.is_file():  # a pipe would never end
        raise error(f"{path}: {'no file' if path.exists() else 'is missing'}; {again}")
    try:
        return path.open("rb")
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}); {again}") from problem


def _content(path: Path, again: str, error: type[LlmrecError]) -> bytes:
    with _opened(path, again, error) as handle:
        content = handle.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise error(f"{path}: larger than a record can be ({LARGEST >> 20} MiB); {again}")
    return content


def _parsed(content: bytes | str) -> Any:
    """What JSON holds; a number that is none (NaN, -Infinity, as they were written before) is None."""
    text = content if isinstance(content, str) else content.decode("utf-8")
    record = json.loads(text, object_pairs_hook=_mapping, parse_float=_finite, parse_constant=lambda _: None)
    level = [record]
    for _ in range(_DEEPEST):
        level = [one for held in level for one in _members(held)]
    if level:
        raise RecursionError
    return record


def _members(content: Any) -> Iterable[Any]:
    """What a list or a mapping holds."""
    if isinstance(content, dict):
        return content.values()
    return content if isinstance(content, list) else ()


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key stands twice")
    return content


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"the number {text[:20]} is too large")
    return number


def _canonical(content: Any) -> bytes:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(content)).hexdigest()


def _stamped(record: Any) -> dict[str, Any]:
    content: dict[str, Any] = _plain(msgspec.to_builtins(record, str_keys=True, enc_hook=_builtin))
    return content | {_CHECKSUM: _checksum(content)}


def _builtin(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, float):  # numpy's
        return float(value)
    raise TypeError(f"a record holds no {type(value).__name__}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_plain(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _unknown(content: Any, known: Any) -> Iterator[str]:
    """Keys at any depth that their type has no field for."""
    if isinstance(content, dict):
        for key, one in content.items():
            if key in known:
                yield from _unknown(one, known[key])
            else:
                yield key
    elif isinstance(content, list):
        for one, its in zip(content, known, strict=True):
            yield from _unknown(one, its)


def _reason(problem: Exception) -> str:
    """A problem in a few words, which begin with the place."""
    if isinstance(problem, RecursionError):
        return "nested too deeply"
    if isinstance(problem, UnicodeError):
        return "not UTF-8"
    if isinstance(problem, json.JSONDecodeError):
        return f"not JSON: {problem.msg}, line {problem.lineno}"
    text, _, place = " ".join(str(problem).split()).partition(" - at `$")
    found = f"{place.strip('.`')}: " if place else ""
    return shortened(visible(f"{found}{text[:1].lower()}{text[1:]}".replace("`", "")), _REASON)
