"""Cards: a header in YAML that the hub reads, and Markdown for people, in which no text of a file is more than text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

import yaml

from llmrec.display import visible
from llmrec.errors import without_secrets
from llmrec.languages import locales as known_locales
from llmrec.reporting.blocks import Block, Heading, Notes, Paragraph, to_markdown

__all__ = ["card_text", "language_codes", "portable", "section", "size_category"]

_SIZES: Final = {
    1_000: "n<1K",
    10_000: "1K<n<10K",
    100_000: "10K<n<100K",
    1_000_000: "100K<n<1M",
}


def card_text(header: Mapping[str, Any], blocks: Sequence[Block]) -> str:
    """A card.

    Args:
        header: What the hub reads; keys without a value are left out.
        blocks: What people read, the title first.
    """
    held = {key: _plain(value) for key, value in header.items() if value not in (None, "", [], {}, ())}
    yaml_text = yaml.safe_dump(held, sort_keys=False, allow_unicode=True, width=10_000)
    return f"---\n{yaml_text}---\n\n{to_markdown(blocks)}"


def language_codes(locales: Iterable[str]) -> list[str]:
    """ISO 639 codes of some locales' languages, in the order of the language files; unknown locales have none."""
    named = set(locales)
    return [*dict.fromkeys(one.language for name, one in known_locales().items() if name in named)]


def size_category(rows: int) -> str:
    """The hub's word for a number of rows."""
    return next((name for above, name in _SIZES.items() if rows < above), "1M<n<10M" if rows < 10_000_000 else "n>10M")


def portable(value: Any) -> Any:
    """A value as others may see it: a path of this machine by its last part, and no secret."""
    if isinstance(value, str):
        for kind in (PurePosixPath, PureWindowsPath):
            if (path := kind(value)).is_absolute() and len(path.parts) > 1:
                return path.name
        return without_secrets(value.replace(str(Path.home()), "~") if len(str(Path.home())) > 1 else value)
    if isinstance(value, Mapping):
        return {key: portable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [portable(one) for one in value]
    return value


def section(title: str, *texts: str) -> list[Block]:
    """A heading and what is below it: one text as a paragraph, several as a list."""
    return [Heading(title), Paragraph(texts[0]) if len(texts) == 1 else Notes(texts)] if texts else []


def _plain(value: Any) -> Any:
    """Text without hidden characters, in what YAML dumps without a tag."""
    if isinstance(value, str):
        return visible(str(value))
    if isinstance(value, Mapping):
        return {_plain(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
