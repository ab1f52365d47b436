"""CSV and Parquet as they are: the columns found, nothing guessed, and DuckDB's complaints in the user's words."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import ibis.expr.types as ir
import pyarrow as pa
from ibis.backends.duckdb import Backend
from ibis.util import gen_name

from llmrec.data.csv_form import header_of, names_in, refuse_loose_rows
from llmrec.data.lists import excerpt
from llmrec.errors import ConfigError, DataError, DiskError, LlmrecError, nearest
from llmrec.files import table_files, uri_of
from llmrec.memory import free_memory
from llmrec.schema import PRODUCT_COLUMNS

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = [
    "arrow_explained",
    "ends_whole",
    "explained",
    "first_rows",
    "from_parquet",
    "is_parquet",
    "literal",
    "parquet_file",
    "parquet_schema",
    "parquet_table",
    "read_csv",
    "read_raw",
    "refuse_controls",
    "row_at",
    "value_at",
]

# columns that are always read, so that DuckDB sees whether they are text
_READ: Final = {*PRODUCT_COLUMNS, "prev_items", "next_item", "next_title"}
_BATCH: Final = 1 << 13  # rows
_MAGIC: Final = b"PAR1"
# what DuckDB raises for a query that is wrong; all else is of what it reads, which it calls by many names
_OF_QUERY: Final = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.DependencyException,
    duckdb.ParserException,
    duckdb.PermissionException,
    duckdb.SyntaxException,
)


def read_raw(con: Backend, path: Path, required: Sequence[str]) -> ir.Table:
    """Name the columns of a CSV (all of them text), a Parquet file, or a folder of Parquet parts.

    A CSV's empty field is null; ``NA``, ``nan`` and ``null`` are text. Blank lines are skipped and do not count as
    rows. The names of folders give no columns (Hive partitions). The file's content is read when the table is, so run
    that inside `explained`.

    Raises:
        DataError: no such file, an unknown kind of file, one that a strict reader refuses, or a required column is
            missing.
    """
    if con.name != "duckdb":
        return _read_on_cluster(con, path, required)
    if not table_files(path):
        raise DataError(f"{path}: no such file; give a CSV or Parquet file, or a folder of part-*.parquet")
    if path.suffix.lower() == ".csv":
        names = header_of(path)
        _check_columns(path, names, required)
        refuse_loose_rows(path, len(names), text=not {*names} <= _READ)
        return read_csv(con, path, names)
    if path.suffix.lower() == ".parquet" or path.is_dir() or is_parquet(path):
        _check_columns(path, parquet_schema(path).names, required)
        with explained(path):
            return from_parquet(con, path)
    raise DataError(f"{path.name}: neither .csv nor .parquet; convert it to one of them")


def _read_on_cluster(con: Backend, path: Path, required: Sequence[str]) -> ir.Table:
    from llmrec.data.spark.reading import csv_rows, first_line, kind_of, read_files, refuse_drift

    kind, files = kind_of(con, path)
    if kind == ".csv":
        names = names_in(first_line(con, files[0]), path)
        _check_columns(path, [name.strip() for name in names], required)
        return csv_rows(con, path, kind, names)
    if kind != ".parquet":
        raise DataError(f"{path.name}: neither .csv nor .parquet; convert it to one of them")
    rows = read_files(con, path, kind)
    _check_columns(path, rows.columns, required)
    refuse_drift(con, path, required)
    return rows


def from_parquet(con: Backend, *files: Path) -> ir.Table:
    """Parquet files, or folders of parts, one after the other as a table; the names of folders are no columns."""
    if con.name != "duckdb":
        return con.read(*(uri_of(file) for file in files))
    paths = [literal(part) for file in files for part in table_files(file) or [file]]
    return con.read_parquet(paths, table_name=gen_name("parquet"), hive_partitioning=False)


def parquet_file(path: Path) -> pq.ParquetFile:
    """A Parquet file, its footer read and checked.

    Raises:
        DataError: it is none, or not whole.
    """
    from pyarrow.parquet import ParquetFile  # 20 MB that an import of CSVs has no use for

    with arrow_explained(path):
        file = ParquetFile(path)
        names = file.schema_arrow.names
    _check_columns(path, names, ())
    return file


def parquet_schema(path: Path) -> pa.Schema:
    """Columns and metadata of a Parquet file or, of a folder of parts, of the first, which the others are held to.

    Raises:
        DataError: one is no Parquet file or not whole, or has other columns than the first.
    """
    first, *others = table_files(path) or [path]
    found = parquet_file(first).schema_arrow
    for part in others:
        if not parquet_file(part).schema_arrow.equals(found):
            raise DataError(f"{part}: other columns than {first.name} has; write them all again")
    return found


def parquet_table(path: Path, columns: Sequence[str] | None = None) -> Any:
    """Columns of a Parquet file, or of a folder of parts, as an Arrow table; all if none are named. The names of its
    folders are no columns.

    Raises:
        DataError: it is no Parquet file, or not whole.
    """
    with arrow_explained(path):
        found, parts, size = parquet_schema(path), [], 0
        schema = found if columns is None else pa.schema([found.field(one) for one in columns])
        most = free_memory().size // 3  # it is cast and copied later
        for part in table_files(path):
            for batch in parquet_file(part).iter_batches(_BATCH, columns=columns):  # it may say it holds a billion rows
                parts.append(batch)
                size += batch.nbytes
                if size > most:
                    raise MemoryError
        table = pa.Table.from_batches([one.replace_schema_metadata(None) for one in parts], schema.remove_metadata())
        table.validate(full=True)  # offsets within their buffers, text that is UTF-8
    return table.replace_schema_metadata(found.metadata)


def read_csv(con: Backend, path: Path, names: Sequence[str], delimiter: str = ",") -> ir.Table:
    """Columns of a CSV that have a name, all of them text; gzipped where its name ends in ``.gz``."""
    # Numbered columns keep odd header texts out of the query; fixed types and quotes leave nothing to be sniffed.
    numbered = {f"c{position}": "VARCHAR" for position in range(len(names))}
    with explained(path):
        table = con.read_csv(
            literal(path),
            table_name=gen_name("csv"),
            columns=numbered,
            auto_detect=False,
            header=True,
            delim=delimiter,
            quote='"',
            escape='"',
            nullstr="",
            hive_partitioning=False,
            compression="gzip" if path.suffix.lower() == ".gz" else "none",
        )
    return table.select(**{name: table[column] for name, column in zip(names, numbered, strict=True) if name})


def is_parquet(path: Path) -> bool:
    """Whether a file begins as Parquet does."""
    with path.open("rb") as handle:
        return handle.read(len(_MAGIC)) == _MAGIC


def _check_columns(path: Path, names: Sequence[str], required: Sequence[str]) -> None:
    for name in required:
        if name not in names:
            raise DataError(f"{path.name}: no column '{name}'{nearest(name, [known for known in names if known])}")
    for name in names:
        if name and names.count(name) > 1:
            raise DataError(f"{path.name}: column '{name}' stands there twice; rename or remove one")


def first_rows(con: Backend, staged: ir.Table, **wrong: ir.BooleanValue) -> dict[str, int | None]:
    """First ``row`` at which each condition holds, or None, in one look at ``staged``, for a query costs its 10 ms."""
    firsts = {name: staged.row.min(where=condition) for name, condition in wrong.items()}
    return dict(con.to_pyarrow(staged.aggregate(**firsts)).to_pylist()[0])


def value_at(con: Backend, staged: ir.Table, row: int, name: str) -> Any:
    """What a column of ``staged`` holds at a row."""
    return con.to_pyarrow(staged.filter(staged.row == row).select(name)).column(name)[0].as_py()


def refuse_controls(con: Backend, staged: ir.Table, path: Path, row: int | None) -> None:
    """Refuse ids with a control character inside, which no shop gives and no screen shows.

    Args:
        con: Where ``staged`` lives.
        staged: ``row``, and ``control``: an id that holds one, else null.
        path: The file.
        row: The first one where ``control`` is not null (`first_rows`), or None.

    Raises:
        DataError: there is one; names file and row.
    """
    if row is not None:
        shown = excerpt(value_at(con, staged, row, "control").encode("unicode_escape").decode())
        raise DataError(f'{row_at(con, path, row)}: a control character inside an id: "{shown}"; remove it')


def row_at(con: Backend, path: Path, row: int) -> str:
    """A row of a file, or of a cluster's folder of files, for an error: ``log.csv, row 7``, counted from 1."""
    begun: Sequence[tuple[int, str]] = getattr(con, "starts", {}).get(str(path), ())
    start, file = max((one for one in begun if one[0] <= row), default=(0, path.name))
    return f"{file}, row {row - start + 1}"


