"""Names for the arrays that most functions take, and the check of those that come from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bools", "Floats", "Ints", "checked", "open_npy"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


def checked(
    arrays: Mapping[str, NDArray[Any]],
    name: str,
    dtype: str,
    shape: tuple[int | None, ...],
    *,
    least: float | None = None,
    most: float | None = None,
    rising: Literal["", "weakly", "strictly"] = "",
    nan: bool = False,
) -> NDArray[Any]:
    """One of the arrays of a file, which is what its reader takes it for, whoever wrote the file.

    Args:
        arrays: Arrays by name.
        name: Which one.
        dtype: Its kind, as ``int32``.
        shape: Its shape; None for a width that nothing else tells.
        least: Smallest value that it may hold. The sum of squares of floats is finite in any case.
        most: Largest value that it may hold.
        rising: Whether its values rise: ``weakly`` where neighbours may be equal.
        nan: Whether it may hold NaN, which stands for no value.

    Raises:
        KeyError: there is none of that name.
        ValueError: it is something else; says what.
    """
    array = arrays[name]
    fits = array.ndim == len(shape) and all(want in (None, held) for want, held in zip(shape, array.shape, strict=True))
    if array.dtype != dtype or not fits:
        wanted = ", ".join("any" if one is None else str(one) for one in shape)
        raise ValueError(f"{name} is {array.dtype} of shape {array.shape}, not {dtype} of ({wanted})")
    if array.size and (array.dtype.kind == "f" or (least, most) != (None, None)):
        _refuse_out_of_range(array, name, least, most, nan)
    if rising:
        falls = array[1:] < array[:-1] if rising == "weakly" else array[1:] <= array[:-1]
        if falls.any():
            raise ValueError(f"{name} does not rise")
    return array


def open_npy(path: Path) -> NDArray[Any]:
    """The array of a ``.npy`` file, mapped into memory: nothing is read or taken before it is used.

    Raises:
        OSError: there is none.
        ValueError: the file is cut short, longer than its array, or none of numbers.
    """
    try:
        array: np.memmap[Any, Any] = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # its header is Python's text, of which numpy makes what it can
        raise ValueError(f"{path.name} has no header of an array") from error
    if array.offset + array.nbytes != path.stat().st_size:
        raise ValueError(f"{path.name} is longer or shorter than its array")
    return array


def _refuse_out_of_range(array: NDArray[Any], name: str, least: float | None, most: float | None, nan: bool) -> None:
    if array.dtype.kind == "f" and not nan:
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.dot(array.ravel(), array.ravel())  # one pass tells all that is odd
        if not np.isfinite(squares):
            raise ValueError(f"{name} holds NaN, or numbers that nothing was ever measured in")
    smallest, largest = (np.fmin, np.fmax) if nan else (np.minimum, np.maximum)  # the first two pass NaN over
    low = least is not None and smallest.reduce(array, axis=None) < least
    if low or (most is not None and largest.reduce(array, axis=None) > most):
        ends = [f"{'at least' if one is least else 'at most'} {one:g}" for one in (least, most) if one is not None]
        raise ValueError(
            f"{name} holds {smallest.reduce(array, axis=None):g} or {largest.reduce(array, axis=None):g}, "
            f"where numbers are {' and '.join(ends)}"
        )
