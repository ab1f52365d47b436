"""A file that FAISS would crash on, or that finds other rows than its shard's, is refused before FAISS sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bench.retrieval import clustered

from llmrec.text.search.index import build_index, read_structure, write_structure
from llmrec.text.search.structure_file import check_structure

NUM, DIM = 400, 16
ROWS = np.arange(NUM) * 2  # of one locale of two


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("structures")
    found = {}
    for kind in ("hnsw", "ivf", "pq"):
        shard = build_index(clustered(2 * NUM, DIM), np.arange(2 * NUM) % 2, kind, exact_rows=100).shards[0]
        write_structure(shard.structure, folder / kind)
        found[kind] = (folder / kind).read_bytes()
    return found


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "pq"])
def test_what_faiss_writes_is_read_and_belongs_to_its_rows(wholes: dict[str, bytes], kind: str, tmp_path: Path) -> None:
    file = tmp_path / ("x.hnsw" if kind == "hnsw" else "x.ivf")
    file.write_bytes(wholes[kind])
    check_structure(file, kind, DIM, ROWS)
    assert read_structure(file).ntotal == NUM
    for dim, rows in ((DIM, ROWS + 1), (DIM, ROWS[:-1]), (DIM * 2, ROWS)):
        with pytest.raises(ValueError, match=r"rows are not|is due"):
            check_structure(file, kind, dim, rows)
    with pytest.raises(ValueError, match="it has no"):
        check_structure(file, "ivf" if kind == "hnsw" else "hnsw", DIM, ROWS)


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "pq"])
def test_a_file_that_is_cut_or_goes_on_is_refused(wholes: dict[str, bytes], kind: str, tmp_path: Path) -> None:
    whole, file = wholes[kind], tmp_path / "x"
    for content in (*(whole[:end] for end in range(1, len(whole), len(whole) // 60)), whole + b"\0"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="it "):
            check_structure(file, kind, DIM, ROWS)


def put(at: int, dtype: str, value: int) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        content[at : at + np.dtype(dtype).itemsize] = np.array([value]).astype(dtype).tobytes()

    return change


def graph_places(whole: bytes) -> dict[str, int]:
    """Where a graph's numbers are, counted from what is before them."""
    levels = 2 * 37 + 8 + 8 * int.from_bytes(whole[74:82], "little") + 8 + 4 * 9 + 8
    offsets = levels + 4 * NUM + 8
    links = offsets + 8 * (NUM + 1) + 8
    entry = links + 4 * int.from_bytes(whole[links - 8 : links], "little")
    return {"levels": levels, "offsets": offsets, "links": links, "entry": entry}


@pytest.mark.parametrize(
    ("place", "dtype", "value", "message"),
    [
        ("levels", "i4", 0, "levels"),
        ("levels", "i4", 7, "links are not where"),
        ("offsets", "u8", 1 << 40, "links are not where"),
        ("links", "i4", NUM, "a link leads nowhere"),
        ("links", "i4", -2, "a link leads nowhere"),
        ("entry", "i4", NUM, "is due"),
        ("entry", "i4", -1, "is due"),
    ],
)
def test_a_graph_that_leads_out_of_it_is_refused(
    wholes: dict[str, bytes], place: str, dtype: str, value: int, message: str, tmp_path: Path
) -> None:
    content = bytearray(wholes["hnsw"])
    put(graph_places(wholes["hnsw"])[place], dtype, value)(content)
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        check_structure(tmp_path / "x", "hnsw", DIM, ROWS)


def test_a_link_to_a_node_that_is_not_on_its_level_is_refused(wholes: dict[str, bytes], tmp_path: Path) -> None:
    whole, places = wholes["hnsw"], graph_places(wholes["hnsw"])
    levels = np.frombuffer(whole, "i4", NUM, places["levels"])
    offsets = np.frombuffer(whole, "u8", NUM + 1, places["offsets"])
    high, low = int(np.argmax(levels)), int(np.argmin(levels))
    assert levels[low] < 2 <= levels[high]
    content = bytearray(whole)
    put(places["links"] + 4 * (int(offsets[high]) + 32), "i4", low)(content)  # its first link on the second level
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match="not on its level"):
        check_structure(tmp_path / "x", "hnsw", DIM, ROWS)


@pytest.mark.parametrize("kind", ["ivf", "pq"])
def test_lists_of_other_rows_or_lengths_are_refused(wholes: dict[str, bytes], kind: str, tmp_path: Path) -> None:
    whole = wholes[kind]
    sizes = whole.index(b"ilar") + 4 + 8 + 8 + 4 + 8
    last = len(whole) - 8
    changes = [put(sizes, "u8", 1 << 61), put(sizes, "u8", 0), put(last, "i8", -1), put(last, "i8", 1)]
    for change in changes:
        content = bytearray(whole)
        change(content)
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(ValueError, match=r"longer or shorter|too early|rows are not"):
            check_structure(tmp_path / "x", kind, DIM, ROWS)
    (tmp_path / "x").write_bytes(whole.replace(b"ilar", b"ilod"))  # lists that are in another file
    with pytest.raises(ValueError, match="no ilar"):
        check_structure(tmp_path / "x", kind, DIM, ROWS)
