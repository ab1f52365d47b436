"""Tutorials: Markdown that runs as a notebook, and Markdown with what each cell printed."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import jupytext
import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

__all__ = ["executed", "kept", "with_outputs"]

_SECONDS: Final = 300  # longest cell
_ENVIRONMENT: Final = {"COLUMNS": "100", "HF_HUB_OFFLINE": "1"}
_BASH: Final = "%%script env -u FORCE_COLOR -u CLICOLOR_FORCE bash -e"  # a kernel asks for colours
_FRAME: Final = re.compile(r"<style scoped>.*?</style>|(?<=<table)(?: border=\"1\")? class=\"[^\"]*\"", re.DOTALL)


def executed(text: str, folder: Path) -> Any:
    """Run a tutorial as a notebook in a folder.

    Args:
        text: Markdown; its blocks of Python and bash are cells.
        folder: Working directory.

    Returns:
        The notebook with its outputs.

    Raises:
        CellExecutionError: a cell failed; it is shown with its traceback.
    """
    notebook = jupytext.reads(text, fmt="md")
    for cell in notebook.cells:  # a command that fails ends its cell
        cell.source = cell.source.replace("%%bash", _BASH, 1)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ |= {**_ENVIRONMENT, "PATH": path}
    resources = {"metadata": {"path": str(folder)}}
    with tempfile.TemporaryDirectory() as sockets:
        local = {"transport": "ipc", "ip": f"{sockets}/kernel"}  # no port that others on the machine could reach
        config = Config({"KernelManager": local})
        NotebookClient(notebook, timeout=_SECONDS, resources=resources, config=config).execute()
    return notebook


def kept(text: str, folder: Path) -> Any:
    """The executed notebook of a tutorial, from ``folder`` where the same text was executed before."""
    file = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.ipynb"
    if not file.is_file():
        with tempfile.TemporaryDirectory() as place:
            notebook = executed(text, Path(place))
        folder.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, file)
    return nbformat.read(file, as_version=4)


def with_outputs(notebook: Any) -> str:
    """Markdown of an executed notebook: each cell, and below it what it printed and gave."""
    return "\n\n".join(part for cell in notebook.cells for part in _parts(cell)) + "\n"


def _parts(cell: Any) -> Iterable[str]:
    if cell.cell_type == "markdown":
        yield cell.source
        return
    first, _, rest = cell.source.partition("\n")
    language, source = ("bash", rest) if first == _BASH else ("python", cell.source)
    yield f"```{language}\n{source}\n```"
    printed = "".join(one.text for one in cell.outputs if one.output_type == "stream" and one.name == "stdout")
    if printed.strip():
        yield f'<div class="result" markdown>\n\n````text\n{printed.rstrip()}\n````\n\n</div>'
    for one in cell.outputs:
        if one.output_type in ("execute_result", "display_data"):
            yield f'<div class="result" markdown>\n\n{_shown(one.data)}\n\n</div>'


def _shown(data: Any) -> str:
    if "image/png" in data:
        return f'<img alt="" src="data:image/png;base64,{data["image/png"].strip()}">'
    if "text/html" in data:
        return _FRAME.sub("", data["text/html"])
    return f"````text\n{data['text/plain']}\n````"
