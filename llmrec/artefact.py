"""A fitted thing on disk: a JSON record says what it is, a safetensors file holds what it learnt.

A folder a thing. It appears whole or not at all, never in the place of something else; nothing in it is unpickled; and
what cannot be read is one line that says how to make it again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from llmrec.errors import ConfigError, LlmrecError, ModelError
from llmrec.files import held_in, sha256_of
from llmrec.output import atomic_folder
from llmrec.records import Digest, read_record, record_text

__all__ = ["ARRAYS", "Arrays", "Kind", "Stamp", "arrays_header", "arrays_mapped"]

Arrays = Mapping[str, NDArray[Any]]

ARRAYS: Final = "arrays.safetensors"
_CHECKSUM: Final = "arrays_sha256"
_HEADER_BYTES: Final = 1 << 20  # a few dozen arrays are named in some thousand
_MAPS: Final = ContextVar("maps", default=False)
_WRONG: Final = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError, MemoryError)


class Stamp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every record holds; a kind's own adds to it.

    Attributes:
        format: What the record calls its form.
        version: Of the form.
        arrays_sha256: Checksum of the file of arrays; None where there is none.
    """

    format: str
    version: int
    arrays_sha256: Digest | None = None


R = TypeVar("R", bound=Stamp)


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[R]):
    """What a folder may hold: names, version, and the words of its errors.

    Attributes:
        what: What it is called.
        record: File of the record; ``WHAT.json`` if not given.
        holds: What a record holds.
        make: How one is made; ``{folder}`` stands for the folder.
        again: How one is made again.
        arrays: File of the arrays.
        version: Of the form; another one is not read.
        error: What is raised where one cannot be read.
    """

    what: str
    holds: type[R]
    make: str
    again: str
    record: str = ""
    arrays: str = ARRAYS
    version: int = 1
    error: type[LlmrecError] = ModelError

    def __post_init__(self) -> None:
        object.__setattr__(self, "record", self.record or f"{self.what}.json")

    @property
    def format(self) -> str:
        """What the record calls its form."""
        return f"llmrec {self.what}"

    def is_at(self, folder: Path) -> bool:
        """Whether a folder holds one, readable or not: one that was cut short may be made again in its place."""
        file = folder / self.record
        return file.is_file() and f'"{self.format}"' in file.read_text(encoding="utf-8", errors="replace")

    def refuse_foreign(self, folder: Path) -> None:
        """Refuse to write one in the place of something else.

        Raises:
            ConfigError: ``folder`` holds something else.
        """
        if folder.exists() and not self.is_at(folder) and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"{folder}: exists and holds no {self.what}; choose another folder")

    @contextmanager
    def written(self, folder: Path, fields: Mapping[str, Any], arrays: Arrays | None = None) -> Iterator[Path]:
        """Write one; the block puts what else belongs to it beside, in the temporary folder that it is given.

        Args:
            folder: Where it is when the block ends without an error; one that was there stays until then.
            fields: The record without its stamp.
            arrays: What it learnt; None for one that keeps nothing or files of its own.

        Raises:
            ConfigError: ``folder`` holds something else.
            DiskError: the place cannot be written. ``folder`` is then as it was.
        """
        self.refuse_foreign(folder)
        with atomic_folder(folder) as temporary:
            self.put(temporary, fields, arrays)
            yield temporary

    def put(self, folder: Path, fields: Mapping[str, Any], arrays: Arrays | None = None) -> str | None:
        """Write record and arrays, as `written`, into a folder that is being made; gives the arrays' checksum."""
        record = self.stamped(fields)
        if arrays is not None:
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / self.arrays)
            record[_CHECKSUM] = sha256_of(folder / self.arrays)
        (folder / self.record).write_text(record_text(record), encoding="utf-8")
        return record.get(_CHECKSUM)

    def write(self, folder: Path, fields: Mapping[str, Any], arrays: Arrays | None = None) -> None:
        """Write one that is no more than its record and arrays; as `written`."""
        with self.written(folder, fields, arrays):
            pass

    def stamped(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """A record: form, version and ``fields``."""
        return {"format": self.format, "version": self.version, **fields}

    def read(self, folder: Path) -> R:
        """Read the record.

        Raises:
            `error`: there is none, it is of another version, or it is damaged.
        """
        file = folder / self.record
        other = held_in(folder)
        if not file.is_file() or (other.endswith("a store") and not self.is_at(folder)):  # whose record has that name
            make = self.make.format(folder=folder)
            raise self.error(f"{folder}: no {self.what} here{other} (no {self.record}); {make}")
        return read_record(file, self.holds, self.again, format=self.format, version=self.version, error=self.error)

    def read_arrays(self, folder: Path, record: R) -> dict[str, NDArray[Any]]:
        """Read the arrays that belong to a record; one that states no checksum is taken at its word.

        Raises:
            `error`: they are missing, or not those that were written.
        """
        file = folder / self.arrays
        if not file.is_file() or record.arrays_sha256 not in (None, sha256_of(file)):
            raise self.error(f"{file}: missing or damaged (its checksum is not {self.record}'s); {self.again}")
        try:
            with file.open("rb") as handle:
                if int.from_bytes(handle.read(8), "little") > _HEADER_BYTES:  # which would be read whole
                    raise ValueError("its header is no header")
            return _mapped(file) if _MAPS.get() else dict(load_file(file))
        except (OSError, SafetensorError, *_WRONG) as error:  # KeyError: a kind of number that numpy has not
            raise self.error(f"{file}: missing or damaged; {self.again}") from error

    @contextmanager
    def understood(self, folder: Path) -> Iterator[None]:
        """Turn what goes wrong where a record and arrays are made a thing again into one line.

        Raises:
            `error`: the block met a wrong key, value, kind or shape.
        """
        try:
            yield
        except (ConfigError, OSError, *_WRONG) as error:
            reason = " ".join(str(error).split()).removeprefix(f"{folder}: ")
            raise self.error(f"{folder}: damaged {self.what} ({reason}); {self.again}") from error


@contextmanager
def arrays_mapped() -> Iterator[None]:
    """Map the arrays that are read in the block into memory: processes that read the same ones hold them once.

    What is written into one of them stays with who writes it. A file must not change once it is read, as none does that
    this module has written: another takes its place.
    """
    token = _MAPS.set(True)
    try:
        yield
    finally:
        _MAPS.reset(token)


def _mapped(file: Path) -> dict[str, NDArray[Any]]:
    """Arrays of a file of safetensors, which checks that each is within the file and of its size."""
    with safe_open(file, framework="numpy") as opened:
        names = list(opened.keys())
    held = np.memmap(file, dtype=np.uint8, mode="c")
    start = 8 + int(held[:8].view("<u8")[0])
    header = msgspec.json.decode(held[8:start].tobytes())
    arrays: dict[str, NDArray[Any]] = {}
    for name in names:
        kind, (first, end) = header[name]["dtype"], header[name]["data_offsets"]
        plain = "?" if kind == "BOOL" else f"<{kind[0].lower()}{int(kind[1:]) // 8}"  # ValueError: numpy has it not
        arrays[name] = np.asarray(held[start + first : start + end]).view(plain).reshape(header[name]["shape"])
    return arrays


def arrays_header(forms: Mapping[str, tuple[str, Sequence[int]]]) -> bytes:
    """What a file of arrays begins with that is written piece by piece: kind and shape of each, in the file's order."""
    entries: dict[str, Any] = {}
    start = 0
    for name, (kind, shape) in forms.items():
        dtype = np.dtype(kind)
        end = start + dtype.itemsize * math.prod(shape)
        bits = f"{dtype.kind.upper()}{8 * dtype.itemsize}"
        entries[name] = {"dtype": bits, "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = msgspec.json.encode(entries)
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
