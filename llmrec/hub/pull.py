"""Fetching: what a repository of the hub holds, checked by name and size before a byte of it is read."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from llmrec.api.public import public
from llmrec.errors import ConfigError, DataError, ModelError
from llmrec.hub.forms import CARD, ENDINGS, FORMS, SOURCE, form_of, forms_named, is_read, refuse_names
from llmrec.hub.remote import Repo, cache_folder, fetch, holds, listing, offline
from llmrec.output import atomic_folder
from llmrec.records import read_record, write_record

__all__ = [
    "Snapshot",
    "from_pretrained",
    "local_folder",
    "named_source",
    "pull",
    "shared_model",
    "source_of",
    "stamp_of",
]

_TEXTS: Final = (".json", ".txt", ".jinja", ".model", ".md")
_TEXT_BYTES: Final = 1 << 26  # the largest vocabulary has half of it
_FILES: Final = 2_000
TITLES: Final = "llmrec.json"
_CACHED: Final = re.compile(r"(model|dataset)s--(.+)--(.+)")


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a folder was fetched from: repository and commit."""

    repo: str
    revision: str


@dataclass(frozen=True)
class Snapshot:
    """What was fetched.

    Attributes:
        folder: Where it is now.
        repo: Its repository.
        revision: Its commit.
    """

    folder: Path
    repo: str
    revision: str


@public
def from_pretrained(repo: str | Path, *, revision: str | None = None) -> Any:
    """Load what somebody shared on the Hugging Face hub: whichever kind it is, checked, without running code of it.

    Args:
        repo: ``OWNER/NAME``, or ``datasets/OWNER/NAME`` for a store or a run; ``@REVISION`` may follow. A folder is
            opened as it is.
        revision: Branch, tag or commit; the main branch if not given. What it was is recorded in runs that are made.

    Returns:
        A ranker, `TitleWriter`, selector, encoder, `SimilarProducts`, `Store` or run.

    Raises:
        ConfigError: ``repo`` is no such name.
        MissingExtraError: a package that reads it is not installed.
        ModelError: it is not there, cannot be reached, or holds nothing of this package.

    Example:
        >>> import llmrec
        >>> llmrec.fit("covisit", [["tea", "cup"]]).save("models/shared")
        >>> llmrec.from_pretrained("models/shared").rank([["tea"]]).to_list()  # or "me/covisit", of the hub
        [['cup']]
    """
    folder = Path(repo) if Path(repo).is_dir() else _snapshot(Repo.of(str(repo), revision)).folder
    return form_of(folder, str(repo)).open(folder)


@public
def pull(repo: str, folder: Path | str, *, revision: str | None = None) -> Snapshot:
    """Fetch what somebody shared into a folder, which every command takes as one that was saved here.

    Args:
        repo: As `from_pretrained`.
        folder: Where to; new, empty, or one that holds the same kind, which is replaced.
        revision: As `from_pretrained`.

    Raises:
        ConfigError: ``repo`` is no such name, or ``folder`` holds something else.
        DiskError: the place cannot be written.
        ModelError: as `from_pretrained`.
    """
    out = Path(folder)
    from llmrec.hub.staging import copied  # here: to load a folder of this machine needs no DuckDB

    found = _snapshot(Repo.of(repo, revision))
    form = form_of(found.folder, found.repo)
    if out.exists() and not form.is_at(out) and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: exists and does not hold {form.what}; choose another folder")
    names = [file.relative_to(found.folder).as_posix() for file in found.folder.rglob("*") if file.is_file()]
    with atomic_folder(out) as temporary:
        copied(found.folder, [name for name in names if is_read(name) or name == CARD], temporary)
        write_record(temporary / SOURCE, Source(found.repo, found.revision))
    return Snapshot(out, found.repo, found.revision)


def local_folder(place: Path | str) -> Path:
    """A folder as it is; of ``hf://OWNER/NAME@REVISION`` the folder that it was fetched into.

    Raises:
        ConfigError: it is no repository's name.
        ModelError: as `from_pretrained`.
    """
    text = str(place)
    return _snapshot(Repo.of(text)).folder if text.startswith("hf:/") else Path(place)


@cache
def shared_model(name: str) -> str:
    """A model's name as it is, or the folder that it was fetched into where it is one that this package shared.

    The hub's other models are for `transformers` to fetch. What was found holds for the process: all that reads of a
    model is of one commit.

    Raises:
        ModelError: as `from_pretrained`.
    """
    if name.startswith("hf:/"):
        return str(local_folder(name))
    if Path(name).exists() or not holds(name, TITLES):
        return name
    return str(_snapshot(Repo.of(name)).folder)


def source_of(folder: Path) -> Mapping[str, str]:
    """``repo`` and ``revision`` of a folder that was fetched; empty for any other."""
    try:
        found = read_record(folder / SOURCE, Source, "")
        return {"repo": found.repo, "revision": found.revision}
    except DataError:
        pass
    cached = _CACHED.fullmatch(folder.parent.parent.name) if folder.parent.name == "snapshots" else None
    if cached is None:
        return {}
    return {"repo": f"{'datasets/' if cached[1] == 'dataset' else ''}{cached[2]}/{cached[3]}", "revision": folder.name}


def named_source(folder: Path) -> str:
    """``OWNER/NAME@COMMIT`` of a folder that was fetched; empty for any other."""
    return "@".join(source_of(folder).values())


def stamp_of(folder: Path) -> dict[str, Any]:
    """What a run is to say of a folder that was fetched: ``hub``, with repository and commit."""
    return {"hub": dict(found)} if (found := source_of(folder)) else {}


def _snapshot(repo: Repo) -> Snapshot:
    """Fetch a repository's files into the cache, after a look at their names and sizes.

    Raises:
        ModelError: as `from_pretrained`.
    """
    if offline():
        folder = fetch(repo, [CARD, *(f"*.{one}" for one in ENDINGS)], {}, None)
        names = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
        refuse_names(names, str(repo))
        return Snapshot(folder, str(repo), folder.name)
    found = listing(repo)
    names = _wanted(repo, found.sizes)
    folder = fetch(repo, names, found.sizes, found.commit)
    for name in names:
        if (folder / name).stat().st_size != found.sizes[name]:
            raise ModelError(f"{repo}: {name} is not as long as was listed; try again")
    return Snapshot(folder, str(repo), found.commit)


def _wanted(repo: Repo, sizes: Mapping[str, int]) -> list[str]:
    """Names of the files that are fetched.

    Raises:
        ModelError: it holds nothing of ours, or what is refused.
    """
    refuse_names(sizes, str(repo))
    if not forms_named(sizes):
        wanted = ", ".join(dict.fromkeys(form.record for form in FORMS))
        hint = "" if repo.shelf == "dataset" else "; a store or a run is at datasets/OWNER/NAME"
        raise ModelError(f"{repo}: holds nothing that llmrec shares (none of {wanted}){hint}")
    names = [name for name in sizes if is_read(name) or name == CARD]
    if len(names) > _FILES:
        raise ModelError(f"{repo}: {len(names):,} files, which nothing of ours has; nothing was fetched")
    for name in names:
        if name.endswith(_TEXTS) and sizes[name] > _TEXT_BYTES:
            told = f"{sizes[name]:,} bytes, and a file like it has at most {_TEXT_BYTES:,}"
            raise ModelError(f"{repo}: {name} has {told}; nothing was fetched")
    free = shutil.disk_usage(cache_folder()).free
    if (total := sum(sizes[name] for name in names)) > free:
        raise ModelError(f"{repo}: has {total:,} bytes, and the cache's disk has room for {free:,}; free some space")
    return names
