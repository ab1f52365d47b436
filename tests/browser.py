"""A real browser without a window: what a page prints to its console, what its document becomes, and how it looks."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
_CONSOLE = re.compile(r"^\[[^\]]*:(?:INFO|WARNING|ERROR):CONSOLE[^\]]*\] (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """What became of a page: its document after loading, its console's lines, and a PNG of it."""

    document: str
    console: list[str]
    png: Path


def open_page(page: Path, folder: Path, width: int = 1100, height: int = 2400, query: str = "") -> Page:
    """Open an HTML file, with what stands behind its `?`, and take its picture; ``folder`` gets ``page.png``."""
    assert CHROMIUM is not None
    png = folder / "page.png"
    with tempfile.TemporaryDirectory() as profile:
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        command += [f"--user-data-dir={profile}", "--enable-logging=stderr", "--v=0", "--hide-scrollbars"]
        command += [f"--window-size={width},{height}", "--virtual-time-budget=2000"]
        url = page.resolve().as_uri() + query
        shown = _run([*command, "--dump-dom", url])
        pictured = _run([*command, f"--screenshot={png}", url])
    return Page(shown.stdout, _CONSOLE.findall(shown.stderr) + _CONSOLE.findall(pictured.stderr), png)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)


def svg_marks(document: str) -> list[int]:
    """How many drawn things (paths with a course, or uses of a marker) each ``<svg>`` of a document holds."""
    figures = re.findall(r"<svg\b.*?</svg>", document, re.DOTALL)
    return [len(re.findall(r"<use\b|<path\b[^>]*\bd=\"M[^\"]+\"", figure)) for figure in figures]
