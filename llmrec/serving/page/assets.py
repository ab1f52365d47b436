"""The page's own files, and the headers that keep everything else out of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from llmrec import __version__
from llmrec.reporting.page import stylesheet

__all__ = ["FOLDER", "REPORT_HEADERS", "Asset", "assets"]

FOLDER: Final = "/page/"  # what lies below it holds no data, so that it needs no key
_HERE: Final = Path(__file__).parent
_KINDS: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_COMMON: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
    "cross-origin-opener-policy": "same-origin",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# a report is a file of a folder that others may write to: it gets no script, no host and no origin
REPORT_HEADERS: Final[Mapping[str, str]] = _COMMON | {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
}


class Asset(NamedTuple):
    """A file as it is answered."""

    body: bytes
    media_type: str
    headers: Mapping[str, str]


@cache
def assets() -> Mapping[str, Asset]:
    """The page and its files by path."""
    files = sorted((_HERE / "static").iterdir())
    found = {
        FOLDER + file.name: Asset(file.read_bytes(), _KINDS[file.suffix], _COMMON)
        for file in files
        if file.suffix in _KINDS
    }
    found[f"{FOLDER}base.css"] = Asset(stylesheet().encode(), _KINDS[".css"], _COMMON)
    made = Environment(loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined)
    modules = [FOLDER + file.name for file in files if file.suffix == ".js"]
    document = made.get_template("index.html").render(version=__version__, modules=modules, folder=FOLDER)
    found["/"] = Asset(document.encode(), "text/html", _COMMON | {"content-security-policy": _POLICY})
    return found
