"""What the page shows beside what is served."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["PagePlaces"]


@dataclass(frozen=True, kw_only=True)
class PagePlaces:
    """What the page shows beside what is served.

    Attributes:
        sessions: Files of sessions to draw from.
        compare: Folders of rankers to set beside the served one.
        runs: Folder of runs and results.
        private: Whether nobody but the one who started it asks, who may be told where things are.
        secret: What the paths of reports are made of, the same in every worker.
        growing: Says what is being made while the page is looked at; empty where nothing is.
    """

    sessions: Sequence[Path] = ()
    compare: Sequence[Path] = ()
    runs: Path | None = None
    private: bool = False
    secret: str = field(default_factory=secrets.token_urlsafe, repr=False)
    growing: Callable[[], str] = str
