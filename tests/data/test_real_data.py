"""The real files, where they are at hand: figures that anybody can count again."""

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from llmrec.data.importing import import_dataset
from llmrec.data.store import Store
from tests.places import REAL

pytestmark = [
    pytest.mark.skipif(not REAL.is_dir(), reason="no real data; set LLMREC_REAL_DATA"),
    # ibis 12 still calls what DuckDB 2 renamed
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]


def test_amazon_m2_sessions_come_through_whole(tmp_path):
    import_dataset(REAL / "amazon-m2", tmp_path / "store")
    store = Store.load(tmp_path / "store")
    for split, num, mean, longest, repeated in (
        ("test_task2_phase1", 34_688, 3.8134, 42, 0.4053),
        ("test_task2_phase2", 34_690, 3.8328, 45, 0.4123),
    ):
        lists = pq.read_table(store.test(split).file)["prev_items"]
        lengths = pc.list_value_length(lists)
        repeats = sum(len(set(items)) < len(items) for items in lists.to_pylist())
        assert len(lists) == num
        assert pc.mean(lengths).as_py() == pytest.approx(mean, abs=5e-5)
        assert pc.max(lengths).as_py() == longest
        assert repeats / num == pytest.approx(repeated, abs=5e-5)
    raw = pq.read_table(REAL / "amazon-m2" / "task2_phase1.parquet")
    kept = pq.read_table(store.test("test_task2_phase1").file, columns=["prev_items"])
    assert kept["prev_items"].to_pylist() == raw["prev_items"].to_pylist()
    targets = pq.read_table(store.targets("test_task2_phase1").file)
    assert targets["next_item"].to_pylist() == raw["next_item"].to_pylist()
    assert store.targets("test_task2_phase2") is None


def test_another_shop_comes_through_whole(tmp_path):
    summary = import_dataset(REAL / "industrial", tmp_path / "store")
    rows = {one.name: dict(one.locales) for one in summary.tables}
    assert rows == {
        "products": {"US": 3_686},
        "sessions_development": {"US": 4_079},  # 4,532 less a tenth
        "sessions_validation": {"US": 453},
        "sessions_test": {"US": 4_533},
    }
    assert Store.load(tmp_path / "store").targets("test") is None
