"""What a locale's language decides, as data: ``languages.yaml``, and over it a user's own file.

The environment variable ``LLMREC_LANGUAGES`` names that file, so that it holds for Python, the command line, launchers
and their processes alike. A file is read once a process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Final

from llmrec.errors import ConfigError, nearest, shown
from llmrec.files import read_yaml, sha256_of

__all__ = [
    "BLEU_TOKENIZERS",
    "PAPER_BLEU",
    "VARIABLE",
    "WORD_BREAKS",
    "Locale",
    "bleu_tokenizer",
    "known_languages",
    "language_of",
    "languages_record",
    "locale_of",
    "locales",
    "own_phrases",
    "own_speech",
]

VARIABLE: Final = "LLMREC_LANGUAGES"
PAPER_BLEU: Final = "13a"  # paper §4.3; every locale's headline BLEU, whatever its own tokenizer
BLEU_TOKENIZERS: Final = (PAPER_BLEU, "char", "intl", "none", "zh")  # sacrebleu's that need no download
WORD_BREAKS: Final = ("spaces", "characters")
_SHIPPED: Final = Path(__file__).with_name("languages.yaml")
_CODE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")  # it goes into `lang` of HTML as it is
_SECTIONS: Final = ("locales", "phrases")

Phrases = Mapping[str, Mapping[str, Mapping[str, str]]]


@dataclass(frozen=True)
class Locale:
    """What ``languages.yaml`` says of a locale.

    Attributes:
        language: ISO 639 code of its titles.
        wording: Language of the prompts' phrases where a prompt has none in ``language``.
        bleu: Tokenizer of its own BLEU, one of `BLEU_TOKENIZERS`.
        words: Where its words end, one of `WORD_BREAKS`: a page breaks a title's line there.
    """

    language: str = "en"
    wording: str = "en"
    bleu: str = PAPER_BLEU
    words: str = WORD_BREAKS[0]


_CHOICES: Final = {"bleu": BLEU_TOKENIZERS, "words": WORD_BREAKS}
_KEYS: Final = tuple(field.name for field in fields(Locale))


def locales() -> Mapping[str, Locale]:
    """The known locales by name, those of the package first.

    Raises:
        ConfigError: the user's file is missing or malformed; names file, locale, key and value. So do all that follow.
    """
    return _merged(_own_file())


def locale_of(locale: str) -> Locale:
    """What is known of a locale; English where no file names it."""
    return locales().get(locale, Locale())


def language_of(locale: str) -> str:
    """ISO 639 code of a locale's titles; English for a locale that no file names."""
    return locale_of(locale).language


def bleu_tokenizer(locale: str) -> str:
    """Tokenizer of a locale's own BLEU."""
    return locale_of(locale).bleu


def known_languages() -> tuple[str, ...]:
    """Languages of the package's locales and of the user's, each once, in their order."""
    return tuple(dict.fromkeys(one.language for one in (*_merged(None).values(), *locales().values())))


def own_phrases() -> tuple[Path | None, Phrases]:
    """The user's file and its phrases, by prompt and language; None and none without one."""
    own = _own_file()
    return (None, {}) if own is None else (Path(own), _read(own)[1])


def own_speech(prompt: str) -> dict[str, Any]:
    """What the user's file changes in how a prompt speaks: empty without one, or where it changes nothing of that."""
    own = _own_file()
    if own is None:
        return {}
    shipped = _merged(None)
    spoken = {
        name: [one.language, one.wording]
        for name, one in _merged(own).items()
        if (one.language, one.wording) != (shipped.get(name, Locale()).language, shipped.get(name, Locale()).wording)
    }
    phrases = _read(own)[1].get(prompt)
    return ({"locales": spoken} if spoken else {}) | ({"phrases": phrases} if phrases else {})


def languages_record() -> dict[str, str]:
    """Name and SHA-256 of the user's file, for provenance; empty without one."""
    own = _own_file()
    if own is not None:
        _read(own)
    return {} if own is None else {"file": Path(own).name, "sha256": sha256_of(Path(own))}


def _own_file() -> str | None:
    return os.environ.get(VARIABLE) or None


@cache
def _merged(own: str | None) -> dict[str, Locale]:
    """Locales of the package, and over them the user's, key by key."""
    entries = _read(str(_SHIPPED))[0]
    if own is not None:
        for name, entry in _read(own)[0].items():
            entries[name] = {**entries.get(name, {}), **entry}
    return {name: Locale(**entry) for name, entry in entries.items()}


@cache
def _loaded(path: str) -> Any:
    return read_yaml(Path(path), f"mend {VARIABLE}, or unset it")


def _read(path: str) -> tuple[dict[str, dict[str, str]], Phrases]:
    """Locales and phrases of a file, checked."""
    content = _loaded(path)
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"{path}: a language file is a mapping with 'locales' or 'phrases'")
    for key in content:
        if key not in _SECTIONS:
            raise ConfigError(f"{path}: unknown key '{key}'{nearest(str(key), _SECTIONS)}")
    entries, phrases = (content.get(key) or {} for key in _SECTIONS)
    if not isinstance(entries, dict):
        raise ConfigError(f"{path}: 'locales' must map each locale to its settings; got {shown(entries)}")
    for name, entry in entries.items():
        _check_locale(path, name, entry)
    if not isinstance(phrases, dict) or not all(isinstance(name, str) for name in phrases):
        raise ConfigError(f"{path}: 'phrases' must map prompts to languages and these to phrases; got {shown(phrases)}")
    return {name: dict(entry) for name, entry in entries.items()}, phrases


def _check_locale(path: str, name: Any, entry: Any) -> None:
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f'{path}: locale {shown(name)} is no text; write it in quotes, as "NO"')
    where = f"{path}: locale '{name}'"
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} must be a mapping such as {{language: nl}}; got {shown(entry)}")
    for key, value in entry.items():
        if key not in _KEYS:
            raise ConfigError(f"{where}: unknown key '{key}'{nearest(str(key), _KEYS)}")
        if key in _CHOICES:
            if value not in _CHOICES[key]:
                raise ConfigError(f"{where}: '{key}' must be one of {', '.join(_CHOICES[key])}; got {shown(value)}")
        elif not (isinstance(value, str) and _CODE.fullmatch(value)):
            raise ConfigError(f"{where}: '{key}' must be a language code such as nl or \"no\"; got {shown(value)}")
