"""A path is only a name, whatever it holds."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from llmrec.data.pick import pick_locales
from llmrec.data.store import Store


@pytest.mark.parametrize("name", ["it's", 'a "b" it\'s', "back\\slash", "a[b*?", "k=v", "\x1b[31m\u202e", "日本 é"])
def test_a_file_is_written_where_it_is_named(tiny_store: Store, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    written = pick_locales(tiny_store.path / "sessions_development.parquet", folder / "picked.parquet", ["UK"])
    assert pq.read_table(folder / "picked.parquet", partitioning=None).num_rows == written == 5
    assert pick_locales(folder / "picked.parquet", folder / "again.parquet", ["UK"]) == 5
