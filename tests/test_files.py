from __future__ import annotations

from pathlib import Path

import pytest

from llmrec import files
from llmrec.files import known_sha256, once, sha256_of, shipped_folder


def test_sha256_of_a_known_text(tmp_path: Path) -> None:
    (tmp_path / "abc").write_text("abc")  # the first test vector of FIPS 180-2
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("name", ["prompts", "accelerate_configs"])
def test_shipped_folders_are_found(name: str) -> None:
    assert any(shipped_folder(name).rglob("*.yaml"))


def test_what_a_file_holds_is_asked_once_until_something_touches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file, asked = tmp_path / "large.npy", []

    def read() -> str:
        asked.append(1)
        return file.read_text()

    def touched(content: str) -> None:
        file.write_text(content)
        monkeypatch.setattr(files.time, "time_ns", lambda: file.stat().st_ctime_ns + 10**10)

    touched("one")
    assert [once(file, "content", read), once(file, "content", read), len(asked)] == ["one", "one", 1]
    moved = file.rename(tmp_path / "elsewhere.npy").rename(file)  # whose entry the rename has touched
    assert (once(moved, "content", read), len(asked)) == ("one", 2)
    touched("two")
    assert (once(file, "content", read), once(file, "other", read), len(asked)) == ("two", "two", 4)
    kept = list((tmp_path / "cache" / "llmrec" / "seen").iterdir())
    assert kept
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    for path in kept:
        path.write_text("half a wo")  # a write that was killed
    assert (once(file, "content", read), len(asked)) == ("two", 5)


def test_a_file_that_was_just_written_and_a_cache_that_others_can_write_are_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = tmp_path / "x"
    file.write_text("one")
    known_sha256(file)
    folder = tmp_path / "llmrec" / "seen"
    assert list(folder.iterdir()) == []
    monkeypatch.setattr(files.time, "time_ns", lambda: file.stat().st_ctime_ns + 10**10)
    folder.chmod(0o777)
    assert known_sha256(file) == sha256_of(file)
    assert list(folder.iterdir()) == []
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert known_sha256(file) == sha256_of(file)
