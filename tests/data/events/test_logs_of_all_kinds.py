"""Files as shops have them: every kind gives the same store, and what is wrong is one line or counted."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from llmrec.cli import status_of
from llmrec.data.events.making import LogSummary, import_events
from llmrec.data.store import Store
from llmrec.errors import DataError

# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

HEADER = "user_id,product_id,timestamp\n"
TIMES = ["2025-11-24 16:00:00", "2025-11-24 16:10:00", "2025-11-24 17:00:00", "2025-11-24 17:05:30"]
ROWS = [
    {"user_id": user, "product_id": item, "timestamp": time}
    for user, item, time in zip("aaaa", "PQRS", TIMES, strict=True)
]
SESSIONS = [(["P"], "Q"), (["R"], "S")]


def made(folder: Path, text: str | bytes, name: str = "log.csv", **settings: Any) -> LogSummary:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return import_events(file, folder / "store", **settings)


def sessions(folder: Path) -> list[tuple[list[str], str]]:
    rows = [row for file in Store.load(folder).labelled("train").files for row in pq.read_table(file).to_pylist()]
    return [(row["prev_items"], row["next_item"]) for row in sorted(rows, key=lambda one: one["session_id"])]


def counted(summary: LogSummary) -> dict[str, int]:
    return {one.what: one.count for one in summary.findings}


def csv_of(frame: pd.DataFrame, **how: Any) -> bytes:
    return frame.to_csv(index=False, **how).encode()


def parquet(folder: Path) -> bytes:
    frame = pd.DataFrame(ROWS)
    frame["timestamp"] = pd.to_datetime(frame["timestamp"])
    frame.to_parquet(folder / "some")
    return (folder / "some").read_bytes()


def seconds(unit: int) -> bytes:
    frame = pd.DataFrame(ROWS)
    frame["timestamp"] = pd.to_datetime(frame["timestamp"]).map(lambda one: int(one.timestamp() * unit))
    return csv_of(frame)


KINDS: dict[str, Callable[[Path], bytes]] = {
    "log.csv": lambda _: csv_of(pd.DataFrame(ROWS)),
    "bom.csv": lambda _: b"\xef\xbb\xbf" + csv_of(pd.DataFrame(ROWS)),
    "windows.csv": lambda _: csv_of(pd.DataFrame(ROWS), lineterminator="\r\n"),
    "spreadsheet.csv": lambda _: csv_of(pd.DataFrame(ROWS), sep=";"),
    "log.tsv": lambda _: csv_of(pd.DataFrame(ROWS), sep="\t"),
    "log.csv.gz": lambda _: gzip.compress(csv_of(pd.DataFrame(ROWS))),
    "log.jsonl": lambda _: "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "log.ndjson.gz": lambda _: gzip.compress("".join(json.dumps(row) + "\r\n" for row in ROWS).encode()),
    "log.parquet": parquet,
    "zoned.csv": lambda _: csv_of(pd.DataFrame([{**row, "timestamp": row["timestamp"] + "+00:00"} for row in ROWS])),
    "elsewhere.csv": lambda _: csv_of(
        pd.DataFrame(ROWS).assign(
            timestamp=[str(pd.Timestamp(one) + pd.Timedelta(hours=2)) + "+02:00" for one in TIMES]
        )
    ),
    "seconds.csv": lambda _: seconds(1),
    "milliseconds.csv": lambda _: seconds(1_000),
    "microseconds.csv": lambda _: seconds(1_000_000),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_gives_the_same_store(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    made(tmp_path, KINDS[name](tmp_path), name, validation_share=0.4)
    assert sessions(tmp_path / "store") == SESSIONS


def test_several_files_are_one_log_and_equal_times_keep_its_order(tmp_path):
    (tmp_path / "one.csv").write_text(HEADER + "a,P,2025-11-24 16:00:00\na,R,2025-11-24 16:00:00\n")
    (tmp_path / "two.jsonl").write_text('{"visitor": "a", "sku": "Q", "ts": 1764000000}\n')
    import_events([tmp_path / "one.csv", tmp_path / "two.jsonl"], tmp_path / "store", validation_share=0.1)
    assert sessions(tmp_path / "store") == [(["P", "R"], "Q")]


def test_rows_that_cannot_count_are_counted_by_their_reason(tmp_path):
    text = (
        "user_id,product_id,timestamp,event_type,locale\n"
        "a, P ,1764000000,view,UK\n"
        "a,Q,1764000010,view,UK\n"
        "a,nan,1764000020,view,UK\n"
        ",Q,1764000020,view,UK\n"
        "a,Q,,view,UK\n"
        "a,Q,0,view,UK\n"
        "a,Q,4000000000,view,UK\n"
        "a,Q,1764000020,view,\n"
        "a,Q,1764000020,search,UK\n"
        "a,R,1763999990,cart,UK\n"  # its clock ran back
    )
    assert counted(made(tmp_path, text, weights="view=1,cart=2")) == {
        "blanks around ids": 1,
        "event without an item": 1,
        "event of no user and no session": 1,
        "event without a time": 1,
        "event before 1990 or after today": 2,
        "event without a locale": 1,
        "event of a type that weighs nothing": 1,
        "no products file: titles are not known": 1,
    }
    assert sessions(tmp_path / "store") == [(["R", "P"], "Q")]


def test_bots_are_left_out_and_long_sessions_keep_their_end(tmp_path):
    begin = 1_764_000_000
    bot = "".join(f"bot,P{number % 7},{begin + number}\n" for number in range(50))
    long = "".join(f"a,Q{number},{begin + number}\n" for number in range(20))
    found = counted(made(tmp_path, HEADER + bot + long, max_events=40, max_items=3))
    assert found["users with more than 40 events, taken for bots"] == 1
    assert found["event of such a user"] == 50
    assert found["session cut to its last 3 items"] == 1
    assert sessions(tmp_path / "store") == [(["Q17", "Q18"], "Q19")]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [(["P"], "Q"), (["R"], "S")]),
        ({"session": "none"}, [(["P"], "Q"), (["R", "S"], "T")]),
        ({"gap": "1h"}, [(["P"], "Q"), (["R"], "S")]),
        ({"session": "none", "gap": "2h"}, [(["P", "Q", "R", "S"], "T")]),
    ],
)
def test_a_column_of_sessions_says_where_they_end_unless_it_is_left_out(settings, expected, tmp_path):
    begin = 1_764_000_000
    rows = [("s1", "P", 0), ("s1", "Q", 60), ("s2", "R", 5_000), ("s2", "S", 5_060), ("s3", "T", 5_061)]
    text = "".join(f"a,{session},{item},{begin + late}\n" for session, item, late in rows)
    made(tmp_path, "user_id,session_id,item_id,time\n" + text, **settings)
    assert sessions(tmp_path / "store") == expected


def test_a_rest_ends_a_session_only_beyond_the_gap(tmp_path):
    rest = "a,P,1764000000\na,Q,1764001800\na,R,1764003601\na,S,1764003602\n"
    made(tmp_path, HEADER + rest)
    assert sessions(tmp_path / "store") == [(["P"], "Q"), (["R"], "S")]


CUT = gzip.compress(
    (HEADER + "".join(f"a,P{one * 7919 % 10_007},{1_764_000_000 + one}\n" for one in range(9_000))).encode()
)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", "", "the file is empty"),
        ("log.csv", HEADER, "no time since 1990"),
        ("log.jsonl", "", "the file is empty"),
        ("log.csv", HEADER + "a,P,2025-11-24\na,Q,1764000000\n", r'log.csv, row 2: time "1764000000", where .* dates'),
        ("log.csv", HEADER + "a,P,1764000000\na,Q,1764000000123\n", "row 2: time .* seconds since 1970"),
        ("log.csv", HEADER + "a,P,24.11.2025\n", 'no time since 1990 in column .timestamp.; the first is "24.11.2025"'),
        ("log.csv", HEADER + "a,P,2025-11-24 10:00:00\na,Q,2025-11-24T10:00:00Z\n", "row 2: time .*one form"),
        ("log.csv", "a,b,c\n1,2,1764000000\n", "no column of items among a, b, c; name it: item"),
        ("log.csv", "item_id,time\nP,1764000000\n", "no column of users or sessions"),
        ("log.csv", HEADER + "a,P\n", "row 1: 2 columns where the header has 3"),
        ("log.csv", HEADER + "a,P\x07,1764000000\n", r'row 1: a control character inside an id: "P.x07"'),
        ("log.csv", HEADER + "a,P,1764000000\nb,Q,1764000000\n", "no session of two items to learn from, of 2"),
        ("log.csv", HEADER + "a,nan,1764000000\n", "no event that counts .event without an item 1"),
        ("log.csv.gz", CUT[: len(CUT) // 2], "log.csv.gz: not a whole gzip file"),
        ("log.jsonl.gz", CUT[: len(CUT) // 2], "not a whole gzip file|no JSON"),
        ("log.jsonl", '{"user": "a", "item": "P", "time": 1764000000}\n{"user": \n', "row 2: no JSON"),
        ("log.jsonl", "[1]\n", "row 1: no object with names"),
        ("log.parquet", b"PAR1 and no more", "not a whole Parquet file"),
        ("log.xlsx", "PK", "none of .csv, .tsv, .jsonl"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(name, content, message, tmp_path):
    with pytest.raises(DataError, match=message):
        made(tmp_path, content, name)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--item", "product"], "no column 'product'; did you mean 'product_id'?"),
        (["--locale", "user_idd"], "no column 'user_idd'; did you mean 'user_id'?"),
        (["--gap", "soon"], "--gap takes a number and s, m, h or d"),
        (["--weights", "view"], "--weights takes name=value pairs"),
        (["--weights", "view=-1"], "--weights takes numbers from 0 on"),
        (["--weights", "view=1"], "no column of event types for --weights"),
        (["--test-from", "soon"], "--test-from takes a day or an ISO time"),
        (["--test-from", "2031-01-01"], "the test begins at 2031-01-01T00:00:00Z, and the log goes from"),
        (["--test-from", "2025-11-24", "--test-days", "3"], "--test-from and --test-days exclude each other"),
        (["--id", "sku"], "--id is of products; give --products FILE"),
    ],
)
def test_a_setting_that_is_wrong_is_one_line(flags, message, tmp_path, capsys):
    (tmp_path / "log.csv").write_bytes(csv_of(pd.DataFrame(ROWS)))
    assert status_of(["data", "events", str(tmp_path / "log.csv"), str(tmp_path / "store"), *flags]) == 2
    assert message in capsys.readouterr().err


def test_ids_that_pandas_made_floats_are_whole_numbers_again_and_true_is_no_id(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user_id": [1.0, 1.0, 1.0, None], "product_id": [7, 8, 2**40, 9], "timestamp": TIMES})
    frame["product_id"] = frame["product_id"].astype(float)
    frame.to_parquet(tmp_path / "log.parquet")
    pd.DataFrame({"product_id": [7.0, 8.0, None], "title": ["tea", "cup", "pot"]}).to_parquet(tmp_path / "shop.parquet")
    import_events(tmp_path / "log.parquet", tmp_path / "store", products=tmp_path / "shop.parquet")
    assert sessions(tmp_path / "store") == [(["7"], "8")]
    assert pq.read_table(Store.load(tmp_path / "store").products)["id"].to_pylist() == ["7", "8"]
    frame["product_id"] = frame["product_id"] > 7
    frame.to_parquet(tmp_path / "log.parquet")
    with pytest.raises(DataError, match="column 'product_id' holds boolean, which is no item"):
        import_events(tmp_path / "log.parquet", tmp_path / "store")
