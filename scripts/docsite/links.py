"""Links as they are right on GitHub, made right on the site: files of the repository become pages of it."""

from __future__ import annotations

import os.path
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["OUTSIDE", "page_of_source", "pages_of_sources", "rewritten"]

OUTSIDE: Final = {  # pages that stand outside docs/, where GitHub looks for them
    "README.md": "index.md",
    "CONTRIBUTING.md": "project/CONTRIBUTING.md",
    "SECURITY.md": "project/SECURITY.md",
    "CHANGELOG.md": "project/CHANGELOG.md",
}
_LINK: Final = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?\)")
_FENCE: Final = re.compile(r"^(```+.*?^```+ *$)", re.MULTILINE | re.DOTALL)
_LANGUAGES: Final = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".json": "json", ".md": "markdown"}


def rewritten(markdown: str, place: str, source: str) -> str:
    """Point the links of a page at the site's pages.

    Args:
        markdown: The page.
        place: Where it is on the site, as ``reference/recipes.md``.
        source: Where it is in the repository, as ``docs/data.md``; its links are right from there.
    """
    return _outside_fences(markdown, lambda text: _LINK.sub(lambda link: _moved(link, place, source), text))


def _moved(link: re.Match[str], place: str, source: str) -> str:
    address, anchor = link[2], link[3] or ""
    if re.match(r"[a-z]+:|/", address):
        return link[0]
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), address))
    if target.startswith("docs/") and Path(target).suffix:
        page = target.removeprefix("docs/")
    else:
        page = OUTSIDE.get(target) or page_of_source(target)
    return f"{link[1]}{os.path.relpath(page, posixpath.dirname(place) or '.')}{anchor})"


def page_of_source(path: str) -> str:
    """The page of the site that shows a file or folder of the repository."""
    return f"source/{path}.md"


def pages_of_sources(markdown: str, source: str, root: Path) -> dict[str, str]:
    """Pages for the files and folders outside docs/ that a page leads to: page to text."""
    pages: dict[str, str] = {}
    for link in _LINK.finditer(_FENCE.sub("", markdown)):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2]))
        inside = target.startswith("docs/") and Path(target).suffix
        if re.match(r"[a-z]+:|/", link[2]) or inside or target in OUTSIDE or target.startswith(".."):
            continue
        pages[page_of_source(target)] = _shown(root / target, target)
    return pages


def _shown(path: Path, name: str) -> str:
    head = f"---\nsearch: {{exclude: true}}\nhide: [toc]\ntitle: {path.name}\n---\n# {name}\n\n"
    if path.is_dir():
        return head + "\n".join(f"- `{one.name}`" for one in sorted(path.iterdir()) if one.name[0] not in "._") + "\n"
    language = _LANGUAGES.get(path.suffix, "text")
    return f"{head}````{language}\n{path.read_text(encoding='utf-8')}\n````\n"


def _outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    parts = _FENCE.split(markdown)
    return "".join(part if place % 2 else change(part) for place, part in enumerate(parts))
