from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from llmrec.errors import DiskError
from llmrec.output import atomic_file, atomic_folder, disk_errors, write_text


def break_off(path: Path) -> None:
    path.write_text("half", encoding="utf-8")
    raise InterruptedError


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(InterruptedError), atomic_file(target) as temporary:
        break_off(temporary)
    assert target.read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_whole_or_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "store"
    with atomic_folder(target) as temporary:
        (temporary / "one").write_text("1", encoding="utf-8")
    with pytest.raises(InterruptedError), atomic_folder(target) as temporary:
        break_off(temporary / "two")
    assert [path.name for path in target.iterdir()] == ["one"]
    with atomic_folder(target) as temporary:
        (temporary / "three").write_text("3", encoding="utf-8")
    assert [path.name for path in target.iterdir()] == ["three"]
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_kill_leaves_the_previous_folder(tmp_path: Path) -> None:
    target = tmp_path / "store"
    with atomic_folder(target) as temporary:
        (temporary / "one").write_text("1", encoding="utf-8")
    code = (
        "import os, signal, sys; from pathlib import Path; from llmrec.output import atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1])) as t:\n"
        "    (t / 'two').write_text('2'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert done.returncode == -9
    assert [path.name for path in target.iterdir()] == ["one"]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    target = tmp_path / "disk" / "a.bin"
    target.parent.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(target.parent)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        write_text(target, "old")
        with pytest.raises(DiskError, match=r"a\.bin: the disk is full; free some space"), atomic_file(target) as out:
            out.write_bytes(bytes(1 << 20))
        assert target.read_text(encoding="utf-8") == "old"
        assert [path.name for path in target.parent.iterdir()] == ["a.bin"]
    finally:
        subprocess.run(["umount", str(target.parent)], check=True)


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DiskError, match="cannot be written"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_a_read_only_image_without_a_free_byte_is_not_called_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmrec.output._is_full", lambda target: True)
    with pytest.raises(DiskError, match="cannot be written \\(Read-only"), disk_errors(tmp_path / "a"):
        raise OSError(errno.EROFS, "")
