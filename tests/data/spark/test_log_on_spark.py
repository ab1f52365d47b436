"""A log at URIs becomes, on Spark, the store that DuckDB makes of it; what cannot be read is one line."""

from __future__ import annotations

import csv
import gzip
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.data.digests import sessions_files_fingerprint
from llmrec.data.events.making import import_events
from llmrec.data.spark.owners import own_mark
from llmrec.data.spark.storage import put_whole
from llmrec.data.store import Store
from llmrec.errors import ConfigError, DataError, DiskError, LlmrecError
from llmrec.evaluation.targets import read_targets
from tests.data.spark.spark_here import MARKS, assert_same_tables, spark_here

pytestmark = MARKS
COLUMNS = ["user_id", "sku", "timestamp", "event_type", "market"]
ALL = {"weights": "view=1,cart=2,purchase=3", "target": "purchase", "test_days": 1, "drop_reloads": True}


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    with spark_here() as found:
        yield found


def uri(path: Path) -> str:
    return f"file://{path}"


def events(number: int, seed: int = 1) -> list[list[Any]]:
    drawn = random.Random(seed)
    users = [f"u{user}" for user in range(number // 40)]
    return [
        [
            drawn.choice([*users, users[0], ""]),
            drawn.choice([" P1", "P2", "P3", "P4", "É\u200b", "nan", 'a "b", c']),
            1_764_000_000 + drawn.randrange(3 * 86_400) // 600 * 600,  # some at the same time
            drawn.choice(["view", "view", "cart", "purchase", "search"]),
            drawn.choice(["UK", "UK", "DE", ""]),
        ]
        for _ in range(number)
    ]


def write_csv(path: Path, rows: list[list[Any]], columns: list[str] = COLUMNS, **form: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, **form)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def test_the_store_is_that_of_duckdb(session: Any, tmp_path: Path) -> None:
    log = write_csv(tmp_path / "log.csv", events(300))
    here = import_events(log, tmp_path / "here")
    there = import_events(uri(log), uri(tmp_path / "there"), engine="spark")
    assert_same_tables(tmp_path / "here", tmp_path / "there")
    assert (there.fingerprint, there.findings) == (here.fingerprint, here.findings)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["here", "log.csv", "there"]
    opened, expected = (Store.load(tmp_path / place) for place in ("there", "here"))
    assert opened.fingerprint == expected.fingerprint == here.fingerprint
    known = [sessions_files_fingerprint(*store.sessions_files("train")) for store in (opened, expected)]
    assert known[0] == known[1]
    assert read_targets(opened.labelled("validation").files[0]).sessions_fingerprint is not None


@pytest.mark.slow
def test_sessions_splits_products_and_findings_are_those_of_duckdb(session: Any, tmp_path: Path) -> None:
    log = write_csv(tmp_path / "log.csv", events(1_200))
    drawn = [
        [f"P{one % 4}", f'Cup &amp; {one}\nof "tea"', price, "UK"]
        for one, price in enumerate(["x", "1.5", "4e7", "inf"] * 2)
    ]
    products = write_csv(tmp_path / "products.csv", drawn, ["id", "name", "price", "market"])
    here = import_events(log, tmp_path / "here", products=products, prefixes="all", **ALL)
    there = import_events(
        uri(log), uri(tmp_path / "there"), products=uri(products), prefixes="all", engine="spark", **ALL
    )
    assert_same_tables(tmp_path / "here", tmp_path / "there")
    assert there.fingerprint == here.fingerprint
    assert (there.findings, there.tables, there.time_split) == (here.findings, here.tables, here.time_split)


@pytest.mark.slow
def test_every_kind_of_log_in_several_files_and_blocks_gives_the_same(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmrec.data.spark import spark_tables as tables

    small = {"spark.sql.files.maxPartitionBytes": "4096", "spark.sql.files.openCostInBytes": "4096"}
    monkeypatch.setattr(tables, "_SETTINGS", tables._SETTINGS | small)
    rows = events(3_000)
    thirds = [rows[:1_500], rows[1_500:1_700], rows[1_700:]]
    names = [f"{one}.csv" for one in "abc"]
    files = [write_csv(tmp_path / "csv" / name, part) for name, part in zip(names, thirds, strict=True)]
    expected = import_events(files, tmp_path / "here", **ALL)
    for place, part in enumerate(thirds):
        write_csv(tmp_path / "tsv" / f"{place}.tsv", part, delimiter="\t")
        lines = "".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in part)
        (tmp_path / "json").mkdir(exist_ok=True)
        with gzip.open(tmp_path / "json" / f"{place}.jsonl.gz", "wt", encoding="utf-8") as handle:
            handle.write(lines)
        (tmp_path / "parquet" / f"dt=2026-11-0{place}").mkdir(parents=True)
        columns = [list(column) for column in zip(*part, strict=True)]
        columns[2] = pa.array([one * 1_000_000 for one in columns[2]], pa.timestamp("us"))
        table = pa.table(dict(zip(COLUMNS, columns, strict=True)))
        pq.write_table(table, tmp_path / "parquet" / f"dt=2026-11-0{place}" / "part.parquet", row_group_size=300)
    for kind in ("csv", "tsv", "json", "parquet"):
        made = import_events(uri(tmp_path / kind), uri(tmp_path / "there"), engine="spark", **ALL)
        assert made.fingerprint == expected.fingerprint, kind
        assert_same_tables(tmp_path / "here", tmp_path / "there")


def wrong_logs(folder: Path) -> list[tuple[str, str]]:
    """Places of logs that cannot be read, and what is said of each."""
    good = [["u1", "P1", 1_764_000_000, "view", "UK"], ["u1", "P2", 1_764_000_060, "view", "UK"]]
    write_csv(folder / "header" / "1.csv", good)
    write_csv(folder / "header" / "2.csv", good, ["user_id", "price", *COLUMNS[2:]])
    write_csv(folder / "short.csv", [*good, ["u1", "P3"]])
    write_csv(folder / "control.csv", [*good, ["u1", "P\x073", *good[0][2:]]])
    write_csv(folder / "times" / "1.csv", good)
    write_csv(folder / "times" / "2.csv", [good[0], ["u1", "P1", "2026-11-20", "view", "UK"]])
    write_csv(folder / "mixed" / "1.csv", good)
    (folder / "mixed" / "2.jsonl").write_text("{}\n")
    (folder / "bad.jsonl").write_text('{"user_id": "u1", "sku": "P1", "timestamp": 1764000000}\n' * 1_001 + "{]\n")
    (folder / "cut.csv.gz").write_bytes(gzip.compress((folder / "short.csv").read_bytes() * 500)[:90])
    whole = pa.table({"user_id": ["u1"], "sku": ["P1"], "timestamp": [1_764_000_000]})
    for kind, other in {
        "lacks": whole.drop_columns("user_id"),
        "type": whole.set_column(1, "sku", pa.array([1.5])),
    }.items():
        (folder / kind).mkdir()
        pq.write_table(whole, folder / kind / "1.parquet")
        pq.write_table(other, folder / kind / "2.parquet")
    return [
        ("nothing.csv", r"nothing\.csv: is not there"),
        ("header", r"2\.csv: column 'price' where the first file has 'sku'; write all files alike"),
        ("short.csv", r'short\.csv: not a row of as many columns as the header has: "u1,P3"'),
        ("control.csv", r"control\.csv, row 3: a control character inside an id"),
        ("times", r'times/2\.csv, row 2: time "2026-11-20", where the file has seconds since 1970'),
        ("mixed", r"mixed: files of several kinds \(\.csv, \.jsonl\); name those of one kind"),
        ("bad.jsonl", r"bad\.jsonl: a line that is no JSON object"),
        ("cut.csv.gz", r"cut\.csv\.gz: not whole"),
        ("lacks", r"lacks/2\.parquet: no column 'user_id', which other files of file:///.*/lacks have"),
        ("type", "not Parquet of one form throughout"),
    ]


def test_a_log_that_cannot_be_read_is_one_line_and_leaves_the_old_store(session: Any, tmp_path: Path) -> None:
    logs, shops = tmp_path / "logs", tmp_path / "shops"
    old = shops / "shop"
    old.mkdir(parents=True)
    (old / "manifest.json").write_text("old")
    for name, message in wrong_logs(logs):
        with pytest.raises(LlmrecError, match=message) as caught:
            import_events(uri(logs / name), uri(old), engine="spark")
        assert "\n" not in str(caught.value), name
    assert (old / "manifest.json").read_text() == "old"
    assert [one.name for one in shops.iterdir()] == ["shop"]


def test_what_a_killed_command_left_beside_goes_and_what_others_write_stays(
    session: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = "from llmrec.data.spark.owners import own_mark; print(own_mark())"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    ended, living, foreign = told.stdout.strip(), own_mark(), "0123456789ab-7-9-0123abcd"
    for name in ("[it's] a", "other"):
        for mark in (ended, living, foreign):
            for kind in ("tmp", "scratch", "old"):
                (tmp_path / f".{name}.{mark}.{kind}").mkdir()
    (tmp_path / f".[it's] a.{ended}.old" / "part-0").write_text("the only copy")
    with suppress(DiskError), put_whole(session, uri(tmp_path / "[it's] a")):
        raise DiskError("what cannot be written changes nothing")
    assert (tmp_path / "[it's] a" / "part-0").read_text() == "the only copy"
    left = {one.name for one in tmp_path.iterdir()}
    assert left == {
        "[it's] a",
        *(f".[it's] a.{mark}.{kind}" for mark in (living, foreign) for kind in ("tmp", "scratch", "old")),
        *(f".other.{mark}.{kind}" for mark in (ended, living, foreign) for kind in ("tmp", "scratch", "old")),
    }
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("of a command of another machine; delete it if that has ended") == 3
    with put_whole(session, uri(tmp_path / "other")) as folder:
        Path(folder.removeprefix("file:")).mkdir()
    assert not [one for one in tmp_path.iterdir() if ended in one.name]


def test_something_else_than_a_store_is_never_replaced(session: Any, tmp_path: Path) -> None:
    log = write_csv(tmp_path / "log.csv", events(200))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.docx").write_text("years of work")
    with pytest.raises(DataError, match="mine: holds something else"):
        import_events(uri(log), uri(tmp_path / "mine"), engine="spark")
    shutil.copy(log, tmp_path / "mine" / "products.parquet")
    assert (tmp_path / "mine" / "thesis.docx").read_text() == "years of work"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logs": "log.csv"}, "engine spark runs on a cluster, so LOG names what all its nodes reach; got log.csv"),
        ({"out": "shop"}, "so STORE names what all its nodes reach"),
        ({"products": "products.csv"}, "so products names"),
        ({"engine": None}, "LOG s3a:/b/log.csv: a URI is read and written by Spark; add engine spark"),
    ],
)
def test_places_that_an_engine_cannot_reach_are_refused_before_it_starts(change: dict[str, Any], message: str) -> None:
    given = {"logs": "s3a://b/log.csv", "out": "s3a://b/shop", "engine": "spark"} | change
    with pytest.raises(ConfigError, match=message):
        import_events(given.pop("logs"), given.pop("out"), **given)
