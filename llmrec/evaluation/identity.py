"""Whose rows are these? Runs, sessions and targets meet row by row; each names its sessions, and names must agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmrec.console import notice_once
from llmrec.errors import DataError
from llmrec.evaluation.runs import Run

__all__ = ["check_sessions", "check_together"]


def check_sessions(run: Run, fingerprint: str | None, of: Path) -> None:
    """Refuse a run of other sessions; where one side does not name its own, say that nothing was checked.

    Args:
        run: The run.
        fingerprint: `llmrec.data.digests.sessions_fingerprint` of the sessions or targets it meets; None if not known.
        of: Where these are from.

    Raises:
        DataError: both name their sessions, and not the same.
    """
    own = run.sessions_fingerprint
    if own is None or fingerprint is None:
        silent, other = (run.path, of) if own is None else (of, run.path)
        if silent.exists():  # what is in memory comes in the order that it was made in
            notice_once(f"{silent}: does not say which sessions it is of; its rows are taken for those of {other}")
    elif own != fingerprint:
        raise DataError(
            f"{run.path}: made for other sessions than those of {of.name}, or for the same in another order; "
            "give run, sessions and targets of one split"
        )


def check_together(runs: Sequence[Run]) -> str | None:
    """Refuse runs of different sessions among some; gives what their sessions are known by, None if none says so.

    Raises:
        DataError: two name their sessions, and not the same.
    """
    first = next((run for run in runs if run.sessions_fingerprint), runs[0])
    for run in runs:
        if run is not first:
            check_sessions(run, first.sessions_fingerprint, first.path)
    return first.sessions_fingerprint
