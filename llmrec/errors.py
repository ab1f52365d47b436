"""Everything that a user's input can make go wrong, as one tree.

* `LlmrecError`: shown as one line on stderr, exit status 2
    * `ConfigError`: a setting, flag or recipe is wrong
    * `DataError`: a file's content is wrong; names file, row and way out
    * `StoreError`: a store is missing, foreign or of another version
    * `ModelError`: a model folder or hub name cannot be loaded
    * `MissingExtraError`: an optional package is not installed
    * `DiskError`: an artefact could not be written

Any other exception is a bug and keeps its traceback. A message never holds what logs in somewhere: `without_secrets`
takes it out of every error, and of all else that is shown, logged or recorded.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = [
    "SHORTEST_SECRET",
    "ConfigError",
    "DataError",
    "DiskError",
    "LlmrecError",
    "MissingExtraError",
    "ModelError",
    "StoreError",
    "nearest",
    "needing",
    "require",
    "secrets_of",
    "shown",
    "without_panic",
    "without_secret_arguments",
    "without_secrets",
]

_LONGEST: Final = 80  # characters of a wrong value
_WRITTEN: Final = ("builtins", "datetime", "pathlib", "decimal", "numpy")  # whose values are shown as they are
_LONGEST_LINE: Final = 1_400
_LONG: Final = 400  # characters that no name has but by design
_LONG_WORD: Final = re.compile(rf"\S{{{_LONG},}}")
HIDDEN: Final = "***"
SHORTEST_SECRET: Final = 6  # to cut a shorter secret out of a text would tear words and hide nothing
_NAME: Final = (  # of what holds a secret: `api_key`, `HF_TOKEN`, `--password`, but not `max_tokens` or `tokenizer`
    r"(?:[\w-]*[_-])?(?:api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|(?:client[_-]?)?secret|token"
    r"|passw(?:or)?d|passphrase|pwd|credentials?|authorization|cookie)"
)
_FORMS: Final = re.compile(  # keys that say whose they are
    r"\b(?:sk|pk|rk)[-_][\w-]{16,}|\bhf_\w{16,}|\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\bgh[a-z]_\w{20,}|\bgithub_pat_\w{20,}"
    r"|\bglpat-[\w-]{16,}|\bxox[a-z]-[\w-]{10,}|\bAIza[\w-]{30,}|\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"
    r"|(?<=\bBearer )\S{6,}|(?<=\bBasic )[\w+/=-]{6,}"
)
_VARIABLE: Final = re.compile(rf"(?i){_NAME}")
_ASSIGNED: Final = re.compile(
    rf"(?i)(\b{_NAME}[\"']?\s*[:=]\s*[\"']?)(?:(?:bearer|basic|token)\s+)?[^\s\"',;&)}}\]*]{{4,}}"
)
_LOGIN: Final = re.compile(
    r"(?:(?<=://)|(?<=:/))[^/\s]*@|(?<![\w/@.:%+-])[^\s/@:\"'=]+:[^\s/@\"'()]+@(?=[\w\[])(?!https?://)"
)  # or without http://; nobody logs in to a URL: `openai:MODEL@http://…` names an encoder
_URL: Final = re.compile(
    r"(?i)(\b[a-z][a-z0-9+.-]+:/(?:/|(?!/))|\burl: (?=/))([^\s\"'<>`|]*)"
)  # `url: /path`: as urllib3 says it
_TOLD: Final = re.compile(r"(?i)(/(?:token|key|api[_-]?key|secret|auth)/)[^/?#]{4,}")
_WORD: Final = re.compile(r"[\w%~+=.-]{16,}")
_QUERY: Final = re.compile(r"\?[^?#]*\w[^#]*|#[^#]*=.*")
_UUID: Final = re.compile(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RUN: Final = re.compile(r"[A-Za-z0-9]{16,}")


class LlmrecError(Exception):
    """What the user gave cannot be used; the message is one line that names the way out, and no secret.

    A message repeats what files hold: of a word as long as a page, and of a page of words, both ends are told.

    Example:
        >>> import llmrec
        >>> try:
        ...     llmrec.fit("covisitt", [["tea", "cup"]])
        ... except llmrec.LlmrecError as error:
        ...     message = str(error)
        >>> message
        "no ranker 'covisitt'; did you mean 'covisit'?"
    """

    def __init__(self, message: Any = "") -> None:
        text = _LONG_WORD.sub(lambda word: _ends(word[0], _LONG // 2), without_secrets(str(message)))
        super().__init__(_ends(text, _LONGEST_LINE))


class ConfigError(LlmrecError):
    """A setting, flag or recipe is wrong."""


class DataError(LlmrecError):
    """A file's content is wrong."""


class StoreError(LlmrecError):
    """A store is missing, foreign or of another version."""


class ModelError(LlmrecError):
    """A model folder or hub name cannot be loaded."""


class MissingExtraError(LlmrecError):
    """An optional package is not installed."""


