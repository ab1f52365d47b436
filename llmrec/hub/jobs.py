"""``llmrec hub push`` and ``llmrec hub pull``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec.console import busy, notice, out
from llmrec.settings import option

__all__ = ["PullJob", "PushJob", "pull", "push"]


@dataclass(frozen=True, kw_only=True)
class PushJob:
    """What to share, where, and under which licence.

    Log in first: hf auth login, or set HF_TOKEN. The card is written from the folder and the results beside it.

    Example: llmrec hub push models/covisit me/covisit --results runs/covisit.result.json --licence apache-2.0
    """

    folder: Path = option(
        ..., "Folder of a ranker, selector, encoder, title model, index or store; or a run.", argument=True
    )
    repo: str = option(..., "Repository, OWNER/NAME; made where it is not there.", argument=True)
    private: bool | None = option(None, "Make a new repository private.")
    licence: str | None = option(None, "The hub's name of its licence, for instance apache-2.0.")
    results: Sequence[Path] = option((), "Results that the card shows.", several=True)
    base_model: str | None = option(None, "Hub name of the model that it was fine-tuned from.")
    dry_run: bool = option(False, "Send nothing: print the card, and name the files.")


@dataclass(frozen=True, kw_only=True)
class PullJob:
    """What to fetch, and where to.

    Example: llmrec hub pull me/covisit models/covisit
    """

    repo: str = option(..., "OWNER/NAME, or datasets/OWNER/NAME of a store or run.", argument=True)
    folder: Path = option(..., "Folder to write.", argument=True, output="folder")
    revision: str | None = option(None, "Branch, tag or commit.")


def push(job: PushJob) -> Any:
    """Share; errors are those of `llmrec.hub.push.push_to_hub`."""
    from llmrec.hub.push import push_to_hub

    with busy(f"share {job.folder}"):
        shared = push_to_hub(
            job.folder,
            job.repo,
            private=job.private,
            licence=job.licence,
            results=job.results,
            base_model=job.base_model,
            dry_run=job.dry_run,
        )
    if job.dry_run:
        out.print(shared.card)
    for name in shared.left_out:
        notice(f"left out: {name}")
    if job.licence is None:
        notice("no licence was named, so nobody may use it unasked; --licence apache-2.0, for instance")
    done = "would be shared" if job.dry_run else f"shared as commit {shared.revision}"
    notice(f"{len(shared.files)} files {done}; to load it: llmrec hub pull {shared.repo} FOLDER")
    return {key: value for key, value in vars(shared).items() if key != "card" or job.dry_run}


def pull(job: PullJob) -> Any:
    """Fetch; errors are those of `llmrec.hub.pull.pull`."""
    from llmrec.hub.pull import pull as fetched

    with busy(f"fetch {job.repo}"):
        found = fetched(job.repo, job.folder, revision=job.revision)
    notice(f"{found.folder}: {found.repo} as of commit {found.revision}")
    return found
