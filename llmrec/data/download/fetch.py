"""Fetch what can be fetched: the authors' repository by git, or a folder by copying. AIcrowd wants a person's login."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from llmrec.console import progress_bar, track
from llmrec.data.download.official import known_files
from llmrec.data.sources import find_source
from llmrec.errors import ConfigError, DataError, secrets_of, without_secrets
from llmrec.output import atomic_folder

__all__ = ["clone", "copy_folder"]

_CAREFUL: Final = [  # nothing written of where it came from; less than a kilobyte a second for a minute is no download
    *("-c", "core.logAllRefUpdates=false"),
    *("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60"),
]


def clone(url: str, out: Path) -> None:
    """Clone a repository's newest commit into ``out``, which appears whole or not at all.

    Raises:
        ConfigError: git is not installed, or ``out`` holds something.
        DataError: git could not clone it: no network, no such repository; says how to do it by hand.
        DiskError: the place cannot be written.
    """
    git = shutil.which("git")
    if git is None:
        raise ConfigError("git is not installed; install it, or download the repository as a zip and unpack it")
    _check_free(out)
    # never a question on the terminal: a repository that asks for a password is not the authors'
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    with atomic_folder(out) as folder, progress_bar() as bar:
        bar.add_task("git clone", total=None, note=without_secrets(url))
        command = [git, *_CAREFUL, "clone", "--quiet", "--depth", "1", "--", url, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=environment)
        if done.returncode:
            reason = without_secrets(_reason(done.stderr), secrets_of(url))
            raise DataError(
                f"git could not clone {url} ({reason}); by hand, where it can be reached: "
                f"git clone {url} {out}, then: llmrec data get --check {out}"
            )
        if without_secrets(url) != url:  # git keeps it in the clone's configuration
            subprocess.run([git, "-C", str(folder), "remote", "set-url", "origin", without_secrets(url)], check=False)


def _reason(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    fatal = [line.removeprefix("fatal: ") for line in lines if line.startswith("fatal: ")]
    return (fatal or lines or ["no reason given"])[0].rstrip(".")


def copy_folder(folder: Path, out: Path) -> None:
    """Copy the files that `llmrec data import` reads, in their places; what it does not read stays behind.

    Raises:
        ConfigError: ``folder`` is no folder, or ``out`` holds something.
        DataError: there are no sessions in it.
        DiskError: the place cannot be written.
    """
    source = find_source(folder)
    _check_free(out)
    files = [one.path for one in known_files(source)]
    with atomic_folder(out) as target:
        for file in track(files, "copy", len(files)):
            place = target / file.relative_to(source.folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)


def _check_free(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"{out}: exists already; choose another place, or check what it holds: --check {out}")
