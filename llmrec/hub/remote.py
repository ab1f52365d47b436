"""The hub's service, asked by its own client; the only file that knows `huggingface_hub`."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import llmrec
from llmrec.errors import ConfigError, LlmrecError, ModelError, require, shown, without_secrets

__all__ = ["EXTRA", "Repo", "cache_folder", "fetch", "holds", "licence_of", "listing", "offline", "send"]

EXTRA: Final = "hub"
_DATASETS: Final = "datasets/"
_PART: Final = r"[A-Za-z0-9](?:[\w.-]{0,94}[A-Za-z0-9_])?"
_REPO: Final = re.compile(rf"({_PART}/{_PART})(?:@([^\s@]{{1,250}}))?", re.ASCII)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Repo:
    """A repository of the hub.

    Attributes:
        name: ``OWNER/NAME``.
        shelf: Its type.
        revision: Branch, tag or commit; the main branch where none is named.
    """

    name: str
    shelf: Literal["model", "dataset"] = "model"
    revision: str | None = None

    @classmethod
    def of(cls, text: str, revision: str | None = None) -> Repo:
        """Read ``OWNER/NAME``, ``datasets/OWNER/NAME``, either with ``hf://`` before it or ``@REVISION`` behind it.

        Raises:
            ConfigError: it is no such name, or two revisions are named.
        """
        bare = re.sub(r"^hf:/{1,2}", "", text)
        is_data = bare.startswith(_DATASETS)
        found = _REPO.fullmatch(bare.removeprefix(_DATASETS))
        if found is None:
            raise ConfigError(f"{shown(text)} is no repository; write OWNER/NAME or datasets/OWNER/NAME, and @REVISION")
        if revision is not None and found[2] not in (None, revision):
            raise ConfigError(
                f"{shown(text)} names a revision, and --revision {shown(revision)} another; leave one out"
            )
        return cls(found[1], "dataset" if is_data else "model", revision or found[2])

    def __str__(self) -> str:
        """As it was written, without a revision."""
        return f"{_DATASETS if self.shelf == 'dataset' else ''}{self.name}"


@dataclass(frozen=True)
class Listing:
    """What a repository holds.

    Attributes:
        commit: Its commit.
        sizes: Bytes of each file.
    """

    commit: str
    sizes: Mapping[str, int]


def offline() -> bool:
    """Whether ``HF_HUB_OFFLINE`` keeps this process from the network."""
    return bool(_hub(".constants").HF_HUB_OFFLINE)


def cache_folder() -> Path:
    """The nearest folder that is there of the hub's cache."""
    place = Path(_hub(".constants").HF_HUB_CACHE)
    return next((folder for folder in (place, *place.parents) if folder.is_dir()), Path("/"))


def listing(repo: Repo) -> Listing:
    """Names and sizes of a repository's files.

    Raises:
        ModelError: it cannot be listed.
    """
    with _explained(repo), _quietly():
        info = _api().repo_info(
            repo.name, repo_type=repo.shelf, revision=repo.revision, files_metadata=True, timeout=_TIMEOUT_S
        )
        return Listing(str(info.sha), {one.rfilename: int(one.size or 0) for one in info.siblings or []})


def fetch(repo: Repo, names: Sequence[str], sizes: Mapping[str, int], commit: str | None) -> Path:
    """Fetch files of a repository into the hub's cache, those that are there already not again.

    Args:
        repo: Where from.
        names: Which; offline patterns of them.
        sizes: Bytes that each must have; empty offline.
        commit: Commit that was listed; None: offline.

    Returns:
        Folder of the cache, named by the commit.

    Raises:
        ModelError: it is not there, is another commit by now, or a file has another size than was listed.
    """
    with _explained(repo), _quietly():
        ask: Callable[..., Any] = _hub().snapshot_download
        common: dict[str, Any] = {"repo_type": repo.shelf, "revision": repo.revision, "library_name": "llmrec"}
        if commit is None:
            left_out = [".*", "*/.*"]
            return Path(
                ask(repo.name, **common, allow_patterns=list(names), ignore_patterns=left_out, local_files_only=True)
            )
        for one in ask(repo.name, **common, allow_patterns=list(names), dry_run=True):
            if one.commit_hash != commit:
                raise ModelError(f"{repo}: changed while it was fetched; try again")
            if one.file_size is not None and one.file_size != sizes[one.filename]:
                told = f"{one.file_size:,} bytes, where {sizes[one.filename]:,} were listed"
                raise ModelError(f"{repo}: {one.filename} would be {told}; nothing was fetched")
        return Path(ask(repo.name, **common, allow_patterns=list(names)))


