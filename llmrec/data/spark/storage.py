"""What lies where a cluster's nodes reach it, named by URIs: looked at, written and put in place by Spark's own JVM."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from llmrec.console import notice_once
from llmrec.data.lists import excerpt
from llmrec.data.spark.owners import MARK, has_ended, own_mark
from llmrec.errors import ConfigError, DataError, DiskError, LlmrecError
from llmrec.files import uri_of

__all__ = [
    "exists",
    "explained",
    "files_below",
    "made_folder",
    "names_in",
    "needed_uri",
    "put_only_part",
    "put_text",
    "put_whole",
    "remove",
    "scratch_of",
    "shared_folder",
    "ship",
]

_OURS: Final = re.compile(r"llmrec\.errors\.(\w+): (.+)")
_REASONS: Final = (  # what Spark's log of an error holds, and what to do about it
    (r"No module named '(llmrec[\w.]*|pyarrow|numpy)'", "the executors lack Python's {0}: ship it (docs/cluster.md)"),
    (r"No FileSystem for scheme \"?(\w+)\"?|Class org[\w.]*\.(S3A)FileSystem not found", "no connector for it: {way}"),
    (
        r"(?i)NoAuthWithAWS\w*|NoAwsCredentials\w*|No AWS Credentials|Unable to load (?:AWS )?credentials"
        r"|AccessDenied\w*|\b403\b|Forbidden",
        "no right to it, or no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for driver and executors, "
        "or spark.hadoop.fs.s3a.*",
    ),
    (r"AccessControlException|Permission denied", "no right to it: ask for it, or run as its owner"),
    (r"UnknownHostException: (\S+)|Connection refused|NoRouteToHost", "nobody answers there; is the address right?"),
)
_UNREADABLE: Final = re.compile(
    r"\[?(?:FAILED_READ_FILE|CANNOT_READ_FILE_FOOTER|CANNOT_MERGE_SCHEMAS|UNABLE_TO_INFER_SCHEMA)[\w.]*\]?(.*)"
)
_FILE: Final = r"reading file (\S+?)\. [\s\S]*?"
_ROWS: Final = (  # what it holds where a row cannot be read, and what is to be said
    (
        _FILE + r"CSV header does not conform[\s\S]*?Expected: (.*) but found: (.*)",
        "{0}: column '{2}' where the first file has '{1}'; write all files alike",
    ),
    (
        _FILE + r"Number of column in CSV header",
        "{0}: not as many columns as the first file has; write all files alike",
    ),
    (
        _FILE + r"Malformed CSV record: ([\s\S]*?) SQLSTATE",
        '{0}: not a row of as many columns as the header has: "{1}"; a value with a comma needs quotes, a row of a log '
        "has no line breaks, and the file may be cut short",
    ),
    (
        _FILE + r"(?:CannotParseJSONField|Malformed records are detected|MALFORMED_RECORD)",
        "{0}: a line that is no JSON object; write one to a line",
    ),
    (
        _FILE + r"(?:EOFException|ZipException|not a gzip file|incorrect header check)",
        "{0}: not whole; pack or copy it again",
    ),
)
_CONNECTOR: Final = "spark-submit --packages org.apache.hadoop:hadoop-aws:3.4.1 (or spark.jars.packages)"


def needed_uri(path: Path | None, flag: str) -> str:
    """The URI that a flag names.

    Raises:
        ConfigError: it names nothing, or a path of this machine alone.
    """
    found = uri_of(path)
    if found is None:
        raise ConfigError(
            f"--engine spark ranks on a cluster, so {flag} names what all its nodes reach; got "
            f"{path or 'nothing'}: give a URI, for instance s3a://BUCKET/{flag[2:]} or file:///shared/{flag[2:]}"
        )
    return found


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Run something on a cluster; what it says in pages of log becomes one of our errors, in a line.

    Raises:
        ConfigError: the cluster lacks something; names it and the way out.
        DataError: what was read is not what it should be.
    """
    try:
        yield
    except LlmrecError:
        raise
    except Exception as error:  # Py4J's, Spark's and Python's on executors have no class of their own
        if not type(error).__module__.startswith(("py4j", "pyspark")):
            raise
        raise _explain(str(error), what) from error


