"""The documentation site: built without a warning, asking no other host, and searched from a file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

import llmrec
from llmrec.cli.verbs import PANELS
from tests.browser import needs_chromium, open_page
from tests.places import ROOT

ASKS = re.compile(  # what a browser fetches by itself; a link that somebody may follow is none of it
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=[\"']?(?:https?:)?//"
    r"|<link\b(?![^>]*\brel=[\"']?(?:canonical|next|prev|edit))[^>]*\bhref=[\"']?(?:https?:)?//"
    r"|url\([\"']?(?:https?:)?//|@import\s+[\"'](?:https?:)?//"
)


TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it: the tutorials run as notebooks, none of them kept from before."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "LLMREC_TUTORIALS": str(folder / "ran")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder / "site"


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_shows_what_it_prints_and_where_to_go_on(site: Path, tutorial: Path) -> None:
    text = tutorial.read_text(encoding="utf-8")
    page = (site / "tutorials" / f"{tutorial.stem}.html").read_text(encoding="utf-8")
    assert page.count('class="result"') >= 4
    assert "Traceback" not in page
    assert text.count("\n## Where next\n") == 1
    notebook = jupytext.reads(text, fmt="md")  # as a reader opens it
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert {"```" not in cell.source for cell in notebook.cells if cell.cell_type == "markdown"} == {True}


def test_no_page_asks_another_host(site: Path) -> None:
    pages = [path for ending in ("html", "css") for path in site.rglob(f"*.{ending}")]
    assert len(pages) > 40
    found = [(str(path), hit[0]) for path in pages for hit in ASKS.finditer(path.read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    "asking",
    [
        '<link rel="stylesheet" href="https://fonts.example/css">',
        "<script async src=//cdn.example/a.js></script>",
        "a { background: url(http://a.example/b.png) }",
    ],
)
def test_the_check_would_see_it(asking: str) -> None:
    assert ASKS.search(asking)


def test_the_reference_holds_every_name_and_every_verb(site: Path) -> None:
    python = (site / "reference" / "api.html").read_text(encoding="utf-8")
    for name in set(llmrec.__all__) - {"__version__", "LlmrecError"}:
        assert re.search(rf'id="llmrec\.[\w.]*\b{name}"', python), name
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    for verb in (verb for verbs in PANELS.values() for verb in verbs):
        assert f"llmrec {verb.words}<a" in commands, verb.words


@needs_chromium
def test_search_finds_pages_without_a_server(site: Path, tmp_path: Path) -> None:
    page = open_page(site / "index.html", tmp_path, query="?q=covisit")
    assert re.search(r"\d+ matching documents", page.document)
    assert page.console == []
