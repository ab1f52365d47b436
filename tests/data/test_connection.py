"""DuckDB takes no more memory than is there, and says so in one line where that is not enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrec.data import connection
from llmrec.errors import ConfigError
from llmrec.memory import GIB, Free


@pytest.mark.parametrize(("free", "expected"), [(100 * GIB, "1.0 GiB"), (GIB // 2, "256.0 MiB"), (0, "64.0 MiB")])
def test_the_limit_is_what_is_asked_for_or_what_is_there(
    free: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "free_memory", lambda: Free(free, "a test"))
    with connection.connected(1) as con:
        assert con.con.execute("select current_setting('memory_limit')").fetchone() == (expected,)


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
