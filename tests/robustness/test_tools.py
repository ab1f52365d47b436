"""The tools of the attack: seeded changes, checksums put right, strict readers."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save

from llmrec.records import parse_record, record_text
from tests.places import ROOT
from tests.robustness.families import sane_lists
from tests.robustness.mutate import FORMS, mutated
from tests.robustness.seal import reseal
from tests.robustness.truth import Broken, strict_csv


def _parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"id": ["a", "b"], "prev_items": [["x"], ["y", "z"]], "n": [1, 2]}), out)
    return out.getvalue()


def _npy() -> bytes:
    out = io.BytesIO()
    np.save(out, np.arange(6, dtype=np.float32).reshape(2, 3))
    return out.getvalue()


def _sqlite() -> bytes:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "x.sqlite"
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE answers (key TEXT PRIMARY KEY, answer TEXT)")
            connection.executemany("INSERT INTO answers VALUES (?, ?)", [("a", '{"n": 1}'), ("b", '{"n": 2}')])
        return path.read_bytes()


EXAMPLES = {
    "json": b'{"a": {"b": [1, 2.5, "x", null]}, "c": true}',
    "jsonl": b'{"a": 1}\n{"b": [2]}\n',
    "yaml": b"a: {b: [1, 2]}\nc: text\n",
    "prompt": b"template: '{{ products }}'\nsummary: x\n",
    "csv": b"id,locale\nB01,DE\nB02,FR\n",
    "log": b"user,item,time\nu1,B01,2026-11-29T03:00:00\nu2,B02,2026-11-29T03:05:00\n",
    "parquet": _parquet(),
    "npy": _npy(),
    "safetensors": save({"codes": np.arange(9, dtype=np.int32)}),
    "sqlite": _sqlite(),
    "bytes": b"anything at all",
}


@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_change_is_one_and_the_same_seed_makes_it_again(form: str) -> None:
    data = EXAMPLES[form]
    made = [mutated(data, form, Random(seed)) for seed in range(60)]
    assert made == [mutated(data, form, Random(seed)) for seed in range(60)]
    assert all(changed != data for changed, _ in made)
    assert {how for _, how in made} > {"flip"} or form == "bytes"


def test_checksums_are_put_right_down_to_the_record_that_vouches_for_the_record(tmp_path: Path) -> None:
    arrays = tmp_path / "arrays.safetensors"
    arrays.write_bytes(b"before")
    inner = tmp_path / "inner.json"
    inner.write_text(record_text({"arrays_sha256": hashlib.sha256(b"before").hexdigest()}), encoding="utf-8")
    digest = hashlib.sha256(inner.read_bytes()).hexdigest()
    (tmp_path / "outer.json").write_text(record_text({"inner": digest}), encoding="utf-8")
    arrays.write_bytes(b"after")
    assert reseal(tmp_path, arrays, b"before")
    read = {path.stem: parse_record(path.read_bytes(), dict, path, "no") for path in tmp_path.glob("*.json")}
    assert read["inner"] == {"arrays_sha256": hashlib.sha256(b"after").hexdigest()}
    assert read["outer"] == {"inner": hashlib.sha256(inner.read_bytes()).hexdigest()}


def test_nothing_is_put_right_where_nothing_vouches(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"a": 2}), encoding="utf-8")
    assert not reseal(tmp_path, record, b'{"a": 1}')


@pytest.mark.parametrize(
    "text",
    [
        'a,b\n"x"y,1\n',
        'a,b\nx"y,1\n',
        'a,b\n"x,1\n',
        "a,b\nx\n",
        "a,b\nx,1,2\n",
        "a,a\nx,1\n",
        "a,b\nx\ry,1\n",
        "",
    ],
)
def test_a_strict_reader_of_csv_refuses_what_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode())
    with pytest.raises(Broken):
        strict_csv(path)


def test_a_strict_reader_of_csv_reads_what_is_one(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes('\ufeffa,b\r\n"x ""y"", z",\r\n\r\n"two\nlines","2\r"'.encode())
    assert strict_csv(path) == [{"a": 'x "y", z', "b": ""}, {"a": "two\nlines", "b": "2\r"}]


@pytest.mark.parametrize(("flag", "status"), [("--help", 0), ("--nonsense", 2)])
def test_the_script_tells_its_flags_without_a_traceback(flag: str, status: int) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "attack.py", flag], capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("form", ["lists", "explained"])
def test_hostile_lists_are_sane_where_they_hold_known_items_once(form: str) -> None:
    def answer(*ids: str) -> Any:
        return {"lists": [[*ids]]} if form == "lists" else [{"products": [{"id": one} for one in ids]}]

    shop: Any = None
    assert sane_lists(answer("B000", "C010"), shop) is None
    assert "no catalogue has" in str(sane_lists(answer("B000", "Z999"), shop))
    assert "twice" in str(sane_lists(answer("B000", "B000"), shop))
