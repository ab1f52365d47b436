from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from llmrec.data.pick import pick_locales
from llmrec.data.store import Store
from llmrec.errors import ConfigError, DataError


def test_picked_sessions_keep_their_order_ids_and_targets(tiny_store: Store, tmp_path: Path) -> None:
    source = tiny_store.path / "sessions_development.parquet"
    assert pick_locales(source, tmp_path / "picked.parquet", ["ES", "US"]) == 10
    wanted = [row for row in pq.read_table(source).to_pylist() if row["locale"] in ("ES", "US")]
    assert pq.read_table(tmp_path / "picked.parquet").to_pylist() == wanted


def test_a_csv_without_targets_gives_none(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("prev_items,locale\n\"['A' 'B']\",UK\n\"['C' 'D']\",DE\n", encoding="utf-8")
    assert pick_locales(tmp_path / "s.csv", tmp_path / "uk.parquet", ["UK"]) == 1
    assert pq.read_table(tmp_path / "uk.parquet").to_pylist() == [
        {"session_id": 0, "prev_items": ["A", "B"], "locale": "UK"}
    ]


def test_a_locale_that_is_not_there_is_named(tiny_store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no session of locale 'BR'; it has DE, ES, FR, IT, JP, UK, US"):
        pick_locales(tiny_store.path / "sessions_development.parquet", tmp_path / "x.parquet", ["BR"])
    with pytest.raises(ConfigError, match="no locale to pick"):
        pick_locales(tiny_store.path / "sessions_development.parquet", tmp_path / "x.parquet", [])
    assert not (tmp_path / "x.parquet").exists()
