"""``llmrec app``: the service with its page, opened in a browser."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from llmrec.console import notice
from llmrec.errors import ConfigError
from llmrec.serving.page.places import PagePlaces
from llmrec.serving.run import ServiceJob, run_service
from llmrec.settings import option

if TYPE_CHECKING:
    from llmrec.serving.held import Held
    from llmrec.serving.page.demo_shop import Shop

__all__ = ["AppJob", "app"]


@dataclass(frozen=True, kw_only=True)
class AppJob(ServiceJob):
    """What the page shows, and where.

    --demo needs nothing else: it makes a small shop and what it takes, or uses the one that is there. The page asks no
    other host.

    Example: llmrec app --demo

    Example: llmrec app --ranker models/fusion --products STORE/products.parquet --sessions
    STORE/sessions_validation.parquet --compare models/covisit
    """

    HELP_PANELS: ClassVar[Mapping[str, str]] = {
        "What to show": "demo demo_folder sessions compare runs",
        "Running": "browser",
    }

    demo: bool = option(False, "Show a made-up shop: its sessions, rankers, titles and similar products.")
    demo_folder: Path = option(Path("runs/demo"), "Folder of the made-up shop; that of `llmrec demo` will do.")
    sessions: Sequence[Path] = option((), "Sessions to draw from, labelled or not. Several can follow.", several=True)
    compare: Sequence[Path] = option((), "Ranker to show beside --ranker. Several can follow.", several=True)
    runs: Path | None = option(None, "Folder of runs: shows results and reports, and compares two.")
    browser: bool = option(True, "Open the page in a browser.", flag="--browser/--no-browser")
    access_log: bool = option(False, "Write one JSON line per request to stderr. Items are never logged.")


def app(job: AppJob) -> None:
    """Serve the page until SIGTERM or Ctrl-C.

    Raises:
        ConfigError: --demo is given together with what else would be shown.
        LlmrecError: as `run_service`; or sessions, rankers or runs are not what the page can show.
    """
    _check(job)
    shop: Shop | None = None
    if job.demo:
        from llmrec.serving.page.demo_shop import Shop  # a demo's needs are its own

        if job.ranker or job.titles or job.index or job.products:
            raise ConfigError("--demo shows a shop of its own; leave --ranker, --titles, --index and --products out")
        if job.workers > 1:
            raise ConfigError("--demo grows in one process; leave --workers out")
        shop = Shop(job.demo_folder)
        job = replace(job, **shop.planted())
    page = PagePlaces(sessions=job.sessions, compare=job.compare, runs=job.runs, private=job.keys is None)
    if shop is not None:
        page = replace(page, growing=lambda: shop.growing)

    def ready(address: str, held: Held) -> None:
        notice(f"the page: {address}")
        if job.browser:
            _open(address)
        if shop is not None:
            shop.grow(held)

    run_service(job, page, ready)


def _check(job: AppJob) -> None:
    """Refuse what the page could not show, before anything is loaded.

    Raises:
        ConfigError: there is no folder of runs.
        DataError: a file is missing, or none of sessions.
        ModelError: there is no ranker to set beside.
    """
    from llmrec.data.connection import connected  # a verb's help loads none of these
    from llmrec.data.raw import read_raw
    from llmrec.rankers.per_locale import PerLocale
    from llmrec.rankers.ranker_record import RANKER
    from llmrec.updating.versions import version_of

    if job.runs is not None and not job.runs.is_dir():
        raise ConfigError(f"--runs {job.runs}: there is no such folder")
    for folder in map(version_of, job.compare):
        if not PerLocale.is_at(folder):
            RANKER.read(folder)
    with connected() as con:
        for file in job.sessions:
            read_raw(con, file, ("prev_items", "locale"))


def _open(address: str) -> None:
    """Open a browser where there is a screen; a browser of the terminal would take it from the log."""
    screen = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if screen:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
