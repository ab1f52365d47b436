import json
import os
import subprocess
import sys
import time

import pytest

from llmrec.evaluation.provenance import RECORDS, collect_provenance, command_line, git_commit
from llmrec.paper.reproduction.records import RECORDED

IDENTITY = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]


def test_provenance_is_plain_json_with_what_a_rerun_needs():
    record = collect_provenance("demo", 7, "abc", time.monotonic() - 2)
    assert json.loads(json.dumps(record)) == record
    assert (record["recipe"], record["seed"], record["data_fingerprint"]) == ("demo", 7, "abc")
    assert 2 <= record["seconds"] < 60
    assert record["finished"].endswith("+00:00")
    assert record["versions"]["python"].startswith("3.")
    assert record["versions"]["sacrebleu"]
    assert record["device"]["cores"] >= 1


def test_the_command_keeps_its_arguments_but_no_place_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = [
        str(tmp_path / "scripts" / "gen.py"), "--k", "3", "--data", str(tmp_path / "store"), "--out=/home/me/x.parquet",
        "--split", "runs/a b",
    ]  # fmt: skip
    assert command_line(argv) == ["gen.py", "--k", "3", "--data", "store", "--out=x.parquet", "--split", "runs/a b"]
    assert command_line([]) == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("--server=http://me:pass-word@host:8000/v1", "--server=http://host:8000/v1"),
        ("https://me:p@ss@host/v1", "https://host/v1"),
        ("http://host/v1/models@main", "http://host/v1/models@main"),
        ("me@home", "me@home"),
    ],
)
def test_the_command_loses_the_password_of_a_url(given, kept):
    assert command_line(["llmrec", given]) == ["llmrec", kept]


def test_to_ask_for_the_device_loads_no_torch():
    code = (
        "import sys, time; from llmrec.evaluation.provenance import collect_provenance; "
        "collect_provenance(None, None, None, time.monotonic()); raise SystemExit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_commit_is_marked_dirty_once_a_tracked_file_changes(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "code.py"
    file.write_text("a = 1\n", encoding="utf-8")
    try:
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("git is not installed")
    record = tmp_path / RECORDS / "table1" / "row.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}", encoding="utf-8")
    for command in (["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *IDENTITY, *command], check=True, capture_output=True)
    clean = git_commit(tmp_path)
    assert clean is not None
    assert len(clean) == 40
    record.write_text("[]", encoding="utf-8")
    assert git_commit(tmp_path) == clean
    file.write_text("a = 2\n", encoding="utf-8")
    assert git_commit(tmp_path) == f"{clean}-dirty"
    installed = tmp_path / "site-packages"
    installed.mkdir()
    assert git_commit(installed) is None


def test_outside_a_checkout_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit(tmp_path) is None


def test_records_lie_where_they_make_nothing_dirty():
    assert RECORDED.as_posix().endswith(RECORDS)
