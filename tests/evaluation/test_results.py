import json

import pytest

from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.results import read_result, refuse_partial, write_result
from llmrec.evaluation.scoring import score_titles

LOCALES = ["DE", "UK", "DE"]
WRITTEN = ["a b c d e", "a b c d", "x y z w"]
WANTED = ["a b c d e", "a b c d f", None]


def result(**settings):
    return score_titles("run.parquet", LOCALES, WRITTEN, WANTED, provenance={"seed": 1}, samples=20, **settings)


def test_a_result_reads_back_as_it_was_written(tmp_path):
    written = result(baseline=("last.parquet", ["a b c d x"] * 3))
    path = tmp_path / "run.result.json"
    write_result(path, written)
    assert read_result(path) == written
    record = json.loads(path.read_text(encoding="utf-8"))
    assert (record["n_sessions"], record["n_without_target"], record["provenance"]) == (2, 1, {"seed": 1})


def test_a_result_does_not_replace_a_runs_sidecar(tmp_path):
    (tmp_path / "run.parquet").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"name the result run\.result\.json"):
        write_result(tmp_path / "run.json", result())


def test_what_is_no_result_is_refused(tmp_path):
    path = tmp_path / "result.json"
    with pytest.raises(DataError, match="no such result"):
        read_result(path)
    for content in ("{", "[]", '{"version": 1}', '{"rows": 3}'):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match="damaged"):
            read_result(path)
    path.write_text('{"version": 99}', encoding="utf-8")
    with pytest.raises(DataError, match="version 99, this llmrec reads 1"):
        read_result(path)


def test_a_partial_result_stands_in_no_table():
    refuse_partial(result())
    with pytest.raises(ConfigError, match="a partial run \\(2 sessions\\) stands in no table"):
        refuse_partial(result(partial=True))
