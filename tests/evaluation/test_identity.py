"""A run is scored, blended and grounded with its own sessions alone."""

from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.data.digests import sessions_files_fingerprint
from llmrec.data.holdout import hold_out
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.blend import blend_runs
from llmrec.evaluation.evaluate import evaluate_run
from llmrec.evaluation.runs import read_run, sidecar_of, write_run
from llmrec.evaluation.targets import read_targets

# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")


def phase(folder, first):
    """A split of three sessions of one locale: its file, and its targets in a CSV that holds them too."""
    items = [[f"{first}{row}", "b"] for row in range(3)]
    sessions, targets = folder / f"{first}.parquet", folder / f"targets_{first}.csv"
    pq.write_table(pa.table({"prev_items": items, "locale": ["UK"] * 3}), sessions)
    rows = "".join(f"['{first}{row}' 'b'],c{row},UK\n" for row in range(3))
    targets.write_text("prev_items,next_item,locale\n" + rows, encoding="utf-8")
    return sessions, targets


def made(path, sessions, lists=(["c0"], ["c1"], ["c2"])):
    write_run(path, ["UK"] * 3, list(lists), {"sessions_fingerprint": sessions_files_fingerprint(sessions)})
    return path


def test_a_run_of_phase_1_is_not_scored_by_targets_of_phase_2(tmp_path):
    (one, its), (_, other) = phase(tmp_path, "x"), phase(tmp_path, "y")
    run = made(tmp_path / "run.parquet", one)
    assert evaluate_run(run, its, samples=2).overall.metrics["mrr@100"] == 1
    with pytest.raises(
        DataError, match=r"run\.parquet: made for other sessions than those of targets_y\.csv"
    ) as caught:
        evaluate_run(run, other)
    assert "\n" not in str(caught.value)


def test_sessions_in_another_order_are_other_sessions(tmp_path):
    sessions, targets = phase(tmp_path, "x")
    run = made(tmp_path / "run.parquet", sessions)
    header, *rows = targets.read_text(encoding="utf-8").splitlines(keepends=True)
    targets.write_text(header + "".join(rows[1:] + rows[:1]), encoding="utf-8")
    with pytest.raises(DataError, match="in another order"):
        evaluate_run(run, targets)


def test_a_run_from_elsewhere_is_scored_with_a_notice(tmp_path, capsys):
    sessions, targets = phase(tmp_path, "x")
    run = made(tmp_path / "elsewhere.parquet", sessions)
    pq.write_table(pq.read_table(run, partitioning=None).replace_schema_metadata(None), run)
    sidecar_of(run).unlink()
    assert evaluate_run(run, targets, samples=2).overall.metrics["mrr@100"] == 1
    assert "elsewhere.parquet: does not say which sessions it is of" in capsys.readouterr().err


def test_runs_of_different_sessions_are_neither_blended_nor_compared(tmp_path):
    (one, its), (two, _) = phase(tmp_path, "x"), phase(tmp_path, "y")
    runs = [made(tmp_path / "a.parquet", one), made(tmp_path / "b.parquet", two)]
    with pytest.raises(DataError, match=r"b\.parquet: made for other sessions than those of a\.parquet"):
        blend_runs(runs, tmp_path / "out.parquet")
    with pytest.raises(DataError, match="made for other sessions"):
        evaluate_run(runs[0], its, compare=runs[1])
    blend_runs([runs[0], made(tmp_path / "c.parquet", one)], tmp_path / "out.parquet")
    assert read_run(tmp_path / "out.parquet").sessions_fingerprint == sessions_files_fingerprint(one)


def test_held_out_targets_know_their_sessions_wherever_they_are_copied(tmp_path):
    table = pa.table({"prev_items": [[f"a{row}", "b"] for row in range(20)], "next_item": ["c"] * 20})
    pq.write_table(table.append_column("locale", pa.array(["UK"] * 20)), tmp_path / "all.parquet")
    held = hold_out(tmp_path / "all.parquet", tmp_path / "held", share=0.2)
    copy = held.targets.rename(tmp_path / "goals.parquet")
    assert read_targets(copy).sessions_fingerprint == sessions_files_fingerprint(held.sessions)
    targets = pq.read_table(copy, partitioning=None)
    changed = targets.set_column(0, "next_item", pa.array(["d"] * len(targets)))
    pq.write_table(changed.replace_schema_metadata(targets.schema.metadata), copy)
    with pytest.raises(DataError, match="holds other rows than those that it was written with"):
        read_targets(copy)


@pytest.mark.parametrize("blank", [" ", "\t", "\xa0", "\u3000", "\ufeff", "\u200b"])
def test_blanks_around_ids_change_no_score(tmp_path, blank, capsys):
    _, targets = phase(tmp_path, "x")
    targets.write_text(targets.read_text(encoding="utf-8").replace(",c1,", f",{blank}c1{blank},"), encoding="utf-8")
    run = tmp_path / f"blank{ord(blank)}.parquet"
    lists = pa.array([[f"c0{blank}"], [f"{blank}c1"], ["d", f"{blank}c2{blank}"]])
    pq.write_table(pa.table({"locale": ["UK", f"UK{blank}", "UK"], "next_item_prediction": lists}), run)
    assert evaluate_run(run, targets, samples=2).overall.metrics["mrr@100"] == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert f"{run.name}: blanks around 4 ids; read without them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([["a"], ["b", "nan"]], "row 2: an empty or nan id in a ranked list"),
        ([["a"], ["b", " "]], "row 2: an empty or nan id"),
        ([["a\x01b"], ["b"]], "row 1: a control character"),
    ],
)
def test_what_is_no_id_is_refused_in_a_run(tmp_path, lists, message):
    run = tmp_path / "run.parquet"
    pq.write_table(pa.table({"locale": ["UK", "UK"], "next_item_prediction": lists}), run)
    with pytest.raises(DataError, match=message):
        read_run(run)


@pytest.mark.parametrize("text", [pa.binary(), pa.int64()])
def test_a_run_that_holds_no_text_is_one_line(tmp_path, text):
    run = tmp_path / "run.parquet"
    lists = pa.array([[b"\xff"], [b"a"]] if text == pa.binary() else [[1], [2]], pa.list_(text))
    write_run(run, ["UK"] * 2, [["a"], ["b"]], {})
    held = pq.ParquetFile(run).schema_arrow.metadata
    for name, column in (("next_item_prediction", lists), ("locale", lists.flatten())):
        table = pa.table({"locale": ["UK"] * 2, "next_item_prediction": [["a"], ["b"]]})
        place = table.column_names.index(name)
        pq.write_table(table.set_column(place, name, column).replace_schema_metadata(held), run)
        with pytest.raises(DataError, match=f"column '{name}' is"):
            read_run(run)


def test_a_small_file_that_says_it_holds_a_billion_rows_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("llmrec.data.raw.free_memory", lambda: SimpleNamespace(size=1 << 22))
    run = tmp_path / "run.parquet"
    text = pa.array(["t" * 100] * 100_000)
    pq.write_table(pa.table({"locale": text, "next_item_prediction": text}), run, compression="zstd")
    assert run.stat().st_size < 10_000
    with pytest.raises(ConfigError, match="not enough memory for what it says it holds"):
        read_run(run)
