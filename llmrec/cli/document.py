"""``--json`` and ``--quiet``, which every verb takes: one document on standard output for programs, or fewer words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

from llmrec import __version__
from llmrec.console import heard, out, print_json, stderr
from llmrec.errors import (
    ConfigError,
    DataError,
    DiskError,
    LlmrecError,
    MissingExtraError,
    ModelError,
    StoreError,
    without_secrets,
)
from llmrec.settings import flag_of

__all__ = [
    "CODES",
    "OTHER_CODES",
    "SCHEMA",
    "STATUSES",
    "Asked",
    "Document",
    "asked_for",
    "code_of",
    "documented",
    "plain",
    "tell_error",
    "tell_result",
    "tell_settings",
    "verb_of",
    "write",
]

SCHEMA: Final = 1  # counts up when a key goes or changes its meaning; new keys may come at any time
STATUSES: Final = {
    0: "done",
    1: "a cell of `reproduce` failed, or a bug",
    2: "the input or a setting is wrong",
    130: "interrupted (Ctrl-C)",
    141: "the reader of the output went away",
    143: "told to end (SIGTERM)",
}
CODES: Final = {
    ConfigError: "config",
    DataError: "data",
    StoreError: "store",
    ModelError: "model",
    MissingExtraError: "missing_extra",
    DiskError: "disk",
}
OTHER_CODES: Final = ("usage", "failed", "interrupted", "bug")
_NOTHING: Final[tuple[Any, ...]] = (None, (), [], {})


@dataclasses.dataclass(frozen=True)
class Asked:
    """What was asked of every verb alike, and the words that are left for the verb.

    Attributes:
        words: The command line without these flags.
        document: Whether one document is to be written.
        quiet: Whether progress and notices are to be left out.
    """

    words: list[str]
    document: bool = False
    quiet: bool = False


@dataclasses.dataclass
class Document:
    """What a verb did, as it is written for programs.

    Attributes:
        verb: What was typed behind ``llmrec``.
        inputs: Paths that were read, by setting.
        settings: All settings as they were in the end.
        artefacts: What was written, by setting.
        result: What the verb found out, as JSON holds it; None where its artefacts are all.
        notices: What was told on the way.
        error: ``code`` and ``message``; None where it is done.
    """

    verb: str = ""
    inputs: dict[str, Any] = dataclasses.field(default_factory=dict)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    artefacts: dict[str, Any] = dataclasses.field(default_factory=dict)
    result: Any = None
    notices: list[str] = dataclasses.field(default_factory=list)
    error: dict[str, str] | None = None

    def take_settings(self, settings: Any) -> None:
        """Note what a verb was called with."""
        for field in dataclasses.fields(settings):
            value = plain(getattr(settings, field.name))
            self.settings[field.name] = value
            if field.metadata.get("output") and value is not None:
                self.artefacts[field.name] = value
            elif _names_files(field, getattr(settings, field.name)):
                self.inputs[field.name] = value

    def as_json(self, status: int) -> dict[str, Any]:
        """The document."""
        head = {"schema": SCHEMA, "llmrec": __version__, "verb": self.verb, "status": status}
        written = {name: path for name, path in self.artefacts.items() if _is_there(path)}
        return {**head, **dataclasses.asdict(self), "artefacts": written}


_DOCUMENT: Final[ContextVar[Document | None]] = ContextVar("document", default=None)


def verb_of(argv: Sequence[str], verbs: Sequence[str], default: str = "") -> str:
    """The verb that a command line names; empty where it names none. A group's verb ``default`` may be left out."""
    words = [word for word in argv if not word.startswith("-")]
    names = (" ".join(words[:2]), *words[:1], f"{words[0]} {default}") if words else ()
    return next((name for name in names if name in verbs), "")


def asked_for(argv: Sequence[str], job: Callable[[], type[Any]]) -> Asked:
    """Take ``--json`` and ``--quiet`` out of a command line.

    Args:
        argv: What was typed.
        job: The dataclass of the verb: where it has ``--json FILE`` itself, that stays what it is.
    """
    if not {"--json", "--quiet"} & {*argv}:
        return Asked([*argv])
    own = {flag_of(field) for field in dataclasses.fields(job())}
    end = argv.index("--") if "--" in argv else len(argv)
    left, asked = [], {"--json": False, "--quiet": False}
    for word, following in zip(argv[:end], [*argv[1:end], "--"], strict=True):
        takes_value = word in own and (following == "-" or not following.startswith("-"))
        if word in asked and not takes_value:
            asked[word] = True
        else:
            left.append(word)
    return Asked([*left, *argv[end:]], asked["--json"], asked["--quiet"])


@contextmanager
def documented(verb: str, asked: Asked) -> Iterator[Document]:
    """Give a document that a verb and what it tells are noted in, while tables and, if asked for, notices are left out.

    Where no document was asked for it is given all the same, and is not written.
    """
    document = Document(verb)
    token = _DOCUMENT.set(document)
    before = out.quiet, stderr.quiet
    out.quiet, stderr.quiet = asked.document or before[0], asked.quiet or before[1]
    try:
        with heard(document.notices):
            yield document
    finally:
        out.quiet, stderr.quiet = before
        _DOCUMENT.reset(token)


def tell_settings(settings: Any) -> None:
    """Note what a verb was called with."""
    if (document := _DOCUMENT.get()) is not None:
        document.take_settings(settings)


def tell_result(result: Any) -> None:
    """Note what a verb found out."""
    if (document := _DOCUMENT.get()) is not None:
        document.result = plain(result)


def tell_error(code: str, message: str) -> None:
    """Note why a verb ended without being done."""
    if (document := _DOCUMENT.get()) is not None:
        document.error = {"code": code, "message": without_secrets(" ".join(message.split()))}


def write(document: Document, status: int) -> None:
    """Write the document on standard output."""
    print_json(document.as_json(status))


def code_of(error: BaseException) -> str:
    """Code of an error in a document."""
    found = next((code for kind, code in CODES.items() if isinstance(error, kind)), "")
    return found or ("config" if isinstance(error, LlmrecError) else "bug")


def plain(value: Any) -> Any:
    """A value as JSON holds it: dataclasses and mappings by name, paths and other things as text, NaN as null."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {
            str(key) if not isinstance(key, tuple) else " ".join(map(str, key)): plain(one)
            for key, one in value.items()
        }
    for method in ("to_pylist", "tolist"):  # Arrow's and NumPy's
        if hasattr(value, method):
            return plain(getattr(value, method)())
    if isinstance(value, Sequence | set | frozenset):
        return [plain(one) for one in value]
    return without_secrets(str(value))


def _names_files(field: dataclasses.Field[Any], value: Any) -> bool:
    if value in _NOTHING:
        return False
    some = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(one, Path) for one in some) or field.name in ("model", "runs", "files")


def _is_there(path: Any) -> bool:
    with suppress(OSError, ValueError):
        return Path(path).exists()
    return False
