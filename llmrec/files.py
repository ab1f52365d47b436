"""YAML and digests of files, and the folders that travel with the package."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import yaml

from llmrec.errors import ConfigError, DataError, DiskError, shown

__all__ = [
    "digest_of",
    "given_file",
    "held_in",
    "known_sha256",
    "once",
    "parse_yaml",
    "read_yaml",
    "sha256_of",
    "sha256_of_all",
    "shipped_folder",
    "table_files",
    "uri_of",
    "user_cache",
]

_URI: Final = re.compile(r"([a-z][a-z0-9+.-]+):/{1,3}([^/].*)")
_CLOCK_STEP_NS: Final = 1_000_000_000
_MOST_SEEN: Final = 4_096
YAML_BYTES: Final = 1 << 20
_YAML_NODES: Final = 100_000
_YAML_DEPTH: Final = 50
_REFUSED: Final = (  # PyYAML's, and what its readers of numbers, dates and tags let through
    *(yaml.YAMLError, ValueError, RecursionError),
    *(IndexError, KeyError, AttributeError, TypeError, OverflowError),
)

_HELD: Final = {  # a file, and what a folder with it holds
    "ranker.json": "a ranker",
    "per_locale.json": "rankers by locale",
    "selector.json": "a title selector",
    "encoder.json": "an encoder",
    "vectors.npy": "vectors of titles",
    "index.json": "an index",
    "adapter_config.json": "an adapter of a language model",
    "config.json": "a language model",
    "dataset_info.json": "a dataset",
    "products.parquet": "a store",
    "sessions_train.csv": "raw files",
}

_PACKAGE = Path(__file__).resolve().parent


def shipped_folder(name: str) -> Path:
    """Folder ``prompts`` or ``accelerate_configs``: inside an installed wheel, else beside a checkout's package."""
    installed = _PACKAGE / "shipped" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def table_files(path: Path) -> list[Path]:
    """Files of a table: the file itself or, of a folder that Spark wrote, its Parquet parts in their names' order.

    None where neither is there: a folder is a table where all that it holds are parts, but for what begins with ``_``
    or ``.``, as Spark's own marks do.
    """
    if not path.is_dir():
        return [path] if path.is_file() else []
    held = sorted(one for one in path.iterdir() if not one.name.startswith(("_", ".")))
    parts = path.suffix.lower() != ".csv" and all(one.match("part-*.parquet") for one in held)
    return held if parts else []


def given_file(path: Path | str, argument: str, instead: str) -> Path:
    """A table that an argument of the Python API names: a file, or a folder of parts (`table_files`).

    Args:
        path: Of the file.
        argument: What an error calls it.
        instead: What to give where there is none, for the error.

    Raises:
        DataError: there is no such file.
    """
    with suppress(OSError, ValueError):  # too long a name, or one that no file can have
        if table_files(Path(path)):
            return Path(path)
        if Path(path).is_dir():
            raise DataError(f"{argument}: no file{held_in(Path(path)) or ' but a folder'} is at '{path}'; {instead}")
    raise DataError(f"{argument}: no file {shown(str(path))}; {instead}")


def held_in(folder: Path) -> str:
    """What a folder holds instead, of the things that this package writes: `` but a ranker``; empty for others."""
    with suppress(OSError, ValueError):  # no name that a file can have
        found = (what for name, what in _HELD.items() if (folder / name).exists())
        return next((f" but {what}" for what in found), "")
    return ""


def uri_of(path: Path | str | None) -> str | None:
    """The URI that a path was given as, ``s3a://BUCKET/KEY`` or ``file:///shared/x``; None for a path of this machine.

    A `Path` has one slash where a URI has two or three. So a URI of anything but ``file`` needs what it lies on:
    ``hdfs://NAMENODE:8020/x``.
    """
    found = _URI.fullmatch(str(path or ""))
    if found is None:
        return None
    scheme, rest = found.groups()
    return f"file:///{rest}" if scheme == "file" else f"{scheme}://{rest}"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def once(path: Path, what: str, work: Callable[[], str]) -> str:
    """What ``work`` finds in a file, which is done once for as long as nothing touches the file.

    This user's cache (``$XDG_CACHE_HOME/llmrec/seen``, or under ``~/.cache``) keeps it by the file's device, number,
    size, and the nanoseconds at which content and entry last changed; without a cache it is done every time. What
    ``work`` raises is not kept.

    Args:
        path: The file.
        what: What is asked of it; another question has another answer.
        work: Reads the file and gives a short text.
    """
    before, folder = path.stat(), None
    with contextlib.suppress(DiskError):
        folder = user_cache("seen")
    signature = (before.st_dev, before.st_ino, before.st_size, before.st_mtime_ns, before.st_ctime_ns)
    entry = None if folder is None else folder / digest_of([what, *signature])
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if entry is not None and (known := entry.read_text(encoding="ascii")).endswith("\n"):
            return known[:-1]
    found = work()
    after = path.stat()
    same = signature == (after.st_dev, after.st_ino, after.st_size, after.st_mtime_ns, after.st_ctime_ns)
    # a change within a clock's step after the last one would leave no trace
    if entry is not None and same and time.time_ns() - after.st_ctime_ns > _CLOCK_STEP_NS:
        with contextlib.suppress(OSError):
            _keep(entry, found)
    return found


