import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data.digests import rows_fingerprint
from llmrec.data.lists import MISSING
from llmrec.errors import ConfigError, DataError, DiskError
from llmrec.evaluation.runs import read_run, sidecar_of, write_run

names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=6).filter(
    lambda id: id not in MISSING
)
ids = st.lists(names, max_size=4)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["UK", "JP"]), ids), min_size=1, max_size=5))
def test_a_run_reads_back_as_it_was_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("runs") / "ranked.parquet"
    locales, lists = [row[0] for row in rows], [row[1] for row in rows]
    write_run(path, locales, lists, {"seed": 3}, partial=True)
    run = read_run(path)
    assert (run.kind, run.partial, run.provenance, len(run)) == ("ranking", True, {"seed": 3}, len(rows))
    assert run.locales.to_pylist() == locales
    assert run.predictions.to_pylist() == lists


def test_titles_and_their_sidecar(tmp_path):
    path = tmp_path / "titles.parquet"
    write_run(path, ["JP", "DE"], ["スマホケース", ""], {"command": ["gen.py"]})
    assert read_run(path).kind == "titles"
    assert read_run(path).predictions.to_pylist() == ["スマホケース", ""]
    expected = {"kind": "titles", "rows": 2, "partial": False, "provenance": {"command": ["gen.py"]}}
    held = json.loads(sidecar_of(path).read_text(encoding="utf-8"))
    assert len(held.pop("checksum")) == 64
    assert held.pop("rows_fingerprint") == rows_fingerprint(pa.array(["JP", "DE"]), pa.array(["スマホケース", ""]))
    assert held == expected
    assert pq.read_schema(path).names == ["locale", "next_item_prediction"]


def test_a_run_from_elsewhere_needs_no_sidecar_and_may_have_other_string_types(tmp_path):
    path = tmp_path / "theirs.parquet"
    lists = pa.array([["a", "b"], []], pa.large_list(pa.large_string()))
    pq.write_table(
        pa.table({"locale": pa.array(["UK", "UK"]).dictionary_encode(), "next_item_prediction": lists}), path
    )
    run = read_run(path)
    assert (run.kind, run.partial, dict(run.provenance)) == ("ranking", False, {})
    assert run.predictions.to_pylist() == [["a", "b"], []]


@pytest.mark.parametrize(
    ("locales", "predictions", "message"),
    [
        (["UK"], ["a", "b"], "1 locales for 2 predictions"),
        (["UK", "UK"], ["a", None], "row 2: 'next_item_prediction' is empty (null)"),
        (["UK", None], ["a", "b"], "row 2: 'locale' is empty (null)"),
        (["UK", "UK"], [["a"], "b"], "titles or lists of ids, not both"),
        (["UK"], [7], "a run holds text alone"),
        (["UK"], pa.array([7]), "is int64; it must hold a title or a list of ids"),
    ],
)
def test_what_is_no_run_is_not_written(tmp_path, locales, predictions, message):
    path = tmp_path / "run.parquet"
    with pytest.raises(DataError, match=re.escape(message)):
        write_run(path, locales, predictions, {})
    assert list(tmp_path.iterdir()) == []


def test_a_run_cannot_take_its_sidecars_name(tmp_path):
    with pytest.raises(ConfigError, match=r"name it run\.parquet"):
        write_run(tmp_path / "run.json", ["UK"], ["a"], {})


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DiskError, match=r"file/run\.parquet: cannot be written"):
        write_run(tmp_path / "file" / "run.parquet", ["UK"], ["a"], {})


