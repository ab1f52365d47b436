"""Item vectors in cells: the nearest are found in them, and one cell is all items."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.arrays import Floats
from llmrec.rankers.vectors import cells
from llmrec.rankers.vectors.cells import Cells, Shelf
from llmrec.text.encoders.base import unit_rows


def in_groups(number: int, groups: int) -> Floats:
    """Vectors in tight groups, which lie far apart."""
    rng = np.random.default_rng(0)
    middle = rng.standard_normal((groups, 16))
    return unit_rows((middle[np.arange(number) % groups] + 0.05 * rng.standard_normal((number, 16))).astype(np.float32))


def best(held: Cells, vectors: Floats, codes: list[int], wanted: Floats, k: int) -> list[set[int]]:
    prior = np.zeros(len(codes), dtype=np.float32)
    shelf = Shelf.of(held, np.array(codes), vectors, prior)
    rows, found, _ = shelf.near_best(wanted, held.nearest(wanted), k)
    return [set(found[rows == row].tolist()) for row in range(len(wanted))]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "WHOLE", 100)
    monkeypatch.setattr(cells, "PROBED", 8)


@pytest.mark.usefixtures("few")
def test_what_lies_near_is_found_among_a_part_of_the_items() -> None:
    vectors = in_groups(2_000, 50)
    held = Cells.of(vectors, 0)
    wanted = vectors[:40]
    assert held.nearest(wanted).shape == (40, 8)
    exact = np.argsort(-wanted @ vectors.T, axis=1)[:, :20]
    found = best(held, vectors, list(range(2_000)), wanted, 20)
    assert np.mean([len(one & set(other)) for one, other in zip(found, exact.tolist(), strict=True)]) > 19
    alone = [best(held, vectors, list(range(2_000)), row[None], 20)[0] for row in wanted]
    assert alone == found


@pytest.mark.usefixtures("few")
def test_only_items_on_the_shelf_are_found() -> None:
    vectors = in_groups(500, 5)
    odd = list(range(1, 500, 2))
    assert all(code % 2 for one in best(Cells.of(vectors, 0), vectors, odd, vectors[:6], 10) for code in one)


def test_one_cell_is_every_item() -> None:
    vectors = in_groups(300, 30)
    held = Cells.of(vectors, 0)  # too few for more
    assert len(held.centres) == 1
    order = np.argsort(-vectors[:5] @ vectors.T, axis=1)[:, :7]
    assert best(held, vectors, list(range(300)), vectors[:5], 7) == [set(one) for one in order.tolist()]


def test_no_vector_asks_for_nothing() -> None:
    vectors = in_groups(300, 30)
    assert best(Cells.of(vectors, 0), vectors, list(range(300)), vectors[:0], 7) == []
