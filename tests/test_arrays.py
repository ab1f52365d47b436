"""Arrays of a file are what their reader takes them for, or the file is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmrec.arrays import checked, open_npy

NAN, INF = float("nan"), float("inf")


def test_an_array_that_fits_is_given_back() -> None:
    codes = np.array([0, 2, 2], dtype=np.int32)
    assert checked({"codes": codes}, "codes", "int32", (None,), least=0, most=2, rising="weakly") is codes
    table = np.array([[0.5, -1.0]], dtype=np.float32)
    assert checked({"table": table}, "table", "float32", (1, 2)) is table
    empty = np.zeros((0, 3), dtype=np.float32)
    assert checked({"table": empty}, "table", "float32", (None, 3), least=0, rising="strictly") is empty


@pytest.mark.parametrize(
    ("array", "wanted"),
    [
        (np.array([1], dtype=np.int64), {}),  # of another kind
        (np.array([[1]], dtype=np.int32), {}),
        (np.array([1, 2], dtype=np.int32), {"shape": (3,)}),
        (np.array([-1, 2], dtype=np.int32), {"least": 0}),
        (np.array([0, 3], dtype=np.int32), {"least": 0, "most": 2}),
        (np.array([2, 1], dtype=np.int32), {"rising": "weakly"}),
        (np.array([1, 1], dtype=np.int32), {"rising": "strictly"}),
    ],
)
def test_whole_numbers_that_do_not_fit_are_refused(array: Any, wanted: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="codes"):
        checked({"codes": array}, "codes", "int32", **({"shape": (None,)} | wanted))


@pytest.mark.parametrize("odd", [NAN, INF, -INF, 1e25, -0.5])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_numbers_that_are_no_weights_are_refused(odd: float, kind: str) -> None:
    if kind == "float64" and odd == 1e25:
        odd = 1e200
    with pytest.raises(ValueError, match="weights"):
        checked({"weights": np.array([1, odd, 0.5], dtype=kind)}, "weights", kind, (3,), least=0)


def test_nan_may_stand_for_no_value_but_infinity_may_not() -> None:
    prices = np.array([NAN, 2.5], dtype=np.float32)
    assert checked({"prices": prices}, "prices", "float32", (2,), least=-9, most=9, nan=True) is prices
    with pytest.raises(ValueError, match="prices"):
        checked({"prices": np.array([NAN, INF], np.float32)}, "prices", "float32", (2,), least=-9, most=9, nan=True)


def test_a_name_that_is_not_there_is_no_array() -> None:
    with pytest.raises(KeyError):
        checked({}, "codes", "int32", (None,))


def test_an_array_file_is_mapped_and_is_nothing_but_its_array(tmp_path: Path) -> None:
    file = tmp_path / "groups.npy"
    np.save(file, np.arange(6, dtype=np.int32))
    whole = file.read_bytes()
    assert open_npy(file).tolist() == [0, 1, 2, 3, 4, 5]
    header = whole.index(b"{")
    odd = [
        whole[:-1],
        whole + b"\0",
        b"",
        whole.replace(b"(6,)", b"(9,)"),
        whole.replace(b"(6,), ", b"(6**9)"),
        whole.replace(b"(6,)", b"(((("),  # the end of a text that never ends
        whole[:header] + b"\xff" + whole[header + 1 :],
        whole.replace(b"'<i4'", b"'|O' "),  # objects are pickled
        b"PK\x03\x04" + whole,
    ]
    for content in odd:
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"groups\.npy"):
            open_npy(file)