def _explain(text: str, what: str) -> LlmrecError:
    if ours := _OURS.findall(text):
        kind, message = ours[-1]
        return {"DataError": DataError, "DiskError": DiskError}.get(kind, ConfigError)(message.strip())
    for pattern, way in _REASONS:
        if found := re.search(pattern, text):
            named = next((one for one in found.groups() if one), "")
            return ConfigError(f"{what}: {way.format(named, way=_CONNECTOR)}")
    if "PATH_NOT_FOUND" in text or "does not exist" in text or "FileNotFoundException" in text:
        return DataError(f"{what}: is not there; look for it with the cluster's own tools")
    for pattern, message in _ROWS:
        if found := re.search(pattern, text):
            return DataError(message.format(*(excerpt(one, 200) for one in found.groups())))
    if found := _UNREADABLE.search(text):
        return DataError(f"{what}: not Parquet of one form throughout ({excerpt(found.group(1).strip(' .'), 200)})")
    lines = [line.strip().removeprefix(": ").removeprefix("Caused by: ") for line in text.splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if re.match(r"[\w.]*(Error|Exception)\b", line)), (lines or [""])[0])
    return ConfigError(f"{what}: the cluster failed: {excerpt(told, 300)}")


def _place(session: Any, uri: str) -> tuple[Any, Any]:
    """Hadoop's file system of a URI, and its path there."""
    path = session._jvm.org.apache.hadoop.fs.Path(uri)
    return path.getFileSystem(session._jsc.hadoopConfiguration()), path


def exists(session: Any, uri: str) -> bool:
    """Whether something is there; errors as `explained`."""
    with explained(uri):
        system, path = _place(session, uri)
        return bool(system.exists(path))


def made_folder(session: Any, uri: str) -> str:
    """Make a folder, so that who may not is told before anything is computed; gives its URI; errors as `explained`.

    Raises:
        DiskError: it cannot be made.
    """
    with explained(uri):
        system, path = _place(session, uri)
        if not system.mkdirs(path):
            raise DiskError(f"{uri}: cannot be made; name another place")
    return uri


def put_text(session: Any, uri: str, text: str) -> None:
    """Write a text file: under another name first, then in the place of what is there; errors as `explained`."""
    with explained(uri):
        system, path = _place(session, uri)
        system.setWriteChecksum(False)  # a local file system would leave a file of them beside
        new = path.suffix(f".{uuid.uuid4().hex[:8]}.tmp")
        stream = system.create(new, True)
        stream.write(bytearray(text, "utf-8"))
        stream.close()
        system.delete(path, False)
        system.rename(new, path)


def put_only_part(session: Any, folder: str, uri: str) -> None:
    """Move the one part that Spark wrote into a folder, as a file of its own name; errors as `explained`.

    Raises:
        DiskError: it cannot be moved.
    """
    with explained(uri):
        system, path = _place(session, folder)
        (part,) = (one.getPath() for one in system.listStatus(path) if one.getPath().getName().startswith("part-"))
        if not system.rename(part, session._jvm.org.apache.hadoop.fs.Path(uri)):
            raise DiskError(f"{uri}: cannot be put in place")
        head, _, name = uri.rpartition("/")
        system.delete(session._jvm.org.apache.hadoop.fs.Path(f"{head}/.{name}.crc"), False)  # of a local file system


def remove(session: Any, uri: str) -> None:
    """Delete a folder that this process made; errors as `explained`."""
    with explained(uri):
        system, path = _place(session, uri)
        system.delete(path, True)


def _are_parts(names: Sequence[str]) -> bool:
    return all(name.startswith(("part-", "_", ".")) for name in names)


@contextmanager
def put_whole(
    session: Any, uri: str, what: str = "Parquet parts", are_ours: Callable[[Sequence[str]], bool] = _are_parts
) -> Iterator[str]:
    """Give the URI of a folder to write, and put it in the place of ``uri`` when the block ends without an error.

    What was there stays until the new one is complete, and comes back where it cannot take its place. What a killed
    command of this machine left beside it goes.

    Args:
        session: Of Spark.
        uri: Where to.
        what: What may be there already.
        are_ours: Whether names in a folder are those of such a thing.

    Raises:
        ConfigError: as `explained`.
        DataError: ``uri`` is a file, or holds something else.
    """
    with explained(uri):
        system, path = _place(session, uri)
        if system.exists(path) and not are_ours(_names(system, path)):
            raise DataError(f"{uri}: holds something else than {what}; name another place")
        with suppress(Exception):  # what cannot be looked at or deleted stays
            _sweep(session, system, path)
        new, old = _beside(session, path, "tmp"), _beside(session, path, "old")
        try:
            yield str(new.toString())
            there = system.exists(path)
            if there and not system.rename(path, old):
                raise DiskError(f"{uri}: what is there cannot be moved away; name another place")
            if not system.rename(new, path):
                with suppress(Exception):
                    system.rename(old, path)
                raise DiskError(f"{uri}: cannot be put in place; what was there is as it was")
            if there:
                system.delete(old, True)
        finally:
            with suppress(Exception):  # the cluster may be gone
                system.delete(new, True)


