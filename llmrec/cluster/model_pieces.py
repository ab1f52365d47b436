"""A ranker's arrays as pieces that executors make side by side, and the one file that is made of them.

A piece is a row: ``array`` that it belongs to, ``place`` among the pieces of it, and ``data``, its bytes. It is of some
MB at most, whatever the arrays are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.artefact import Arrays, arrays_header
from llmrec.data.spark.storage import put_only_part

__all__ = ["ArraysFile", "Form", "Part", "dense_part", "id_part", "ragged_part", "write_arrays"]

BLOCK: Final = 1 << 13  # rows, or items, of a piece
_VALUES: Final = 1 << 19  # of a piece: an executor holds them a few times while it puts them in order
_PIECES: Final = "array string, place bigint, data binary"
_SCHEMA: Final = pa.schema([("array", pa.string()), ("place", pa.int64()), ("data", pa.binary())])
_LINES: Final = 1 << 12  # of a batch
_END: Final = "end"  # an array that nobody reads, whose one byte ends the file's last line

Form = tuple[str, tuple[int, ...] | None]  # kind of its numbers, as int32; shape, None for as many as there are


@dataclass(frozen=True)
class Part:
    """Some arrays of a model.

    Attributes:
        forms: Of each.
        pieces: Data frame of their pieces.
        running: Arrays whose pieces hold lengths; the file holds where they start and where the last one ends.
    """

    forms: Mapping[str, Form]
    pieces: Any
    running: tuple[str, ...] = ()


def ragged_part(name: str, table: Any, rows: int, width: int, *, weighted: bool = True) -> Part:
    """Arrays of `llmrec.rankers.counting.rows.WeightedRows`.

    Args:
        name: Of the arrays.
        table: Data frame with ``row``, ``place`` that orders a row's values, ``code`` and ``weight``.
        rows: Their number; one that the table does not have is empty.
        width: About how many values a long row has.
        weighted: Whether it has weights.
    """
    block = max(1, min(BLOCK, _VALUES // width))

    def pieces(found: pa.Table) -> pa.Table:
        block_number = found["block"][0].as_py()
        first = block_number * block
        held = found.filter(found["code"].is_valid())
        row, place = (held[column].to_numpy() for column in ("row", "place"))
        order = np.lexsort((place, row))
        lengths = np.bincount(row - first, minlength=min(block, rows - first)).astype(np.int64)
        data = {"offsets": lengths, "codes": held["code"].to_numpy()[order].astype(np.int32)}
        if weighted:
            data["weights"] = held["weight"].to_numpy()[order].astype(np.float32)
        return _pieces((f"{name}.{kind}", block_number, array) for kind, array in data.items())

    weight = "CAST(weight AS DOUBLE)" if weighted else "CAST(0 AS DOUBLE)"
    values = table.selectExpr(
        "CAST(row AS BIGINT) row", "CAST(place AS BIGINT) place", "CAST(code AS BIGINT) code", f"{weight} AS weight"
    )
    empty = table.sparkSession.range(-(-rows // block)).selectExpr(
        f"id * {block} AS row", "0L AS place", "CAST(NULL AS BIGINT) AS code", "CAST(NULL AS DOUBLE) AS weight"
    )
    grouped = values.unionByName(empty).selectExpr("*", f"row DIV {block} AS block").groupBy("block")
    forms: dict[str, Form] = {f"{name}.offsets": ("int64", (rows + 1,)), f"{name}.codes": ("int32", None)}
    forms[f"{name}.weights"] = ("float32", None)
    return Part(forms, grouped.applyInArrow(pieces, _PIECES), (f"{name}.offsets",))


def dense_part(name: str, table: Any, shape: tuple[int, int], kind: str) -> Part:
    """A matrix whose other entries are 0.

    Args:
        name: Of the array.
        table: Data frame with ``row``, ``item`` and ``value``, each pair once.
        shape: Of the matrix.
        kind: Of its numbers.
    """
    (rows, items), block = shape, BLOCK
    blocks = -(-items // block)

    def pieces(found: pa.Table) -> pa.Table:
        number = found["block"][0].as_py()
        first = number % blocks * block
        held = found.filter(found["value"].is_valid())
        array = np.zeros(min(block, items - first), dtype=kind)
        array[held["item"].to_numpy() - first] = held["value"].to_numpy()
        return _pieces([(name, number, array)])

    values = table.selectExpr("CAST(row AS BIGINT) row", "CAST(item AS BIGINT) item", "CAST(value AS DOUBLE) value")
    empty = table.sparkSession.range(rows * blocks).selectExpr(
        f"id DIV {blocks} AS row", f"id % {blocks} * {block} AS item", "CAST(NULL AS DOUBLE) AS value"
    )
    placed = values.unionByName(empty).selectExpr("*", f"row * {blocks} + item DIV {block} AS block")
    return Part({name: (kind, shape)}, placed.groupBy("block").applyInArrow(pieces, _PIECES))


def id_part(vocabulary: Any, items: int) -> Part:
    """The ids of a catalogue, from a data frame with ``id`` and ``item``, its code."""
    block = BLOCK

    def pieces(found: pa.Table) -> pa.Table:
        ids = found.sort_by("item")["id"].combine_chunks().cast(pa.binary())
        text = np.frombuffer(b"".join(ids.to_pylist()), dtype=np.uint8)
        lengths = pc.binary_length(ids).to_numpy(zero_copy_only=False).astype(np.int32)
        number = found["block"][0].as_py()
        return _pieces([("catalogue.ids", number, text), ("catalogue.id_bytes", number, lengths)])

    grouped = vocabulary.selectExpr("id", "item", f"item DIV {block} AS block").groupBy("block")
    forms: dict[str, Form] = {"catalogue.ids": ("uint8", None), "catalogue.id_bytes": ("int32", (items,))}
    return Part(forms, grouped.applyInArrow(pieces, _PIECES))


def write_arrays(session: Any, parts: Sequence[Part], small: Arrays, folder: str, uri: str) -> str:
    """Write all arrays as one file, which an executor puts together; give its SHA-256.

    Args:
        session: Of Spark.
        parts: Of the model.
        small: Arrays of few numbers, which the driver has.
        folder: URI of a folder for what is read again.
        uri: Of the file.

    Raises:
        ConfigError: the cluster lacks something.
        DiskError: the file cannot be put in place.
    """
    small = {**small, _END: np.frombuffer(b"\n", dtype=np.uint8)}
    rows = [(name, 0, bytearray(np.ascontiguousarray(array).tobytes())) for name, array in small.items()]
    forms: dict[str, Form] = {name: (array.dtype.name, array.shape) for name, array in small.items()}
    every = [*parts, Part(forms, session.createDataFrame(rows, _PIECES))]
    reduce(lambda one, other: one.union(other), (part.pieces for part in every)).write.parquet(f"{folder}/pieces")
    pieces = session.read.schema(_PIECES).parquet(f"{folder}/pieces")
    sizes = pieces.selectExpr("array", "octet_length(data) AS size").groupBy("array").sum("size").collect()
    file = ArraysFile.of(every, {row[0]: row[1] for row in sizes})
    names = ", ".join(f"'{name}'" for name in file.forms)
    ordered = pieces.selectExpr("*", f"array_position(array({names}), array) AS number").coalesce(1)
    ordered = ordered.sortWithinPartitions("number", "place").select("array", "data")
    ((digest,),) = ordered.mapInArrow(file.digest, "digest string").collect()
    lines = ordered.mapInArrow(file.lines, "line binary").selectExpr("CAST(line AS STRING) AS line")
    lines.write.text(f"{folder}/file")  # which writes bytes as they are, and after each line its end
    put_only_part(session, f"{folder}/file", uri)
    return str(digest)


@dataclass(frozen=True)
class ArraysFile:
    """The file on an executor, of pieces in its order: one after another, no more in memory than a few.

    Spark's executors write no bytes of their own making to a cluster's storage, but lines of text. So the file is cut
    at each byte that ends a line, and the last one of all is the array `_END`.
    """

    forms: Mapping[str, tuple[str, tuple[int, ...]]]
    running: frozenset[str]

    @classmethod
    def of(cls, parts: Sequence[Part], sizes: Mapping[str, int]) -> ArraysFile:
        """The file of some parts, of whose arrays the pieces are of some bytes together; large numbers first, so that
        each lies at a multiple of its size.
        """
        forms = {}
        for name, (kind, shape) in ((name, form) for part in parts for name, form in part.forms.items()):
            forms[name] = (kind, (sizes.get(name, 0) // np.dtype(kind).itemsize,) if shape is None else shape)
        order = sorted(forms, key=lambda name: (name == _END, -np.dtype(forms[name][0]).itemsize, name))
        return cls({name: forms[name] for name in order}, frozenset(name for part in parts for name in part.running))

    def lines(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The file as lines, without their ends."""
        waiting: list[bytes] = []
        for data in self._content(batches):
            first, *others = data.split(b"\n")
            waiting.append(first)
            if others:
                found = [b"".join(waiting), *others[:-1]]
                waiting = [others[-1]]
                for start in range(0, len(found), _LINES):
                    yield pa.RecordBatch.from_arrays([pa.array(found[start : start + _LINES], pa.binary())], ["line"])

    def digest(self, batches: Iterator[Any]) -> Iterator[Any]:
        """SHA-256 of the file: one row."""
        found = hashlib.sha256()
        for data in self._content(batches):
            found.update(data)
        yield pa.RecordBatch.from_arrays([pa.array([found.hexdigest()])], ["digest"])

    def _content(self, batches: Iterator[Any]) -> Iterator[bytes]:
        yield arrays_header(self.forms)
        begun, end = "", 0
        for batch in batches:
            for array, data in zip(batch["array"].to_pylist(), batch["data"], strict=True):
                if array not in self.running:
                    yield data.as_py()
                    continue
                if begun != array:
                    begun, end = array, 0
                    yield np.zeros(1, dtype=np.int64).tobytes()
                places = end + np.cumsum(np.frombuffer(data.as_buffer(), dtype=np.int64))
                end = int(places[-1])
                yield places.tobytes()


def _pieces(found: Any) -> pa.Table:
    rows = [(name, place, array.tobytes()) for name, place, array in found]
    columns = [pa.array([row[place] for row in rows], field.type) for place, field in enumerate(_SCHEMA)]
    return pa.Table.from_arrays(columns, schema=_SCHEMA)