def literal(path: Path) -> str:
    """Path whose ``*``, ``?`` and ``[`` DuckDB takes as they are, not as a pattern over many files."""
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def ends_whole(path: Path) -> bool:
    """Whether a CSV's last row ends in a line break, as every usual writer's does; a cut file seldom ends in one.

    A cluster's files are not looked at: they are taken for whole.
    """
    if uri_of(path):
        return True
    with path.open("rb") as handle:
        handle.seek(0, io.SEEK_END)
        handle.seek(max(0, handle.tell() - 1))
        return handle.read() in (b"\n", b"\r", b"")


@contextmanager
def arrow_explained(path: Path) -> Iterator[None]:
    """Read a Parquet file with Arrow; whatever it says of the file becomes one of our errors.

    Raises:
        DataError: the file is no Parquet file, or not whole.
        ConfigError: it does not fit into memory.
    """
    try:
        yield
    except (MemoryError, pa.ArrowMemoryError) as error:
        raise ConfigError(f"{path}: not enough memory for what it says it holds; is it damaged?") from error
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
        raise DataError(
            f"{path}: not a whole Parquet file ({excerpt(str(error), 100)}); copy or write it again"
        ) from error


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Run a query over ``path``; what DuckDB refuses because of the file, the disk or memory becomes one of our errors.

    Raises:
        DataError: the file's content is wrong; names the data row, counted from 1 without the header, where it can.
        DiskError: the disk is full.
        ConfigError: the query does not fit into memory.
    """
    if (uri := uri_of(path)) is not None:
        from llmrec.data.spark import storage

        with storage.explained(uri):
            yield
        return
    try:
        yield
    except duckdb.Error as error:
        known = _explain(error, path)
        if known is None:
            raise
        raise known from error


def _explain(error: duckdb.Error, path: Path) -> LlmrecError | None:
    text, kind = str(error), (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()
    if "No space left" in text or "Disk quota exceeded" in text:
        return DiskError(f"{path}: the disk is full; free some space and run the same command again")
    if isinstance(error, duckdb.OutOfMemoryException):
        return ConfigError(f"{path.name}: not enough memory and no room to spill; free memory or disk and run again")
    if line := re.search(r"CSV Error on Line: (\d+)", text):
        row = int(line.group(1)) - 1
        return DataError(f"{path.name}, {f'row {row}' if row else 'header'}: {_csv_reason(text)}")
    if not path.exists() or isinstance(error, _OF_QUERY):
        return None
    if kind not in (".csv", ".tsv", ".tab"):
        return DataError(f"{path.name}: not a whole Parquet file; copy it again")
    return DataError(f"{path.name}: {_csv_reason(text)}")


def _csv_reason(text: str) -> str:
    if count := re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", text):
        expected, found = (int(number) for number in count.groups())
        hint = "the file may be cut short" if found < expected else "a value with a comma needs quotes"
        return f"{found} columns where the header has {expected}; {hint}"
    if "unterminated quote" in text:
        return "a quoted value is not closed as it should be; the file may be cut short"
    if "Maximum line size" in text:
        return "longer than 2 MB; a quoted value may not be closed"
    if "unicode" in text.lower():
        return "not UTF-8 text; save the file as UTF-8"
    return "not a CSV row; check its quotes and commas"
