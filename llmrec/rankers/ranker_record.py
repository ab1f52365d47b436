"""What a ranker's folder says of it, and names that rankers had."""

from __future__ import annotations

from typing import Any, Final

from llmrec.artefact import Kind, Stamp
from llmrec.console import notice_once
from llmrec.records import Digest

__all__ = ["FORMER", "RANKER", "RankerRecord", "current_name"]


class RankerRecord(Stamp, frozen=True, kw_only=True):
    """What ``ranker.json`` holds: the ranker's name, its settings, and the names of the locales that it knows."""

    ranker: str
    settings: dict[str, Any]
    locales: tuple[str, ...]
    arrays_sha256: Digest


RANKER: Final = Kind(
    what="ranker",
    holds=RankerRecord,
    make="make one: llmrec rank RANKER ... --save {folder}",
    again="fit it again with --save",
)
FORMER: Final = {"title_vectors": "text_knn"}  # rankers by the name they had


def current_name(name: str) -> str:
    """Name of a ranker, told where ``name`` is one that it had."""
    if name not in FORMER:
        return name
    notice_once(f"the ranker '{name}' is now called '{FORMER[name]}'")
    return FORMER[name]
