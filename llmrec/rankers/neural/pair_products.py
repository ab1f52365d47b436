"""Products of some pairs of vectors, as machine code."""

from __future__ import annotations

import numpy as np

from llmrec.arrays import Floats, Ints
from llmrec.processes import machine_code

__all__ = ["pair_products_of"]


@machine_code(any_order=True)
def pair_products_of(left: Floats, right: Floats, rows: Ints, codes: Ints) -> Floats:
    """Products of rows of ``left`` and ``right``, ``(·, D)``, that ``rows`` and ``codes``, ``(C,)``, name.

    A pair has the same product in any batch; its last bits are this processor's.
    """
    products = np.empty(len(rows), dtype=np.float32)
    for pair in range(len(rows)):
        total, row, code = np.float32(0), rows[pair], codes[pair]
        for place in range(left.shape[1]):
            total += left[row, place] * right[code, place]
        products[pair] = total
    return products
