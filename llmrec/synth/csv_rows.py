"""The official CSV layout, written in chunks: rows are joined as columns of bytes, no row is ever a Python object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.arrays import Ints
from llmrec.ragged import places_within

__all__ = ["printed_lists", "write_header", "write_rows"]

# numpy breaks a printed array at 75 characters: five ids of ten characters, quoted, with blanks and the bracket.
_PER_LINE: Final = 5


def write_header(handle: BinaryIO, names: Sequence[str]) -> None:
    """Write a CSV's first row."""
    handle.write((",".join(names) + "\n").encode())


def write_rows(handle: BinaryIO, columns: Sequence[pa.Array]) -> None:
    """Append rows, quoted as pandas quotes: only fields with a comma, a quote or a line break; null is empty."""
    fields = [pc.fill_null(_quoted(_plain(column)), "") for column in columns]
    fields[-1] = pc.binary_join_element_wise(fields[-1], "\n", "")
    rows = pc.binary_join_element_wise(*fields, ",")
    if len(rows):
        offsets, values = rows.buffers()[1:]
        ends = np.frombuffer(offsets, dtype=np.int32)[rows.offset : rows.offset + len(rows) + 1]
        handle.write(memoryview(values)[ends[0] : ends[-1]])


def printed_lists(ids: pa.Array, items: Ints, offsets: Ints) -> pa.Array:
    """Lists of ids in numpy's printed form, ``['B0…' 'B0…']``, with its line breaks.

    Args:
        ids: Ids of ten characters, by product number.
        items: Flat product numbers of all lists.
        offsets: Shape ``(S + 1,)``; where each list starts in ``items``.

    Returns:
        ``S`` strings.
    """
    place = places_within(np.diff(offsets))
    glue = np.where(place == 0, 0, np.where(place % _PER_LINE == 0, 2, 1))
    opening = pa.array(["['", " '", "\n '"]).take(pa.array(glue))
    words = pc.binary_join_element_wise(opening, ids.take(pa.array(items[offsets[0] : offsets[-1]])), "'", "")
    starts = pa.array(offsets - offsets[0], pa.int32())
    return pc.binary_join_element_wise(pc.binary_join(pa.ListArray.from_arrays(starts, words), ""), "]", "")


def _plain(column: pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _quoted(column: pa.Array) -> pa.Array:
    needs = pc.match_substring_regex(column, '[,"\\r\\n]')
    if not pc.any(needs).as_py():
        return column
    doubled = pc.replace_substring(column, '"', '""')
    return pc.if_else(needs, pc.binary_join_element_wise('"', doubled, '"', ""), column)