def user_cache(name: str) -> Path:
    """This user's folder ``$XDG_CACHE_HOME/llmrec/NAME``, or under ``~/.cache``, which nobody else can read or write.

    Raises:
        DiskError: there is no place for it, or others can write there.
    """
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "llmrec" / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = folder.stat()
    except (OSError, RuntimeError) as error:  # there is no home
        raise DiskError(f"nothing can be kept for the next time ({error}); name a folder in XDG_CACHE_HOME") from error
    if hasattr(os, "getuid") and (held.st_uid != os.getuid() or held.st_mode & 0o022):
        raise DiskError(f"{folder}: others can write there; chmod 700 it, or name a folder in XDG_CACHE_HOME")
    return folder


def _keep(entry: Path, found: str) -> None:
    entries = list(entry.parent.iterdir())
    for old in entries if len(entries) >= _MOST_SEEN else ():
        old.unlink(missing_ok=True)
    descriptor = os.open(entry, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as handle:
        handle.write(f"{found}\n")  # whole with its end


def known_sha256(path: Path) -> str:
    """`sha256_of`, `once`: for a large file that is mapped into memory and else never read whole."""
    return once(path, "sha256", lambda: sha256_of(path))


def sha256_of_all(paths: Iterable[Path]) -> str:
    """SHA-256 over the SHA-256 of some files, in their order, in hexadecimal; their names are no part of it.

    A folder of parts counts as its files.
    """
    files = [part for path in paths for part in table_files(path) or [path]]
    return hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of a value as JSON, in hexadecimal: names what a cache was made of. No JSON counts as text."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def read_yaml(path: Path, mend: str = "choose another file") -> Any:
    """What a YAML file of a user's holds; ``mend`` says what to do where it cannot be read.

    Raises:
        ConfigError: it cannot be read, or is not YAML, as `parse_yaml`.
    """
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path}: not a file; {mend}")
    try:
        with path.open("rb") as handle:
            content = handle.read(YAML_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); {mend}") from error
    if len(content) > YAML_BYTES:
        raise ConfigError(f"{path}: larger than {YAML_BYTES >> 10} KiB, which no settings need; {mend}")
    try:
        text = content.decode("utf-8-sig")
    except ValueError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """What a YAML text holds; ``where`` begins the line of an error.

    Raises:
        ConfigError: it is not YAML of plain values, a key is given twice, or it is nested or repeated beyond measure.
    """
    try:
        value = yaml.load(text, _Loader)  # noqa: S506 - a safe one
        _weigh(value, {})
    except _REFUSED as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise ConfigError(f"{where}: not YAML: {reason}") from error
    return value


class _Loader(yaml.SafeLoader):
    """`yaml.SafeLoader` that refuses deep nesting, and a key given twice, of which it would take the last."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A value and all in it."""
        self.depth += 1
        if self.depth > _YAML_DEPTH:
            raise yaml.YAMLError("nested too deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        """A mapping as it is written, before others are merged into it."""
        node: Any = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(problem=f"'{key.value}' is given twice", problem_mark=key.start_mark)
                seen.add((key.tag, key.value))
        return node

    def flatten_mapping(self, node: Any) -> None:
        """Merge what ``<<`` names."""
        super().flatten_mapping(node)
        if len(node.value) > _YAML_NODES:
            raise yaml.YAMLError("too much is merged")


def _weigh(value: Any, known: dict[int, int]) -> int:
    """Number of values in a value, each counted as often as an alias repeats it.

    Raises:
        ValueError: there are too many, or one holds itself.
    """
    if isinstance(value, set | tuple | bytes):  # by tags
        raise ValueError(f"a {type(value).__name__}, which no setting is")
    if not isinstance(value, dict | list):
        return 1
    if known.setdefault(id(value), -1) < 0:
        parts = [*value, *value.values()] if isinstance(value, dict) else list(value)
        total = 1
        for part in parts:
            if known.get(id(part)) == -1:
                raise ValueError("an anchor holds itself")
            total += _weigh(part, known)
        if total > _YAML_NODES:
            raise ValueError("aliases repeat too much")
        known[id(value)] = total
    return known[id(value)]