@contextmanager
def scratch_of(session: Any, uri: str) -> Iterator[str]:
    """Give the URI of a folder beside ``uri`` for what is under way; it is gone when the block ends.

    Raises:
        DiskError: it cannot be made.
    """
    system, path = _place(session, uri)
    scratch = _beside(session, path, "scratch")
    try:
        yield made_folder(session, str(scratch.toString()))
    finally:
        with suppress(Exception):  # the cluster may be gone
            system.delete(scratch, True)


def _beside(session: Any, path: Any, kind: str) -> Any:
    """A path beside another that nobody else uses."""
    return session._jvm.org.apache.hadoop.fs.Path(path.getParent(), f".{path.getName()}.{own_mark()}.{kind}")


def _sweep(session: Any, system: Any, path: Any) -> None:
    """Delete what commands left beside a place whose processes have ended; say what others left or are writing.

    Where one ended between the two steps of `put_whole`, what was there before comes back.
    """
    name, new = path.getName(), session._jvm.org.apache.hadoop.fs.Path
    above, begun = (re.sub(r"([*?\[\]{}\\])", r"\\\1", str(one)) for one in (path.getParent().toString(), name))
    for status in system.globStatus(new(new(above), f".{begun}.*")) or ():
        left = status.getPath()
        found = re.fullmatch(rf"\.{re.escape(name)}\.({MARK})\.(tmp|old|scratch)", left.getName())
        if found is None:
            continue
        ended = has_ended(found[1])
        if ended is None:
            notice_once(f"{left.toString()}: of a command of another machine; delete it if that has ended")
        elif ended and found[2] == "old" and not system.exists(path):
            system.rename(left, path)
        elif ended:
            system.delete(left, True)


def names_in(session: Any, uri: str) -> list[str]:
    """Names of what is directly in a folder, sorted; none where it is a file. Errors as `explained`."""
    with explained(uri):
        system, path = _place(session, uri)
        return sorted(_names(system, path)) if system.getFileStatus(path).isDirectory() else []


def files_below(session: Any, uri: str) -> list[str]:
    """URIs of the files at a place and in its folders, by name; what begins with ``_`` or ``.`` is left out."""
    system, path = _place(session, uri)
    found, listed, above = [], system.listFiles(path, True), len(system.makeQualified(path).toString())
    while listed.hasNext():
        file = listed.next().getPath().toString()
        if not re.search(r"/[_.]", file[above:]):
            found.append(file)
    return sorted(found)


def _names(system: Any, path: Any) -> list[str]:
    """Names in a folder; for a file its path, which no rule takes for its own."""
    if not system.getFileStatus(path).isDirectory():
        return [str(path.toString())]
    return [status.getPath().getName() for status in system.listStatus(path)]


def ship(session: Any, place: Path) -> str:
    """Make a folder readable on every node; give what `shared_folder` takes there.

    ``file:`` is there already; another URI is fetched by each node once, by Spark; a folder of this machine is packed
    and sent.

    Raises:
        ConfigError: as `explained`.
    """
    uri = uri_of(place)
    if uri is not None and uri.startswith("file:"):
        return uri
    with explained(uri or str(place)):
        if uri is not None:
            session.sparkContext.addFile(uri, recursive=True)
            return f"shipped:{uri.rstrip('/').rpartition('/')[2]}"
        return _packed(session, place)


def _packed(session: Any, folder: Path) -> str:
    """Send a folder, packed where Spark keeps what executors fetch: it goes when the session stops."""
    from pyspark import SparkFiles

    name = f"{folder.resolve().name}-{uuid.uuid4().hex[:8]}"
    packed = shutil.make_archive(str(Path(SparkFiles.getRootDirectory()) / name), "zip", folder)
    session.sparkContext.addArchive(f"{packed}#{name}")
    return f"shipped:{name}"


def shared_folder(shipped: str) -> Path:
    """On a node, the folder that `ship` made readable there."""
    if shipped.startswith("file:"):
        return Path("/" + shipped.removeprefix("file:///"))
    from pyspark import SparkFiles

    return Path(SparkFiles.get(shipped.removeprefix("shipped:")))