def holds(name: str, file: str) -> bool:
    """Whether a model by the hub's name has some file, as its cache or a single request says; False with no way to ask.

    What is missing is for others to say: this is asked before the model itself is.
    """
    with suppress(Exception):
        repo, hub = Repo.of(name), _hub()
        if isinstance(hub.try_to_load_from_cache(repo.name, file, revision=repo.revision), str):
            return True
        return not offline() and bool(_api().file_exists(repo.name, file, revision=repo.revision))
    return False


def send(
    repo: Repo, folder: Path, *, private: bool | None, message: str, check: Callable[[set[str]], list[str]]
) -> str:
    """Make a repository if there is none, and put a folder's files into it in one commit.

    Args:
        repo: Where to.
        folder: What it is to hold.
        private: Whether a new repository is private; what its owner's settings say if None.
        message: Of the commit.
        check: Called with the names that are there already; gives those that are to go.

    Returns:
        The commit.

    Raises:
        ModelError: the hub does not take it.
    """
    with _explained(repo), _quietly():
        api = _api()
        api.create_repo(repo.name, repo_type=repo.shelf, private=private, exist_ok=True)
        gone = check({one.rfilename for one in api.repo_info(repo.name, repo_type=repo.shelf).siblings or []})
        done = api.upload_folder(
            repo_id=repo.name,
            folder_path=folder,
            repo_type=repo.shelf,
            commit_message=message,
            delete_patterns=gone or None,
        )
        return str(done.oid)


def licence_of(name: str) -> str | None:
    """Licence that a model's card on the hub names; None where it names none, or there is no way to ask."""
    with suppress(Exception):
        info = _api().model_info(Repo.of(name).name, timeout=_TIMEOUT_S)
        found = (info.card_data or {}).get("license")
        return found if isinstance(found, str) else None
    return None


_TIMEOUT_S: Final = 10.0


def _hub(part: str = "") -> Any:
    """The client, or one of its modules."""
    return require(f"huggingface_hub{part}", EXTRA)


def _endpoint() -> str:
    return str(_hub(".constants").ENDPOINT)


def _api() -> Any:
    return _hub().HfApi(library_name="llmrec", library_version=llmrec.__version__)


@contextmanager
def _quietly() -> Iterator[None]:
    """The client's bars, one a file, would tear ours apart; what it warns of while it tries again ends in one line."""
    bars, log = _hub(".utils"), logging.getLogger("huggingface_hub")
    were_off, level = bars.are_progress_bars_disabled(), log.level
    bars.disable_progress_bars()
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
        if not were_off:
            bars.enable_progress_bars()


@contextmanager
def _explained(repo: Repo) -> Iterator[None]:
    """Turn what the client raises, of a dozen kinds and many lines, into one line with a way out.

    Raises:
        ModelError: the block raised anything.
    """
    try:
        yield
    except LlmrecError:
        raise
    except Exception as error:
        raise ModelError(f"{repo}: {_reason(error, repo)}") from error


def _reason(error: Exception, repo: Repo) -> str:
    errors = _hub(".errors")
    status = getattr(getattr(error, "response", None), "status_code", None)
    cause = error.__cause__ or error
    if isinstance(error, errors.RevisionNotFoundError):
        return f"has no revision {shown(repo.revision)}; leave it out, or name a branch, tag or commit"
    if isinstance(error, errors.GatedRepoError):
        return f"its owner lets nobody in unasked; ask for access at {_endpoint()}/{repo}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "no such repository, or a private one and no token for it; check the name, or set HF_TOKEN"
    if status == 401:
        return "the hub does not take this token; set HF_TOKEN to another one, or log in: hf auth login"
    if status == 403:
        return "this token may not do that; give one that may write there"
    if offline():
        return "not in the cache, and HF_HUB_OFFLINE is set; unset it, or fetch it once where there is a network"
    if status is not None:
        return f"the hub refused ({status}: {_line(error)}); try again later"
    if isinstance(error, errors.LocalEntryNotFoundError) or type(cause).__name__ in _NO_WAY:
        return f"the hub ({_endpoint()}) cannot be reached, and the cache has no copy; check the network"
    return f"{_line(error)}; try again"


_NO_WAY: Final = ("ConnectError", "ConnectTimeout", "ReadTimeout", "ProxyError", "ReadError", "RemoteProtocolError")


def _line(error: Exception) -> str:
    lines = [line.strip() for line in without_secrets(str(error)).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0].rstrip(".")[:160]
