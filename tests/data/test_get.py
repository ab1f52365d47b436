"""Getting the data: a real clone of a repository made on the spot, copies, and every way a download goes wrong."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.cli import main
from llmrec.data.download import official
from llmrec.data.download.fetch import clone, copy_folder
from llmrec.data.download.official import known_files, missing_files
from llmrec.data.download.verify import check_folder, impostor, write_sums
from llmrec.data.sources import find_source
from llmrec.errors import ConfigError, DataError

SESSION = "\"['A' 'B']\",UK\n"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def csv_of(path: Path, rows: int, header: str = "prev_items,locale\n", row: str = SESSION) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(header + row * rows, encoding="utf-8")
    return path


def parquet_of(path: Path, rows: int, **columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {"prev_items": [["A", "B"]] * rows, "locale": ["ES"] * rows}
    pq.write_table(pa.table(plain | columns), path)
    return path


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["data", "get", *map(str, arguments)])
    return int(stop.value.code or 0)


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository laid out as the authors': Task 2 with both phases and targets."""
    if shutil.which("git") is None:
        pytest.skip("no git")
    folder = tmp_path / "upstream"
    for name, rows in (("public", 34_688), ("private", 34_690)):
        parquet_of(folder / "task2" / f"{name}_test" / "sessions_test.parquet", rows)
        targets = pa.table({"next_item": ["C"] * rows})
        pq.write_table(targets, folder / "task2" / f"{name}_test" / "DONT_SHARE_gt_test.parquet")
    (folder / "README.md").write_text("data\n", encoding="utf-8")
    git(folder.parent, "init", "--quiet", str(folder))
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "-m", "data")
    return folder


def test_the_authors_repository_is_cloned_and_checked(
    repository: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "raw"
    assert run("--from", "authors", "--url", repository.as_uri(), "--out", out) == 0
    shown = capfd.readouterr()
    assert "34,690" in shown.out
    assert "WRONG" not in shown.out
    assert "not there: products_train.csv, sessions_train.csv, sessions_test_task1.csv" in shown.err
    assert shown.err.splitlines()[-1] == f"next: llmrec data import {out} stores/m2"
    assert (out / "task2" / "private_test" / "DONT_SHARE_gt_test.parquet").is_file()
    assert run("--from", "authors", "--url", repository.as_uri(), "--out", out) == 2
    assert "exists already" in capfd.readouterr().err


def test_a_clone_that_fails_is_one_line_and_leaves_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "raw"
    url = (tmp_path / "nowhere").as_uri()
    assert run("--from", "authors", "--url", url, "--out", out) == 2
    error = capfd.readouterr().err.splitlines()
    assert len(error) == 1
    assert error[0].startswith(f"error: git could not clone {url} (")
    assert f"git clone {url} {out}, then: llmrec data get --check {out}" in error[0]
    assert not list(tmp_path.iterdir())


def test_without_git_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="git is not installed; install it"):
        clone("https://example.org/x", tmp_path / "raw")


def test_pointers_of_a_clone_without_lfs_are_named(repository: Path, tmp_path: Path) -> None:
    pointer = repository / "task2" / "public_test" / "sessions_test.parquet"
    pointer.write_text(LFS, encoding="utf-8")
    git(repository, "commit", "--quiet", "-am", "pointer")
    clone(repository.as_uri(), tmp_path / "raw")
    problems = {one.name: one.problem for one in check_folder(tmp_path / "raw") if one.problem}
    assert problems == {
        "task2/public_test/sessions_test.parquet": (
            "a git-lfs pointer, not the file of 12,345 bytes; run 'git lfs pull' in the repository"
        )
    }


def test_a_folder_is_copied_without_what_is_not_read(tmp_path: Path) -> None:
    source = tmp_path / "mine"
    csv_of(source / "sessions_test_task2_phase1.csv", 34_688)
    csv_of(source / "targets" / "sessions_test_task2_phase1.csv", 34_688, "next_item\n", "C\n")
    (source / "notes.txt").write_text("x", encoding="utf-8")
    copy_folder(source, tmp_path / "raw")
    kept = sorted(path.relative_to(tmp_path / "raw").as_posix() for path in (tmp_path / "raw").rglob("*.*"))
    assert kept == ["sessions_test_task2_phase1.csv", "targets/sessions_test_task2_phase1.csv"]
    assert [one.problem for one in check_folder(tmp_path / "raw")] == ["", ""]
    assert run("--from", source, "--out", tmp_path / "raw2") == 0


NAME = "sessions_test_task2_phase1.csv"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty; download it again"),
        (b"\n<!DOCTYPE html><html><title>Log in</title>", "an HTML page, most likely the login page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "most likely of an expired link"),
        (b'{"error": "not logged in"}', "JSON, most likely an error message"),
        (LFS.encode(), "a git-lfs pointer, not the file of 12,345 bytes"),
        (b"PK\x03\x04xxxx", "a zip archive; unpack it"),
        (b"\x1f\x8b\x08xxxx", "a gzip archive; unpack it"),
        (b"prev_items,locale\n" + SESSION.encode() * 20 + b"\"['A' '", "cut short"),
        (
            b"prev_items,locale\n" + SESSION.encode() * 20 + b"\"['A' 'B']\",U",
            "21 rows, the official file has 34,688; the download is cut short",
        ),
        (b"prev_items,locale\n" + SESSION.encode() * 20, "20 rows, the official file has 34,688; part of the file"),
        (
            b"prev_items,locale\n" + SESSION.encode() * 34_689,
            "34,689 rows, the official file has 34,688; it is another",
        ),
        (b"items,locale\n" + SESSION.encode() * 34_688, "no column prev_items (it has items, locale)"),
    ],
    ids=["empty", "html", "xml", "json", "lfs", "zip", "gzip", "quote", "end", "short", "long", "column"],
)
def test_every_kind_of_wrong_file_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes, told: str
) -> None:
    (tmp_path / NAME).write_bytes(content)
    (found,) = check_folder(tmp_path)
    assert told in found.problem
    assert run("--check", tmp_path) == 2
    shown = capfd.readouterr()
    assert "WRONG" in shown.out
    assert shown.err.startswith("error: 1 of 1 files are not as they should be: " + NAME)
    assert shown.err.count("\n") == 1


