import hashlib

import ibis
import pytest

from llmrec.data.splits import in_validation, validation_limits, validation_size

# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

CON = ibis.duckdb.connect()


def sessions(counts):
    """Sessions of each locale, dealt in turn."""
    locales = [locale for locale, count in counts.items() for _ in range(count)]
    return CON.create_table(
        ibis.util.gen_name("s"), ibis.memtable({"session_id": range(len(locales)), "locale": locales})
    ), locales


def chosen(table, seed, share):
    limits = validation_limits(CON, table, seed=seed, share=share)
    rows = CON.to_pyarrow(table.filter(in_validation(table, limits, seed=seed)).select("session_id")).to_pylist()
    return sorted(row["session_id"] for row in rows)


@pytest.mark.parametrize(
    ("num", "share", "expected"), [(100, 0.1, 10), (4, 0.1, 0), (5, 0.1, 1), (15, 0.1, 2), (3, 0.5, 2)]
)
def test_the_share_is_rounded_a_half_up(num, share, expected):
    assert validation_size(num, share) == expected


def test_validation_holds_the_smallest_hashes_of_each_locale():
    table, locales = sessions({"UK": 95, "DE": 30, "US": 4})
    expected = []
    for locale, size in (("UK", 10), ("DE", 3), ("US", 0)):
        rows = [row for row, name in enumerate(locales) if name == locale]
        expected += sorted(rows, key=lambda row: hashlib.md5(f"7:{row}".encode()).hexdigest())[:size]
    assert chosen(table, 7, 0.1) == sorted(expected)


def test_the_seed_decides_and_no_session_is_in_both():
    table, _ = sessions({"UK": 200, "JP": 100})
    assert chosen(table, 1, 0.2) == chosen(table, 1, 0.2)
    assert chosen(table, 1, 0.2) != chosen(table, 2, 0.2)


def test_a_shop_too_small_for_validation_keeps_all_for_training():
    table, _ = sessions({"US": 3})
    assert chosen(table, 0, 0.1) == []
