"""What a GGUF file says of itself, read with suspicion: every length is held against the file's before it is believed.

The form is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from llmrec.errors import ModelError, require, shown

__all__ = ["Header", "Tensor", "is_gguf", "read_header"]

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
_FORMS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
MOST_KEYS: Final = 4_096
MOST_TENSORS: Final = 65_536
MOST_ELEMENTS: Final = 1 << 24  # of an array: the largest vocabularies have a sixtieth of it
NAME_BYTES: Final = 256
PIECE_BYTES: Final = 4_096  # of a token; what is made of it takes the square of that
TEXT_BYTES: Final = 1 << 20  # of a chat template, a licence
MOST_DIMENSIONS: Final = 4


@dataclass(frozen=True)
class Tensor:
    """Where a tensor is.

    Attributes:
        shape: In torch's order, rows first.
        kind: The number of its type in GGML.
        start: First byte, from the start of the file.
        size: Bytes.
    """

    shape: tuple[int, ...]
    kind: int
    start: int
    size: int

    @property
    def elements(self) -> int:
        """Numbers in it."""
        return prod(self.shape)


@dataclass(frozen=True)
class Header:
    """Everything but the weights.

    Attributes:
        path: The file.
        architecture: Its ``general.architecture``.
        values: Its metadata: numbers, texts, and lists of them.
        tensors: By their names in GGUF.
    """

    path: Path
    architecture: str
    values: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def own(self, name: str, default: Any = None) -> Any:
        """A value of the architecture's: ``block_count`` is ``llama.block_count`` of a Llama."""
        return self.values.get(f"{self.architecture}.{name}", default)


def is_gguf(name: str | Path) -> bool:
    """Whether a model's name is that of a GGUF file: by its ending, or, as of Ollama's files, by how it begins."""
    path = Path(name)
    if path.suffix.lower() == ".gguf":
        return not path.is_dir()
    with suppress(OSError, ValueError):  # a hub's name, or one that no file can have
        if path.is_file():
            with path.open("rb") as handle:
                return handle.read(len(MAGIC)) == MAGIC
    return False


def read_header(path: Path) -> Header:
    """Read and check a file's metadata and its table of tensors.

    Raises:
        MissingExtraError: the package `gguf`, which knows the types of weights, is not installed.
        ModelError: it is not there, no GGUF, of another version, cut short, or says what cannot be.
    """
    require("gguf", "generate")
    if not path.is_file():
        raise ModelError(f"{path}: no such file; give the path of a .gguf file")
    try:
        with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _header(path, _Reader(content))
    except _WrongError as error:
        raise ModelError(f"{path}: {error}; download it again") from error
    except (OSError, ValueError) as error:  # it cannot be read, or is empty
        raise ModelError(f"{path}: cannot be read as GGUF ({error}); download it again") from error


class _WrongError(Exception):
    """What the file says cannot be."""


class _Reader:
    """Goes through a file, and never past its end."""

    def __init__(self, content: Any) -> None:
        self.content, self.place, self.size = content, 0, len(content)

    def take(self, number: int) -> bytes:
        if number > self.size - self.place:
            raise _WrongError(
                f"cut short: {number:,} bytes are wanted at {self.place:,}, and the file has {self.size:,}"
            )
        self.place += number
        return bytes(self.content[self.place - number : self.place])

    def numbers(self, form: str, number: int = 1) -> tuple[Any, ...]:
        each = struct.calcsize(f"<{form}")
        return struct.unpack(f"<{number}{form}", self.take(each * number))

    def number(self, form: str) -> Any:
        return self.numbers(form)[0]

    def text(self, most: int) -> str:
        length = self.number("Q")
        if length > most:
            raise _WrongError(f"a text of {length:,} bytes at {self.place:,}, where {most:,} are the most")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise _WrongError(f"a text at {self.place:,} is not UTF-8") from error

    def value(self) -> Any:
        kind = self.number("I")
        if kind == _STRING:
            return self.text(TEXT_BYTES)
        if kind != _ARRAY:
            return self.number(_form(kind))
        kind, number = self.numbers("I")[0], self.number("Q")
        least = 8 if kind == _STRING else struct.calcsize(_form(kind))
        if number > min(MOST_ELEMENTS, (self.size - self.place) // least):
            raise _WrongError(f"a list of {number:,} values at {self.place:,}, more than the file can hold")
        if kind == _STRING:
            return [self.text(PIECE_BYTES) for _ in range(number)]
        return list(self.numbers(_form(kind), number))


def _form(kind: int) -> str:
    if kind not in _FORMS:
        raise _WrongError(f"a value of type {kind}, which there is not")
    return _FORMS[kind]


def _header(path: Path, reader: _Reader) -> Header:
    magic = reader.take(4)
    if magic != MAGIC:
        raise _WrongError(f"no GGUF file: it begins with {shown(magic)}")
    version, tensors, keys = reader.number("I"), *reader.numbers("Q", 2)
    if version not in VERSIONS:
        raise _WrongError(f"GGUF of version {version}, and versions 2 and 3 are read")
    if tensors > MOST_TENSORS or keys > MOST_KEYS:
        raise _WrongError(f"{tensors:,} tensors and {keys:,} values, more than any model has")
    values: dict[str, Any] = {}
    for _ in range(keys):
        name = reader.text(NAME_BYTES)
        if name in values:
            raise _WrongError(f"{shown(name)} is given twice")
        values[name] = reader.value()
    architecture = values.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise _WrongError("does not say its general.architecture")
    return Header(path, architecture, values, _tensors(reader, tensors, values.get("general.alignment", 32)))


def _tensors(reader: _Reader, number: int, alignment: Any) -> dict[str, Tensor]:
    if not isinstance(alignment, int) or alignment not in (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096):
        raise _WrongError(f"general.alignment is {shown(alignment)}, and no power of two from 8 to 4096")
    table: dict[str, tuple[tuple[int, ...], int, int]] = {}
    for _ in range(number):
        name = reader.text(NAME_BYTES)
        if name in table:
            raise _WrongError(f"tensor {shown(name)} is there twice")
        dimensions = reader.number("I")
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise _WrongError(f"tensor {shown(name)} has {dimensions} dimensions")
        table[name] = tuple(reversed(reader.numbers("Q", dimensions))), reader.number("I"), reader.number("Q")
    start = -(-reader.place // alignment) * alignment
    found = {name: _tensor(name, *told, start, reader.size, alignment) for name, told in table.items()}
    if sum(one.size for one in found.values()) > reader.size - start:
        raise _WrongError("tensors lie on each other")
    return found


def _tensor(name: str, shape: tuple[int, ...], kind: int, offset: int, start: int, size: int, alignment: int) -> Tensor:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        block, each = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (KeyError, ValueError) as error:
        raise _WrongError(f"tensor {shown(name)} is of type {kind}, which the installed gguf does not know") from error
    if min(shape) < 1 or shape[-1] % block:
        raise _WrongError(f"tensor {shown(name)} has rows of {shape[-1]:,} numbers, which its type cannot have")
    needed = prod(shape) // block * each
    if offset % alignment or needed > size - start or offset > size - start - needed:
        raise _WrongError(
            f"cut short: tensor {shown(name)} needs {needed:,} bytes at {start + offset:,}, and the file has {size:,}"
        )
    return Tensor(shape, kind, start + offset, needed)
