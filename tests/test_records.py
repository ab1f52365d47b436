from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmrec.errors import DataError, StoreError
from llmrec.records import (
    Count,
    Digest,
    FileName,
    line_text,
    parse_record,
    read_lines,
    read_record,
    record_text,
    write_record,
)


@dataclass(frozen=True)
class Inner:
    low: float
    high: float
    note: str = ""

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


@dataclass(frozen=True)
class Record:
    rows: Count
    partial: bool = False
    inner: Mapping[str, Inner] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    score: float | None = None
    version: int = 1


class Named(msgspec.Struct, frozen=True):
    file: FileName
    digest: Digest


WHOLE = Record(317, True, {"DE": Inner(0.1, 0.7, "a")}, {"command": ["x", "ü"], "seed": 3}, 1e-7)


def read(content: str | bytes, cls: Any = Record) -> Any:
    return parse_record(content, cls, "r.json", "make it again")


def test_a_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    write_record(tmp_path / "r.json", WHOLE)
    assert read_record(tmp_path / "r.json", Record, "again", version=1) == WHOLE
    (tmp_path / "lines").write_text(line_text(WHOLE, 1) + line_text(Record(1), 2), encoding="utf-8")
    assert list(read_lines(tmp_path / "lines", Record, "again")) == [WHOLE, Record(1)]


def test_a_record_of_before_without_a_checksum_is_read() -> None:
    held = json.loads(record_text(WHOLE))
    assert held.pop("checksum")
    assert read(json.dumps(held)) == WHOLE


def test_every_flipped_bit_is_refused_or_changes_nothing() -> None:
    whole = record_text(WHOLE).encode()
    refused = 0
    for place in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            try:
                assert read(bytes(damaged)) == WHOLE  # a blank for a line's end
            except DataError:
                refused += 1
    assert refused > 8 * len(whole) * 0.9


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "expected object, got array"),
        ("null", "expected object, got null"),
        ("{}", "missing required field rows"),
        ('{"rows": 317.0}', "rows: expected int, got float"),
        ('{"rows": 1e3}', "rows: expected int"),
        ('{"rows": true}', "rows: expected int, got bool"),
        ('{"rows": "317"}', "rows: expected int, got str"),
        ('{"rows": -1}', "rows: expected int >= 0"),
        ('{"rows": 99999999999999999999}', "rows: "),
        (f'{{"rows": {"9" * 5000}}}', "digits"),
        ('{"rows": 1, "partial": "false"}', "partial: expected bool, got str"),
        ('{"rows": 1, "partial": 0}', "partial: expected bool, got int"),
        ('{"rows": 1, "pbrtial": true}', "unknown key 'pbrtial'"),
        ('{"rows": 1, "inner": {"DE": {"low": 1, "high": 2, "nott": ""}}}', "unknown key 'nott'"),
        ('{"rows": 1, "inner": {"DE": {"low": NaN, "high": 2}}}', "expected float, got null"),
        ('{"rows": 1, "inner": {"DE": {"low": 3, "high": 2}}}', "low is above high"),
        ('{"rows": 1, "score": 1e999}', "the number 1e999 is too large"),
        ('{"rows": 1, "score": -1e999}', "too large"),
        ('{"rows": 1, "rows": 2}', "a key stands twice"),
        ('{"rows": 1, "more": {"a": {"b": 1, "b": 1}}}', "a key stands twice"),
        ('{"rows": 1, "more": {"a": "\\ud800"}}', "not UTF-8"),
        ('{"rows": 1} {}', "not JSON"),
        ("\ufeff{}", "not JSON"),
        (b'{"rows": 1, "more": {"a": "\xff"}}', "not UTF-8"),
        (f'{{"rows": 1, "more": {{"a": {"[" * 100_000}', "nested too deeply"),
        (f'{{"rows": 1, "more": {{"a": {"[" * 150}{"]" * 150}}}}}', "nested too deeply"),
        ('{"rows": 1, "checksum": "0"}', "its checksum is not that of its content"),
        ('{"rows": 1, "checksum": null, "score": "x"}', "score: expected float"),
    ],
)
def test_what_a_record_cannot_hold_is_one_line(content: str | bytes, reason: str) -> None:
    with pytest.raises(DataError) as raised:
        read(content)
    text = str(raised.value)
    assert text.startswith("r.json: damaged (")
    assert text.endswith("); make it again")
    assert reason in text
    assert "\n" not in text


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/etc/passwd", "a\\b", "a\0b", "x" * 256])
def test_the_name_of_a_file_stays_in_its_folder(name: str) -> None:
    digest = "0" * 64
    assert read(json.dumps({"file": "main-1.npy", "digest": digest}), Named).file == "main-1.npy"
    with pytest.raises(DataError, match="file: expected str"):
        read(json.dumps({"file": name, "digest": digest}), Named)
    with pytest.raises(DataError, match="digest: expected str"):
        read(json.dumps({"file": "a", "digest": f"{digest}\n"}), Named)


def test_a_version_that_is_not_read_is_named(tmp_path: Path) -> None:
    write_record(tmp_path / "r.json", Record(1, version=9))
    with pytest.raises(StoreError, match=r"r\.json: of version 9, this llmrec reads 1; again"):
        read_record(tmp_path / "r.json", Record, "again", version=1, error=StoreError)
    (tmp_path / "r.json").write_text("{}")
    with pytest.raises(DataError, match=r"damaged \(no 'version'\)"):
        read_record(tmp_path / "r.json", Record, "again", version=1)


def test_what_is_no_file_or_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as handle:
        handle.truncate(1 << 40)  # a hole: would not fit into memory
    for name, reason in (("none", "is missing"), ("pipe", "no file"), (".", "no file"), ("large", "larger than")):
        with pytest.raises(DataError, match=reason):
            read_record(tmp_path / name, Record, "again")
    with pytest.raises(DataError, match="line 1: damaged"):
        list(read_lines(tmp_path / "large", Record, "again"))


def test_numbers_that_are_none_and_lone_surrogates_are_written_as_what_can_be_read() -> None:
    text = record_text({"rows": 1, "score": float("nan"), "more": {"path": "a\udc80", "loss": [float("-inf")]}})
    assert read(text) == Record(1, score=None, more={"path": "a?", "loss": [None]})
    assert read('{"rows": 1, "score": -Infinity}') == Record(1)  # as they were written before


def test_a_last_line_cut_short_is_left_out_and_any_other_is_an_error(tmp_path: Path) -> None:
    file, lines = tmp_path / "lines", [line_text(Record(number), number + 1) for number in range(3)]
    whole = "".join(lines)
    for cut in range(len(lines[0]) + len(lines[1]), len(whole)):
        file.write_text(whole[:cut])
        kept = list(read_lines(file, Record, "again", appended=True))
        assert kept[:2] == [Record(0), Record(1)]
        assert len(kept) == 2 + (cut == len(whole) - 1)  # the line's end alone is missing
    file.write_text(whole[:-5])
    with pytest.raises(DataError, match="lines, line 3: damaged"):  # a file that is written at once
        list(read_lines(file, Record, "again"))


@pytest.mark.parametrize("change", [(0, 0, 1, 2), (0, 2), (1, 0, 2), (1, 2)])
def test_a_line_that_was_doubled_left_out_or_moved_is_refused(tmp_path: Path, change: tuple[int, ...]) -> None:
    lines = [line_text(Record(number), number + 1) for number in range(3)]
    (tmp_path / "lines").write_text("".join(lines[number] for number in change))
    with pytest.raises(DataError, match=r"line \d: damaged .it was another line"):
        list(read_lines(tmp_path / "lines", Record, "again", appended=True))
