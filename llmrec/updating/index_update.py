"""Products into an index and out of it."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmrec.errors import ConfigError
from llmrec.output import atomic_folder
from llmrec.text.search.build import add_products, remove_products

__all__ = ["update_index"]


def update_index(before: Path, place: Path, products: Path | None, remove: Sequence[str]) -> dict[str, Any]:
    """Remove products from an index, then add some.

    Args:
        before: What `llmrec embed` wrote.
        place: Where the updated index belongs; ``before`` itself, or a new folder, which shares the files that stay as
            they are.
        products: Products to add, or to put in the place of those of the same locale and id.
        remove: A file of ids (and locales), or ids.

    Returns:
        Numbers of products ``added`` and ``removed``.

    Raises:
        ConfigError: ``place`` is there already, and not the index.
        LlmrecError: as `add_products` and `remove_products`.
    """
    if place.resolve() == before.resolve():
        return _changed(before, products, remove)
    if place.exists():
        raise ConfigError(f"{place}: exists; choose another folder")
    with atomic_folder(place) as temporary:
        shutil.copytree(before, temporary, dirs_exist_ok=True, copy_function=_linked)
        return _changed(temporary, products, remove)


def _changed(folder: Path, products: Path | None, remove: Sequence[str]) -> dict[str, Any]:
    removed = 0
    if len(remove) == 1 and Path(remove[0]).is_file():
        removed = remove_products(folder, Path(remove[0]))
    elif remove:
        with tempfile.TemporaryDirectory() as scratch:
            ids = Path(scratch) / "remove.csv"
            with ids.open("w", encoding="utf-8", newline="") as handle:
                csv.writer(handle).writerows([["id"], *([one] for one in remove)])
            removed = remove_products(folder, ids)
    return {"removed": removed, "added": 0 if products is None else add_products(folder, products)}


def _linked(source: str, target: str) -> str:
    """The same file under another name, for no file of an index is ever changed: a changed one takes its place."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
    return target
