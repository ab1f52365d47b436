"""Behaviour of fitted things on disk, whatever they are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from llmrec.artefact import Kind, Stamp, arrays_mapped
from llmrec.errors import ConfigError, ModelError, StoreError


class Lamp(Stamp, frozen=True, kw_only=True):
    watts: int


KIND = Kind(
    what="lamp",
    holds=Lamp,
    make="make one: llmrec lamp --out {folder}",
    again="make it again: llmrec lamp --out DIR",
)
ARRAYS = {"a": np.arange(6).reshape(2, 3)[:, ::-1], "empty": np.zeros((0, 2), dtype=np.float32)}


@pytest.fixture
def lamp(tmp_path: Path) -> Path:
    KIND.write(tmp_path / "lamp", {"watts": 5}, ARRAYS)
    return tmp_path / "lamp"


def test_who_may_read_the_record_may_read_the_arrays(lamp: Path) -> None:
    assert {oct(file.stat().st_mode) for file in lamp.iterdir()} == {oct((lamp / KIND.record).stat().st_mode)}


def test_what_is_written_is_read(lamp: Path) -> None:
    record = KIND.read(lamp)
    arrays = KIND.read_arrays(lamp, record)
    assert record.watts == 5
    assert {name: array.tolist() for name, array in arrays.items()} == {
        name: array.tolist() for name, array in ARRAYS.items()
    }


def test_mapped_arrays_are_the_same_and_what_is_written_into_them_stays_out_of_the_file(tmp_path: Path) -> None:
    kinds = [np.dtype(kind) for kind in ("bool", "int8", "uint8", "int32", "int64", "float16", "float32", "float64")]
    given = {kind.name: np.arange(5).astype(kind) for kind in kinds} | ARRAYS
    KIND.write(tmp_path / "lamp", {"watts": 5}, given)
    record = KIND.read(tmp_path / "lamp")
    with arrays_mapped():
        mapped = KIND.read_arrays(tmp_path / "lamp", record)
    assert {name: (one.dtype, one.tolist()) for name, one in mapped.items()} == {
        name: (one.dtype, one.tolist()) for name, one in given.items()
    }
    mapped["a"][0, 0] = 77
    assert KIND.read_arrays(tmp_path / "lamp", record)["a"][0, 0] == 2


def test_a_failed_block_leaves_the_one_before(lamp: Path) -> None:
    with pytest.raises(RuntimeError), KIND.written(lamp, {"watts": 9}, ARRAYS):
        raise RuntimeError
    assert KIND.read(lamp).watts == 5
    assert [path.name for path in lamp.parent.iterdir()] == ["lamp"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("lamp.json", None, "no lamp here .no lamp.json.; make one: llmrec lamp --out"),
        ("lamp.json", "[1]", "damaged.*make it again: llmrec lamp --out"),
        (
            "lamp.json",
            '{"format": "llmrec lamp", "version": 9}',
            "of version 9, this llmrec reads 1; make it again",
        ),
        ("lamp.json", '{"format": "llmrec sofa", "version": 1}', "not a record of 'llmrec lamp'"),
        ("lamp.json", '{"format": "llmrec lamp", "version": 1}', "missing required field watts"),
        ("arrays.safetensors", None, "missing or damaged .*make it again"),
        ("arrays.safetensors", "x", "checksum is not lamp.json's"),
    ],
)
def test_what_cannot_be_read_is_one_line(lamp: Path, file: str, content: str | None, message: str) -> None:
    (lamp / file).unlink()
    if content is not None:
        (lamp / file).write_text(content)
    with pytest.raises(ModelError, match=message) as caught:
        KIND.read_arrays(lamp, KIND.read(lamp))
    assert "\n" not in str(caught.value)


def _tensors(header: dict[str, object], body: int = 8, length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + bytes(body)


def _one(dtype: str, shape: list[int], start: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        _tensors({"a": _one("I64", [1], 0, 8)}, length=1 << 40),
        _tensors({"a": _one("I64", [1], 0, 8)}, length=1 << 26),
        _tensors({"a": _one("I64", [1 << 40], 0, 8 << 40)}),  # terabytes that are not there
        _tensors({"a": _one("I64", [1], 0, 8), "b": _one("I64", [1], 0, 8)}),  # twice the same bytes
        _tensors({"a": _one("I32", [1], 0, 4), "b": _one("I32", [1], 2, 6)}, body=6),
        _tensors({"a": _one("I64", [2], 0, 8)}),
        _tensors({"a": _one("BF16", [4], 0, 8)}),  # a kind of number that numpy has not
        _tensors({"a": _one("F8_E5M2", [8], 0, 8)}),
        _tensors({"a": _one("I64", [1], 8, 0)}),
        _tensors({}, body=8),
    ],
)
def test_a_hostile_file_of_arrays_is_one_line_though_its_checksum_is_right(lamp: Path, content: bytes) -> None:
    (lamp / "arrays.safetensors").write_bytes(content)
    record = msgspec.structs.replace(KIND.read(lamp), arrays_sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(ModelError, match=r"arrays\.safetensors: missing or damaged; make it again"):
        KIND.read_arrays(lamp, record)


def test_a_damaged_one_may_be_made_again_and_something_else_is_never_replaced(lamp: Path) -> None:
    (lamp / "lamp.json").write_text('{"format": "llmrec lamp", "ver')
    KIND.write(lamp, {"watts": 7}, ARRAYS)
    assert KIND.read(lamp).watts == 7
    for file, content in (("lamp.json", '{"format": "llmrec sofa"}'), ("lamp.json", '{"version": 1}'), ("a.jpg", "a")):
        other = lamp.parent / str(len(content))
        other.mkdir()
        (other / file).write_text(content)
        with pytest.raises(ConfigError, match="exists and holds no lamp; choose another folder"):
            KIND.write(other, {"watts": 7}, ARRAYS)


def test_errors_are_those_of_the_kind_and_name_the_wrong_value(lamp: Path) -> None:
    stored = Kind(**{**vars(KIND), "error": StoreError})
    with pytest.raises(StoreError, match=r"damaged lamp .'colour'.; make it again"), stored.understood(lamp):
        _ = json.loads((lamp / "lamp.json").read_text())["colour"]