def test_parquet_that_is_cut_is_named(tmp_path: Path) -> None:
    whole = parquet_of(tmp_path / "task2_phase1.parquet", 34_688).read_bytes()
    (tmp_path / "task2_phase1.parquet").write_bytes(whole[: len(whole) // 2])
    (found,) = check_folder(tmp_path)
    assert "the download is cut short" in found.problem
    (tmp_path / "task2_phase1.parquet").write_bytes(b"PAR2" + whole[4:])
    assert impostor(tmp_path / "task2_phase1.parquet") == "no Parquet file; download it again"


def test_downloads_that_were_broken_off_are_seen(tmp_path: Path) -> None:
    (tmp_path / "sessions_train.csv.crdownload").write_bytes(b"prev")
    (found,) = check_folder(tmp_path)
    assert found.problem == "a download that was broken off; finish or repeat it"
    csv_of(tmp_path / NAME, 34_688)
    assert [one.problem == "" for one in check_folder(tmp_path)] == [True, False]


def test_sums_are_written_and_compared(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = csv_of(tmp_path / NAME, 34_688)
    assert run("--check", tmp_path, "--write-sums") == 0
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert (tmp_path / "SHA256SUMS").read_text(encoding="utf-8") == f"{digest}  {NAME}\n"
    assert run("--check", tmp_path) == 0
    csv_of(tmp_path / NAME, 34_688, row="\"['A' 'C']\",UK\n")
    assert run("--check", tmp_path) == 2
    assert "another SHA-256 than in SHA256SUMS" in capfd.readouterr().err
    with pytest.raises(DataError, match="no sums of files that are not as they should be"):
        write_sums(tmp_path, check_folder(tmp_path))
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  gone.csv\n", encoding="utf-8")
    assert "named in SHA256SUMS but not there" in check_folder(tmp_path)[-1].problem
    (tmp_path / "SHA256SUMS").write_text("what\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 1: not a line of sha256sum"):
        check_folder(tmp_path)


def test_synthetic_data_does_not_pass_for_the_real(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from llmrec.synth import synthesize

    synthesize(tmp_path / "raw", size="tiny", seed=0)
    assert run("--check", tmp_path / "raw") == 2  # its row counts are not the official ones
    for path in (tmp_path / "raw").rglob("*.csv"):
        path.unlink()
    csv_of(tmp_path / "raw" / NAME, 34_688)
    capfd.readouterr()
    assert run("--check", tmp_path / "raw") == 0
    assert "not Amazon-M2" in capfd.readouterr().err


def test_without_a_source_it_says_where_and_fetches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run() == 0
    assert run("--from", "aicrowd") == 0
    shown = capfd.readouterr()
    assert official.AICROWD_PAGE in shown.err
    assert official.AUTHORS_URL in shown.err
    assert "fetched nothing" in shown.err
    assert "3,606,249" in shown.out
    assert not list(tmp_path.iterdir())
    assert run("--from", "nowhere") == 2
    assert "nowhere: no such folder" in capfd.readouterr().err


def test_what_is_known_agrees_with_the_paper(tmp_path: Path) -> None:
    rows = {name: counts for name, counts, _ in official.AICROWD_FILES}
    # Table 2: products of the locales; sessions of the locales; test sessions of Tasks 1 and 2
    assert rows["products_train.csv"] == (500_180 + 518_327 + 395_009 + 42_503 + 44_577 + 50_461,)
    assert rows["sessions_train.csv"] == (1_182_181 + 1_111_416 + 979_119 + 89_047 + 117_561 + 126_925,)
    assert rows["sessions_test_task1.csv"][0] == 115_936 + 104_568 + 96_467
    assert rows["sessions_test_task2.csv"][0] == 8_176 + 12_520 + 13_992
    csv_of(tmp_path / "sessions_test_task2.csv", 1)
    source = find_source(tmp_path)
    assert known_files(source)[0].rows == (34_688, 34_690)
    assert missing_files(source) == [
        *("products_train.csv", "sessions_train.csv"),
        *("sessions_test_task1.csv", "sessions_test_task3.csv"),
    ]


def test_a_password_of_the_url_is_neither_told_nor_kept(
    repository: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    key = "3f8a9c7b2d1e4f60a1b2c3d4"
    url = f"http://me:hunter22@localhost:1/{key}/x.git"
    assert run("--from", "authors", "--url", url, "--out", tmp_path / "a") == 2
    shown = "".join(capfd.readouterr())
    assert "git could not clone http://localhost:1/***/x.git" in shown
    assert "hunter22" not in shown
    assert key not in shown
    (tmp_path / key).symlink_to(tmp_path)
    clone(f"{tmp_path.as_uri()}/{key}/upstream", tmp_path / "b")
    with pytest.raises(DataError) as caught:
        clone(f"{tmp_path.as_uri()}/{key}/nothing", tmp_path / "c")
    assert key not in str(caught.value)
    assert not [file for file in (tmp_path / "b").rglob("*") if file.is_file() and key.encode() in file.read_bytes()]
