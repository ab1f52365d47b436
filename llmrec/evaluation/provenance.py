"""How a run came about: command, code, versions, machine and time, gathered without importing what is not loaded."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import llmrec
from llmrec.errors import without_secret_arguments
from llmrec.languages import languages_record

__all__ = ["RECORDS", "collect_provenance", "command_line", "git_commit"]

RECORDS: Final = "docs/measured"  # in a checkout; see `llmrec.paper.reproduction.records`

PACKAGES: Final = (
    "llmrec",
    "accelerate",
    "ctranslate2",
    "datasets",
    "deepspeed",
    "duckdb",
    "faiss-cpu",
    "faiss-gpu-cu12",
    "lightgbm",
    "numpy",
    "openai",
    "peft",
    "pyarrow",
    "recbole",
    "sacrebleu",
    "sentence-transformers",
    "torch",
    "transformers",
)


def collect_provenance(
    recipe: str | None, seed: int | None, fingerprint: str | None, started: float, sessions: str | None = None
) -> dict[str, Any]:
    """Gather what another person needs to make the run again.

    Args:
        recipe: Name of the recipe, or None.
        seed: Seed of the run, or None where nothing is random.
        fingerprint: The store's fingerprint, or None where the data is no store.
        started: `time.monotonic` at the start.
        sessions: `llmrec.data.digests.sessions_fingerprint` of the run's whole split, or None where it is of no one's.

    Returns:
        ``command``, ``recipe``, ``seed``, ``data_fingerprint``, ``git_commit``, ``versions``, ``device``, ``seconds``
        and ``finished`` (UTC), ``sessions_fingerprint`` where it is known, and ``languages`` where the user has a
        language file: plain values that JSON holds.
    """
    return {
        "command": command_line(sys.argv),
        "recipe": recipe,
        "seed": seed,
        "data_fingerprint": fingerprint,
        **({} if sessions is None else {"sessions_fingerprint": sessions}),
        "git_commit": git_commit(Path(llmrec.__file__).resolve().parent),
        **({"languages": own} if (own := languages_record()) else {}),
        "versions": _versions(),
        "device": _device(),
        "seconds": round(time.monotonic() - started, 3),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def command_line(argv: Sequence[str]) -> list[str]:
    """Script's name and its arguments as given; a path inside an argument is cut to what lies below this folder.

    A result is passed on, and the place of a home folder belongs to its owner alone; so do keys and passwords.
    """
    if not argv:
        return []
    return [Path(argv[0]).name, *map(_without_machine_path, without_secret_arguments(argv[1:]))]


def _without_machine_path(argument: str) -> str:
    flag, separator, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    path = Path(value)
    if not path.is_absolute():
        return argument
    try:
        here = Path.cwd()
    except OSError:  # it was deleted
        return f"{flag}{separator}{path.name}"
    return f"{flag}{separator}{path.relative_to(here) if path.is_relative_to(here) else path.name}"


def git_commit(folder: Path) -> str | None:
    """Commit of the checkout that holds ``folder``, with ``-dirty`` for changes not committed; None outside of one.

    Records of measurements are results of the code and no part of it: new ones make nothing dirty.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    # a folder that git ignores is an installed copy inside somebody else's checkout
    if not commit or _git(folder, "ls-files", ".") == "":
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":/", f":(top,exclude){RECORDS}")
    return f"{commit}-dirty" if changed else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _device() -> dict[str, Any]:
    device: dict[str, Any] = {"cpu": _cpu_name(), "cores": _num_cores()}
    torch = sys.modules.get("torch")  # a run that used a GPU has loaded it; to load it for this would take seconds
    if torch is not None and torch.cuda.is_available():
        device["gpus"] = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return device


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
