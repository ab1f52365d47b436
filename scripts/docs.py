"""Hooks of MkDocs: what the site shows that is no file in docs/.

**Usage**

    make docs

Tutorials run as notebooks, so that their pages show what they print. What ran is kept in $LLMREC_TUTORIALS
(build/tutorials) until its text changes; LLMREC_TUTORIALS=off shows the pages without.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final

from docsite.links import OUTSIDE, pages_of_sources, rewritten
from docsite.reference import REFERENCE
from docsite.tutorials import kept, with_outputs
from mkdocs.structure.files import File

ROOT: Final = Path(__file__).resolve().parents[1]
TUTORIALS: Final = os.environ.get("LLMREC_TUTORIALS", "build/tutorials")
_TITLED: Final = re.compile(r"^(```+)(\w+) (\S+)$", re.MULTILINE)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages outside docs/, the generated ones, and the source files that pages lead to."""
    pages = {page: (ROOT / name).read_text(encoding="utf-8") for name, page in OUTSIDE.items()}
    pages |= {page: make() for page, make in REFERENCE.items()}
    texts = {page: (text, _source(page)) for page, text in pages.items()}
    texts |= {one.src_uri: (one.content_string, _source(one.src_uri)) for one in files.documentation_pages()}
    for text, source in texts.values():
        pages |= pages_of_sources(text, source, ROOT)
    for page in (one.src_uri for one in files.documentation_pages() if one.src_uri.startswith("tutorials/")):
        if TUTORIALS != "off":
            pages[page] = with_outputs(kept(texts[page][0], ROOT / TUTORIALS))
    for page, text in pages.items():
        if there := files.get_file_from_path(page):
            files.remove(there)
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001
    """Turn what GitHub shows into what MkDocs shows."""
    place = page.file.src_uri
    if place.startswith("source/"):
        return markdown
    return _TITLED.sub(r'\1\2 title="\3"', rewritten(markdown, place, _source(place)))


def _source(page: str) -> str:
    """Where a page of the site is in the repository."""
    return {there: name for name, there in OUTSIDE.items()}.get(page, f"docs/{page}")
