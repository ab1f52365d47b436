"""DuckDB takes no more memory than is there, and says so in one line where that is not enough."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from llmrec.data import connection
from llmrec.errors import ConfigError
from llmrec.memory import GIB, Free
from llmrec.output import claimed, spill_folder


@pytest.mark.parametrize(("free", "expected"), [(100 * GIB, "1.0 GiB"), (GIB // 2, "256.0 MiB"), (0, "64.0 MiB")])
def test_the_limit_is_what_is_asked_for_or_what_is_there(
    free: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "free_memory", lambda: Free(free, "a test"))
    with connection.connected(1) as con:
        assert con.con.execute("select current_setting('memory_limit')").fetchone() == (expected,)


def test_duckdb_prints_no_progress_among_what_a_command_prints() -> None:
    with connection.connected() as con:
        assert con.con.execute("select current_setting('enable_progress_bar')").fetchone() == (False,)


def test_a_limit_of_addresses_that_threads_do_not_fit_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "free_memory", lambda: Free(GIB // 10, "ulimit -v"))
    with (
        pytest.raises(ConfigError, match=r"a query needs about .*\(ulimit -v\); raise that limit"),
        connection.connected(),
    ):
        pass


def test_a_query_that_cannot_even_spill_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "free_memory", lambda: Free(0, "a test"))
    with (
        pytest.raises(ConfigError, match=r"more than 64 MiB of memory.*; 0 MiB were free \(a test\)"),
        connection.connected(spill=tmp_path) as con,
    ):
        con.con.execute("select list(i) from range(30_000_000) t(i)").fetchone()


SPILL = """
import os, signal, sys
from contextlib import nullcontext
from pathlib import Path
from llmrec.data import connection
from llmrec.memory import Free
from llmrec.output import claimed
connection.free_memory = lambda: Free(0, "a test")
with claimed((Path(sys.argv[1]), "file")) if sys.argv[1:] else nullcontext(), connection.connected() as con:
    con.con.execute("create table kept as select md5(i::varchar) || md5(i::varchar || 'x') from range(2_000_000) t(i)")
    print(con.con.execute("select current_setting('temp_directory')").fetchone()[0], flush=True)
    if sys.argv[2:]:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def spilled(*words: str) -> tuple[int, Path]:
    """How a process that spills ends, and where to."""
    done = subprocess.run([sys.executable, "-c", SPILL, *words], capture_output=True, check=False, text=True)
    return done.returncode, Path(done.stdout.strip())


def test_what_a_killed_command_spilled_is_beside_its_output_and_goes_with_the_next_one(tmp_path: Path) -> None:
    ended, folder = spilled(str(tmp_path / "run.parquet"), "killed")
    assert ended == -signal.SIGKILL
    assert folder.parent == tmp_path
    assert sum(file.stat().st_size for file in folder.iterdir()) > 1 << 20
    with claimed((tmp_path / "another.parquet", "file")):
        assert not folder.exists()
    assert not list(tmp_path.iterdir())


def test_what_a_command_spills_goes_when_it_ends(tmp_path: Path) -> None:
    assert spilled(str(tmp_path / "run.parquet"))[0] == 0
    assert not list(tmp_path.iterdir())


def test_a_killed_reader_s_spill_goes_with_the_next_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for number in (2**22 + 1, 1):  # none has the first, which is above what Linux gives; the second lives
        name = spill_folder().name.rpartition("-")[0]
        (tmp_path / f"{name}-{number}").mkdir()
    assert spill_folder().parent == tmp_path
    assert [one.name for one in tmp_path.iterdir()] == [f"{name}-1"]
