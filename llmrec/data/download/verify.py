"""Are fetched files what they claim to be? Their kind, size, columns, rows and SHA-256, each doubt by its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmrec.console import track
from llmrec.data.connection import connected
from llmrec.data.download.official import Known, known_files
from llmrec.data.raw import ends_whole, explained, parquet_file, read_raw
from llmrec.data.sources import SYNTHETIC, find_source
from llmrec.errors import DataError, LlmrecError
from llmrec.files import sha256_of
from llmrec.output import write_text

__all__ = ["SUMS", "Checked", "check_folder", "impostor", "is_synthetic", "write_sums"]

SUMS: Final = "SHA256SUMS"
_PARTIAL: Final = (".part", ".crdownload", ".download", ".partial", ".tmp", ".aria2")
_START_BYTES: Final = 1024


@dataclass(frozen=True)
class Checked:
    """One file after the check.

    Attributes:
        name: Path inside the folder.
        num_bytes: Size.
        rows: Rows; None where the file cannot be read.
        expected: Numbers of rows that it may have; empty where none is known.
        sha256: Of its bytes; empty for what is no data.
        problem: What is wrong, and the way out; empty where nothing is.
    """

    name: str
    num_bytes: int
    rows: int | None
    expected: tuple[int, ...]
    sha256: str
    problem: str = ""


def check_folder(folder: Path) -> list[Checked]:
    """Check every file of sessions, products and targets in a folder, and the downloads that were broken off.

    Row counts are those of the official files by their names; the SHA-256 of each is compared with ``SHA256SUMS``
    where the folder has one (nobody publishes sums of these files).

    Raises:
        ConfigError: ``folder`` is no folder.
        DataError: it holds no sessions.
    """
    broken = _broken_off(folder)
    try:
        source = find_source(folder)
    except DataError:
        if broken:
            return broken
        raise
    known = known_files(source)
    sums = _read_sums(source.folder)
    checked = [_check(one, source.folder, sums) for one in track(known, "check", len(known))]
    gone = [name for name in sums if not (source.folder / name).is_file()]
    lost = [Checked(name, 0, None, (), "", f"named in {SUMS} but not there; fetch it again") for name in gone]
    return [*checked, *lost, *broken]


def is_synthetic(folder: Path) -> bool:
    """Whether `llmrec data synth` wrote a folder: its files have the official names and row counts."""
    return (folder / SYNTHETIC).is_file()


def impostor(path: Path) -> str:
    """What a file is instead of the data that its name promises, with the way out; empty where it may be data."""
    if path.stat().st_size == 0:
        return "empty; download it again"
    with path.open("rb") as handle:
        start = handle.read(_START_BYTES)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"version https://git-lfs"):
        size = re.search(rb"size (\d+)", start)
        note = f" of {int(size[1]):,} bytes" if size else ""
        return f"a git-lfs pointer, not the file{note}; run 'git lfs pull' in the repository"
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page, most likely the login page; log in with a browser and download it there"
    if text.startswith((b"<?xml", b"<error")):
        return "an error page (XML), most likely of an expired link; download it again from the page"
    if text.startswith(b"{") and path.suffix.lower() == ".csv":
        return "JSON, most likely an error message; download it again"
    for magic, kind in ((b"PK\x03\x04", "zip"), (b"\x1f\x8b", "gzip"), (b"7z\xbc\xaf", "7z")):
        if start.startswith(magic):
            return f"a {kind} archive; unpack it"
    if path.suffix.lower() == ".parquet" and not start.startswith(b"PAR1"):
        return "no Parquet file; download it again"
    return ""


def _broken_off(folder: Path) -> list[Checked]:
    if not folder.is_dir():
        return []
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and file.suffix.lower() in _PARTIAL]
    return [
        Checked(file.name, file.stat().st_size, None, (), "", "a download that was broken off; finish or repeat it")
        for file in files
    ]


def _check(known: Known, folder: Path, sums: dict[str, str]) -> Checked:
    path = known.path
    name, size = path.relative_to(folder).as_posix(), path.stat().st_size
    if problem := impostor(path):
        return Checked(name, size, None, known.rows, "", problem)
    digest = sha256_of(path)
    try:
        rows, columns = _read(path)
    except LlmrecError as error:
        return Checked(name, size, None, known.rows, digest, _cut_or(str(error).removeprefix(f"{path.name}: ")))
    problem = _missing_column(columns, known) or _other_rows(path, rows, known.rows)
    if not problem and sums.get(name, digest) != digest:
        problem = f"another SHA-256 than in {SUMS}; fetch it again, or write the sums anew"
    return Checked(name, size, rows, known.rows, digest, problem)


def _read(path: Path) -> tuple[int, list[str]]:
    """Rows and columns; the whole of a CSV is read."""
    if path.suffix.lower() == ".parquet":
        try:
            metadata = parquet_file(path)
        except DataError as error:
            raise DataError("no whole Parquet file; the download is cut short, repeat it") from error
        return metadata.metadata.num_rows, list(metadata.schema_arrow.names)
    with connected() as con, explained(path):
        table = read_raw(con, path, ())
        return con.to_pyarrow(table.count()).as_py(), list(table.columns)


def _cut_or(reason: str) -> str:
    return f"{reason}; download it again" if "cut short" in reason and "repeat" not in reason else reason


def _missing_column(columns: list[str], known: Known) -> str:
    for wanted in known.columns:
        missing = [name for name in wanted if name not in columns]
        if missing:
            return f"no column {', '.join(missing)} (it has {', '.join(columns[:6])}); it is another file"
    return ""


def _other_rows(path: Path, rows: int, expected: tuple[int, ...]) -> str:
    if not expected or rows in expected:
        return ""
    wanted = " or ".join(f"{count:,}" for count in expected)
    if rows < min(expected):
        cut = path.suffix.lower() == ".csv" and not ends_whole(path)
        note = "the download is cut short" if cut else "part of the file, or another one"
        return f"{rows:,} rows, the official file has {wanted}; {note}, fetch it again"
    return f"{rows:,} rows, the official file has {wanted}; it is another file"


def _read_sums(folder: Path) -> dict[str, str]:
    """``SHA256SUMS`` as ``sha256sum`` writes it: file to sum."""
    file = folder / SUMS
    if not file.is_file():
        return {}
    sums = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            digest, _, name = line.partition(" ")
            if not re.fullmatch(r"[0-9a-f]{64}", digest) or not name.strip():
                raise DataError(f"{file}, line {number}: not a line of sha256sum; write it again with --write-sums")
            sums[name.strip().removeprefix("*")] = digest
    return sums


def write_sums(folder: Path, checked: list[Checked]) -> Path:
    """Write ``SHA256SUMS`` of checked files, which ``sha256sum -c`` reads too.

    Raises:
        DataError: one of the files is not what it should be.
        DiskError: the place cannot be written.
    """
    wrong = [one.name for one in checked if one.problem]
    if wrong:
        raise DataError(f"{folder}: no sums of files that are not as they should be: {', '.join(wrong)}")
    file = find_source(folder).folder / SUMS
    write_text(file, "".join(f"{one.sha256}  {one.name}\n" for one in checked))
    return file