def test_what_is_no_run_is_not_read(tmp_path):
    path = tmp_path / "run.parquet"
    with pytest.raises(DataError, match="no such run"):
        read_run(path)
    path.write_bytes(b"PAR1 cut short")
    with pytest.raises(DataError, match="not a whole Parquet file"):
        read_run(path)
    pq.write_table(pa.table({"locale": ["UK"]}), path)
    with pytest.raises(DataError, match="no column 'next_item_prediction'"):
        read_run(path)
    pq.write_table(pa.table({"locale": ["UK"], "next_item_prediction": pa.array([None], pa.string())}), path)
    with pytest.raises(DataError, match="row 1: 'next_item_prediction' is empty"):
        read_run(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected object, got array"),
        ('{"rows": 1, "partial": "false"}', "partial: expected bool"),
        ('{"rows": 1.0}', "rows: expected int"),
        ('{"rows": 1, "partail": true}', "unknown field partail"),
        ('{"rows": 1, "kind": "titles", "checksum": "0"}', "its checksum is not that of its content"),
        ('{"kind": "ranking"}', "holds titles, its record says ranking"),
        ('{"rows": 9}', "tells of 9 rows, the run has 1"),
    ],
)
def test_a_foreign_or_stale_sidecar_is_refused_where_the_run_has_no_record(tmp_path, capsys, content, message):
    path = tmp_path / "run.parquet"
    write_run(path, ["UK"], ["a"], {"seed": 3}, partial=True)
    sidecar_of(path).write_text(content, encoding="utf-8")
    run = read_run(path)
    assert (run.provenance, run.partial) == ({"seed": 3}, True)
    assert "not the record of run.parquet, whose own counts" in " ".join(capsys.readouterr().err.split())
    sidecar_of(path).unlink()
    assert read_run(path).partial
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    assert not read_run(path).partial
    sidecar_of(path).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_run(path)


def test_a_run_written_through_a_link_takes_its_sidecar_along(tmp_path):
    (tmp_path / "far").mkdir()
    link, real = tmp_path / "latest.parquet", tmp_path / "far" / "run.parquet"
    link.symlink_to(real)
    write_run(link, ["UK"], ["a"], {})
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["far", "latest.parquet", "run.json", "run.parquet"]
    sidecar_of(link).write_text("{}", encoding="utf-8")
    write_run(link, ["UK"], ["b"], {"seed": 3})
    assert sidecar_of(link).read_text() == sidecar_of(real).read_text()
    assert read_run(real).provenance == read_run(link).provenance == {"seed": 3}


def test_a_record_is_never_taken_for_that_of_other_rows(tmp_path):
    path = tmp_path / "run.parquet"
    write_run(path, ["UK"] * 3, [["a"], ["b", "c"], ["d"]], {"command": []})
    table = pq.read_table(path)
    rotated = table.set_column(1, "next_item_prediction", pa.array([["d"], ["a"], ["b", "c"]]))
    pq.write_table(rotated.replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(DataError, match="holds other rows than those that its record tells of"):
        read_run(path)
    pq.write_table(rotated.replace_schema_metadata(None), path)  # as another program writes it: the sidecar stayed
    with pytest.raises(DataError, match="holds other rows than those that its record tells of"):
        read_run(path)
    sidecar_of(path).unlink()
    assert read_run(path).predictions.to_pylist() == [["d"], ["a"], ["b", "c"]]


def test_arrow_s_chunks_and_types_are_no_part_of_a_fingerprint():
    lists, locales = [["a", "bc"], [], ["", "d"]], ["UK", "DE", ""]
    plain = rows_fingerprint(pa.array(locales), pa.array(lists))
    in_chunks = pa.chunked_array([lists[:1], lists[1:]], pa.large_list(pa.large_string()))
    assert rows_fingerprint(pa.chunked_array([locales]), in_chunks) == plain
    assert rows_fingerprint(pa.array(["", *locales])[1:], pa.array([["x"], *lists])[1:]) == plain
    others = [[["a", "b", "c"], [], ["", "d"]], [["ab", "c"], [], ["", "d"]], [["a"], ["bc"], ["", "d"]], lists[::-1]]
    assert len({plain, *(rows_fingerprint(pa.array(locales), pa.array(one)) for one in others)}) == 5