class DiskError(LlmrecError):
    """An artefact could not be written."""


def _ends(text: str, most: int) -> str:
    """A text of at most ``most`` characters: its two ends where it has more."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[1 - most // 2 :]}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the closest known name, else the list of what is known."""
    options = sorted(known)
    close = difflib.get_close_matches(name, options, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(options)}"


def require(module: str, extra: str) -> ModuleType:
    """Import ``module`` or say which extra brings it.

    Raises:
        MissingExtraError: the package is not installed.
    """
    with needing(extra):
        found = importlib.import_module(module)
    return found


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Say which extra brings a package that is not installed, where the block imports one; no extra, no word.

    Raises:
        MissingExtraError: a package of somebody else is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "llmrec").split(".")[0]
        if not extra or package == "llmrec":
            raise
        raise MissingExtraError(f"{package} is not installed; pip install 'llmrec[{extra}]'") from error


@contextmanager
def without_panic() -> Iterator[None]:
    """Turn the panic of a library in Rust, which is no `Exception`, into one: nothing is wrong but what it was given.

    Raises:
        ValueError: the block panicked.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(str(error)) from error


def shown(value: Any) -> str:
    """A wrong value as an error repeats it: one line, without secrets, cut where it is long; of an object its kind."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = repr(value)
    if text.startswith("<") or "\n" in text or type(value).__module__.split(".")[0] not in _WRITTEN:
        kind = type(value).__name__
        return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"
    text = without_secrets(text)  # before it is cut: half a secret looks like none
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def without_secrets(text: str, known: Iterable[str] = ()) -> str:
    """A text with no key, password or token in it.

    URLs lose user and password; their query and parts of their path that look like a key become ``***``. So do,
    anywhere, keys of a known form (``sk-…``, ``hf_…``, a JSON web token), what is assigned to a name such as
    ``api_key``, and the values of the environment's variables of such names.

    Args:
        text: Anything that is shown, logged or recorded.
        known: Further secrets, from `secrets_of`.
    """
    for secret in sorted({*known, *_of_environment()}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _URL.sub(lambda url: url[1] + _bare(url[2]), _LOGIN.sub("", text))
    return _FORMS.sub(HIDDEN, _ASSIGNED.sub(rf"\1{HIDDEN}", text))


def without_secret_arguments(words: Sequence[str]) -> list[str]:
    """A command line's words by `without_secrets`; what follows a flag such as ``--api-key`` becomes ``***`` too."""
    kept: list[str] = []
    for word, before in zip(words, ["", *words], strict=False):
        flag, equals, value = word.partition("=")
        if before.startswith("-") and _VARIABLE.fullmatch(before.lstrip("-")):
            kept.append(HIDDEN)
        elif value and _VARIABLE.fullmatch(flag.lstrip("-")):
            kept.append(f"{flag}{equals}{HIDDEN}")
        else:
            kept.append(without_secrets(word))
    return kept


def secrets_of(url: str) -> tuple[str, ...]:
    """What a URL logs in with: password (as written, decoded, as a header), key-like parts of its path, its query."""
    try:
        parts = urlsplit(url)
        password = parts.password or ""
        login = f"{unquote(parts.username or '')}:{unquote(password)}"
    except ValueError:
        return ()
    found = [password, unquote(password), b64encode(login.encode()).decode() if password else ""]
    found += [
        part for part, shown in zip(url.split("/"), without_secrets(url).split("/"), strict=False) if part != shown
    ]
    found += [
        *(word for word in _WORD.findall(parts.path) if _is_key(word)),
        *(one for _, one in parse_qsl(parts.query)),
    ]
    return tuple(dict.fromkeys(one for one in found if len(one) >= SHORTEST_SECRET))


def _of_environment() -> set[str]:
    held = {name: value for name, value in os.environ.items() if name != "PWD"}  # there a folder, no password
    return {value for name, value in held.items() if len(value) >= SHORTEST_SECRET and _VARIABLE.fullmatch(name)}


def _bare(rest: str) -> str:
    """What follows the ``//`` of a URL, without what logs in."""
    if re.match(r"[^/\[]*:\D", rest):  # no port: a password, which has a slash in it
        rest = rest.rpartition("@")[2]
    rest = _TOLD.sub(rf"\1{HIDDEN}", _QUERY.sub(lambda query: f"{query[0][0]}{HIDDEN}", rest))
    host, slash, path = rest.partition("/")
    return host + slash + _WORD.sub(lambda word: HIDDEN if _is_key(word[0]) else word[0], path)


def _is_key(word: str) -> bool:
    """Whether a part of a path was drawn rather than named."""
    run = _RUN.search(word)
    if _UUID.search(word) or (run and sum(map(str.isdigit, run[0])) > 1 and not run[0].isdigit()):
        return True
    kinds = [bool(re.search(kind, word)) for kind in ("[a-z]", "[A-Z]", "[0-9]")]
    return len(word) >= 20 and all(kinds) and not re.search("[a-z]{7}", word)
