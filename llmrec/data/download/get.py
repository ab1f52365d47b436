"""``llmrec data get``: where the files come from, fetching what can be fetched, and checking what was."""

from __future__ import annotations

from pathlib import Path

from llmrec.console import notice, table
from llmrec.console import out as out_console
from llmrec.data.download.fetch import clone, copy_folder
from llmrec.data.download.job import GetJob
from llmrec.data.download.minionerec import REPOSITORY, Converted, convert_clone
from llmrec.data.download.official import (
    AICROWD_FILES,
    AICROWD_PAGE,
    AUTHORS_URL,
    SHARED,
    TASK_1_FILES,
    missing_files,
)
from llmrec.data.download.verify import Checked, check_folder, is_synthetic, write_sums
from llmrec.data.sources import find_source
from llmrec.errors import ConfigError, DataError

__all__ = ["get"]


def get(job: GetJob) -> list[Checked] | list[Converted]:
    """Say where the files are, fetch what can be fetched without a login, check what was fetched.

    Raises:
        ConfigError: two requests exclude each other.
        DataError: a file is not what it should be.
    """
    if job.source == "minionerec" and job.check is None:
        return _board(job)
    if job.clone is not None:
        raise ConfigError(f"{job.clone}: a clone is read with --from minionerec alone")
    if job.check is not None:
        if job.source not in (None, "aicrowd", "authors"):
            raise ConfigError(f"--from {job.source} and --check exclude each other: one copies, one looks")
        return _report(job.check, job.write_sums)
    if job.source is None:
        _show_sources()
    elif job.source == "aicrowd":
        _show_aicrowd(job.folder)
    else:
        if job.source == "authors":
            clone(job.url or AUTHORS_URL, job.folder)
        else:
            copy_folder(Path(job.source), job.folder)
        return _report(job.folder, job.write_sums)
    return []


def _show_sources() -> None:
    rows = [
        ("aicrowd", "products, training sessions, test sessions of three tasks", "after login, in a browser"),
        ("authors", "test sessions and their targets", "git"),
        ("minionerec", "two shops of a public board, from a clone of it", "converted"),
        ("FOLDER", "what you have already", "copied"),
    ]
    out_console.print(table("llmrec data get --from …", ("from", "what", "how"), rows))
    notice(f"aicrowd: {AICROWD_PAGE}")
    notice(f"authors: {AUTHORS_URL}")
    notice(f"licence of the data: {SHARED}; without any download: llmrec data synth raw/synthetic")
    notice("next: llmrec data get --from authors --out raw/amazon-m2")


def _board(job: GetJob) -> list[Converted]:
    if job.clone is None:
        raise ConfigError(
            f"--from minionerec reads a clone: git clone {REPOSITORY}, "
            "then: llmrec data get --from minionerec MiniOneRec"
        )
    made = convert_clone(job.clone, job.folder)
    notice(f"next: llmrec reproduce minionerec --data {made[0].folder}")
    return made


def _show_aicrowd(out: Path) -> None:
    rows = [(name, " or ".join(f"{count:,}" for count in counts), what) for name, counts, what in AICROWD_FILES]
    out_console.print(table("Files of the challenge", ("file", "rows", "what"), rows))
    notice("AIcrowd gives its files to people who are logged in; llmrec cannot, and fetched nothing.")
    notice(f"1. log in and join the challenge: {AICROWD_PAGE}")
    notice(f"2. save the dataset files of Task 1 into {out}: {TASK_1_FILES} (paper, App. B.3); Tasks 2 and 3: likewise")
    notice(f"next: llmrec data get --check {out}")


def _report(folder: Path, sums: bool) -> list[Checked]:
    """Show every file with what is known of it, and end in an error where one is not what it should be."""
    checked = check_folder(folder)
    out_console.print(table(str(folder), ("file", "MB", "rows", "official", "SHA-256", "state"), map(_row, checked)))
    wrong = [one for one in checked if one.problem]
    if wrong:
        raise DataError(
            f"{len(wrong)} of {len(checked)} files are not as they should be: "
            + "; ".join(f"{one.name}: {one.problem}" for one in wrong)
        )
    if sums:
        notice(f"sums in {write_sums(folder, checked)}")
    source = find_source(folder)
    if is_synthetic(source.folder):
        notice("synthetic data of llmrec data synth, with the official names: not Amazon-M2")
    if missing := missing_files(source):
        notice(f"not there: {', '.join(missing)}; from AIcrowd: llmrec data get --from aicrowd")
    notice(f"next: llmrec data import {folder} stores/m2")
    return checked


def _row(one: Checked) -> tuple[str, ...]:
    expected = " or ".join(f"{count:,}" for count in one.expected) or "not known"
    state = "WRONG" if one.problem else "ok" if one.expected else "readable"
    rows = "–" if one.rows is None else f"{one.rows:,}"
    return one.name, f"{one.num_bytes / 1e6:,.1f}", rows, expected, one.sha256[:12], state
