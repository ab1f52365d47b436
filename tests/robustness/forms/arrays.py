"""Changes of arrays: NumPy's files and safetensors, their headers, and the texts that some hold."""

from __future__ import annotations

import io
import re
from random import Random
from typing import Any, Final

from tests.robustness.forms.plain import BYTES, Mutator, Skip
from tests.robustness.forms.trees import json_changed, json_deep, lines_moved

__all__ = ["NPY", "SAFETENSORS"]


def _array_changed(array: Any, draw: Random) -> Any:
    import numpy as np

    flat = array.reshape(-1).copy()
    if not flat.size:
        return np.zeros(3, array.dtype)
    one = draw.randrange(flat.size)
    if np.issubdtype(array.dtype, np.floating):
        flat[one] = draw.choice((np.nan, np.inf, -np.inf, 1e30, 0.0, -1.0))
        if draw.random() < 0.3:
            flat[:] = flat[one]
    elif np.issubdtype(array.dtype, np.integer):
        edges = np.iinfo(array.dtype)
        flat[one] = draw.choice((edges.max, edges.min, max(edges.min, -1), 0, flat[one] ^ 1, min(edges.max, 10**6)))
    else:
        flat[one] = not flat[one]
    ways = (lambda: flat.reshape(array.shape),) * 4 + (
        lambda: flat[:-1],
        lambda: np.concatenate([flat, flat]),
        lambda: flat.astype(draw.choice((np.float64, np.int8, np.int64, np.float16))),
        lambda: array[::-1],
        lambda: np.expand_dims(array, 0),
        lambda: array[:0],
        lambda: np.sort(flat)[::-1].reshape(array.shape),
    )
    with np.errstate(all="ignore"):
        return draw.choice(ways)()


def npy_changed(data: bytes, draw: Random) -> bytes:
    """A NumPy array with another value, shape or type."""
    import numpy as np

    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError):
        raise Skip from None
    out = io.BytesIO()
    np.save(out, _array_changed(array, draw))
    return out.getvalue()


def npy_header(data: bytes, draw: Random) -> bytes:
    """The header tells another type or shape than the bytes have."""
    if not data.startswith(b"\x93NUMPY"):
        raise Skip
    pairs = ((b"<f4", b"<f8"), (b"<f4", b"|O8"), (b"<i", b">i"), (b"(", b"(9"), (b"(", b"(-"), (b"False", b"True "))
    old, new = draw.choice(pairs)
    if old not in data[:128]:
        raise Skip
    changed = data.replace(old, new, 1)
    return changed if len(changed) == len(data) else changed.replace(b"  ", b" ", len(changed) - len(data))


def tensors_changed(data: bytes, draw: Random) -> bytes:
    """One array of a safetensors file is another, gone, more, or under another's name."""
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load, save

    try:
        arrays = load(data)
    except (SafetensorError, ValueError, KeyError):
        raise Skip from None
    if not arrays:
        raise Skip
    name = draw.choice(sorted(arrays))
    way = draw.randrange(10)
    if arrays[name].dtype == np.uint8 and arrays[name].size > 64 and way < 7:  # a text: of trees, of a tokenizer
        arrays[name] = np.frombuffer(text_changed(arrays[name].tobytes(), draw), np.uint8)
    elif way < 7:
        arrays[name] = np.ascontiguousarray(_array_changed(arrays[name], draw))
    elif way == 7:
        del arrays[name]
    elif way == 8:
        arrays[name + "x"] = arrays[name]
    else:
        other = draw.choice(sorted(arrays))
        arrays[name], arrays[other] = arrays[other], arrays[name]
    return bytes(save(arrays))


def text_changed(data: bytes, draw: Random) -> bytes:
    """A number of a text is another, or a line is gone or twice, or its bytes are changed."""
    spans = [found.span() for found in re.finditer(rb"-?\d+(\.\d+)?(e-?\d+)?", data)]
    if spans and draw.random() < 0.6:
        start, end = draw.choice(spans)
        odd = draw.choice(
            (b"-1", b"0", b"99999999", b"2147483648", b"-2147483649", b"nan", b"inf", b"1e308", b"", b"7")
        )
        return data[:start] + odd + data[end:]
    mutator = draw.choice((json_changed, json_deep, *(lines_moved,) * 3, *BYTES))
    return mutator(data, draw)


def tensors_header(data: bytes, draw: Random) -> bytes:
    """The header of a safetensors file has one thing changed."""
    if len(data) < 8:
        raise Skip
    size = int.from_bytes(data[:8], "little")
    header = json_changed(data[8 : 8 + size], draw)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


NPY: Final[tuple[Mutator, ...]] = (*(npy_changed,) * 3, npy_header)
SAFETENSORS: Final[tuple[Mutator, ...]] = (*(tensors_changed,) * 3, tensors_header)
