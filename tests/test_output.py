from __future__ import annotations

import errno
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmrec import output
from llmrec.errors import ConfigError, DiskError
from llmrec.output import atomic_file, atomic_folder, check, claimed, disk_errors, put_in_place, write_text

HOLD = """
import sys, time; from pathlib import Path; from llmrec.output import atomic_file
with atomic_file(Path(sys.argv[1]) / "out") as temporary:
    temporary.write_text("half"); print("held", flush=True); time.sleep(60)
"""


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
    monkeypatch.setattr("llmrec.output.disk._is_full", lambda target: True)
    with pytest.raises(DiskError, match="cannot be written \\(Read-only"), disk_errors(tmp_path / "a"):
        raise OSError(errno.EROFS, "")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "Permission denied"),
        (errno.EROFS, "Read-only"),
        (errno.EISDIR, "Is a directory"),
        (errno.ENAMETOOLONG, "name is too long"),
        (errno.EFBIG, "larger than a file may be"),
    ],
)
def test_what_the_system_says_is_told_apart(tmp_path: Path, number: int, said: str) -> None:
    with pytest.raises(DiskError, match=f"^{tmp_path / 'a'}: .*{said}"), disk_errors(tmp_path / "a"):
        raise OSError(number, os.strerror(number))


def test_a_library_that_only_says_it_in_words_is_understood(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="quota"), disk_errors(tmp_path / "a"):
        raise RuntimeError("cannot write: Disk quota exceeded")
    with pytest.raises(DiskError, match="Input/output error"), disk_errors(tmp_path / "a"):
        raise RuntimeError(f"{tmp_path}/.a.partial/x: Input/output error")
    with pytest.raises(DiskError, match="Input/output error"), disk_errors(tmp_path / "a"):
        raise RuntimeError("Error while serializing: I/O error: Input/output error (os error 5)")
    with pytest.raises(RuntimeError, match="elsewhere"), disk_errors(tmp_path / "a"):
        raise RuntimeError("elsewhere: Permission denied")
    with pytest.raises(RuntimeError, match="a bug"), disk_errors(tmp_path / "a"):
        raise RuntimeError("a bug")


def test_a_missing_file_to_read_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path / "a"):
        (tmp_path / "input").read_text()


def test_what_is_still_being_made_is_called_what_it_will_be(tmp_path: Path) -> None:
    for place in (tmp_path / ".e.partial" / "encoder", tmp_path / ".e.0123abcd.llmrec.tmp" / "x" / "y"):
        with pytest.raises(DiskError, match=f"^{tmp_path / 'e'}: the disk is full"), disk_errors(place):
            raise OSError(errno.ENOSPC, "")


def test_proc_is_no_full_disk() -> None:
    with pytest.raises(DiskError, match="/proc/llmrec: cannot be written"):
        write_text(Path("/proc/llmrec"), "x")


def test_a_device_pipe_or_socket_stays_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path, what in (
            (Path("/dev/null"), "a device"),
            (tmp_path / "pipe", "a pipe"),
            (tmp_path / "socket", "a socket"),
        ):
            for kind in ("file", "text", "run"):
                with pytest.raises(DiskError, match=f"{path}: is {what}; name a file"):
                    check(path, kind)
            with pytest.raises(DiskError, match=what):
                write_text(path, "x")
    assert Path("/dev/null").is_char_device()
    assert (tmp_path / "pipe").is_fifo()


def test_a_folder_is_no_file_and_a_file_no_folder(tmp_path: Path) -> None:
    (tmp_path / "run.json").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match=r"run\.json: is a folder; name a file"):
        check(tmp_path / "run.json", "text")
    with pytest.raises(DiskError, match=r"run\.json: is a folder"):  # in the place of the sidecar
        check(tmp_path / "run.parquet", "run")
    with pytest.raises(DiskError, match="file: is a file; name a folder"):
        check(tmp_path / "file", "folder")
    with pytest.raises(DiskError, match="Not a directory"):
        check(tmp_path / "file" / "below", "file")
    with pytest.raises(DiskError, match="cannot be written"):
        check(Path("/"), "folder")


def test_a_name_may_be_as_long_as_the_temporary_one_allows(tmp_path: Path) -> None:
    longest = 255 - len("..12345678.llmrec.tmp")
    write_text(tmp_path / ("n" * longest), "x")
    for name in ("n" * (longest + 1), "日" * 90, "n" * 300):
        with pytest.raises(DiskError, match="name is too long"):
            check(tmp_path / name)


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link, folder = tmp_path / "link", tmp_path / "store"
    link.symlink_to("far/file")
    folder.symlink_to("far/store")
    for text in ("dangling", "there"):
        write_text(link, text)
        assert (tmp_path / "far" / "file").read_text() == text
        with atomic_folder(folder) as temporary:
            (temporary / text).touch()
        assert [path.name for path in (tmp_path / "far" / "store").iterdir()] == [text]
    assert link.is_symlink()
    assert folder.is_symlink()
    assert {path.name for path in tmp_path.rglob("*")} == {"link", "store", "far", "file", "there"}
    link.unlink()
    link.symlink_to("link")
    with pytest.raises(DiskError, match="Too many levels of symbolic links"):
        check(link)


def test_the_same_place_twice_is_refused(tmp_path: Path) -> None:
    both = claimed((tmp_path / "run.parquet", "run"), (tmp_path / "run.json", "text"))
    with pytest.raises(ConfigError, match=r"run\.json: is to be written twice"), both:
        pass
    with pytest.raises(ConfigError, match="is its sidecar"):
        check(tmp_path / "run.json", "run")


def test_the_standard_output_takes_text_alone(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    for name in ("-", "/dev/stdout"):
        with claimed((Path(name), "text")):
            write_text(Path(name), "ü\n")
        assert capsysbinary.readouterr().out == "ü\n".encode()
        with pytest.raises(DiskError, match="takes text alone"):
            check(Path(name), "run")


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which is writing ``tmp_path / "out"``."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path, holding: subprocess.Popen[str]) -> None:
    wanted = rf"out: another process \(.*, pid {holding.pid}, since {time.strftime('%Y')}-.*\) is writing it"
    with pytest.raises(DiskError, match=wanted):
        write_text(tmp_path / "out", "x")
    (tmp_path / "name").symlink_to("out")  # by another name, too
    with pytest.raises(DiskError, match="is writing it"), claimed((tmp_path / "name", "file")):
        pass
    write_text(tmp_path / "other", "x")  # and nothing of its is swept
    assert len(list(tmp_path.glob(".out.*.tmp"))) == 1
    holding.kill()
    holding.wait()
    write_text(tmp_path / "another", "x")  # the dead leave nothing behind the next who writes there
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "name", "other"]
    write_text(tmp_path / "out", "y")
    assert (tmp_path / "out").read_text() == "y"


def test_a_claim_may_be_made_again_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "new" / "deep" / "out"
    with claimed((out, "file"), (tmp_path / "store", "folder")):
        with claimed((out, "file")):
            write_text(out, "x")
        assert {path.name for path in out.parent.iterdir()} == {"out", ".out.llmrec.lock"}
        out.unlink()
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_writes_under_its_parents_claim(tmp_path: Path) -> None:
    with claimed((tmp_path / "out", "file")):
        child = multiprocessing.get_context("fork").Process(target=write_text, args=(tmp_path / "out", "x"))
        child.start()
        child.join()
        assert child.exitcode == 0
        assert (tmp_path / ".out.llmrec.lock").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_system_without_locks_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "")

    monkeypatch.setattr(output.locks.fcntl, "flock", refused)
    (tmp_path / ".out.12345678.llmrec.tmp").touch()  # who knows whether it is used
    write_text(tmp_path / "out", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.12345678.llmrec.tmp", "out"]


def test_a_folder_that_is_written_into_is_swept_inside(tmp_path: Path) -> None:
    inside = tmp_path / "runs" / "checkpoints"
    inside.mkdir(parents=True)
    for folder in (inside, inside.parent):
        (folder / ".a.json.llmrec.lock").touch()
        (folder / ".a.json.12345678.llmrec.tmp").touch()
    with claimed((tmp_path / "runs", "place")):
        pass
    assert list(tmp_path.rglob("*")) == [inside.parent, inside]


def test_temporaries_of_the_version_before_are_swept_where_they_are_ours(tmp_path: Path) -> None:
    (tmp_path / ".out.12345678.tmp").mkdir()
    (tmp_path / ".foreign.12345678.tmp").touch()
    write_text(tmp_path / "out", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".foreign.12345678.tmp", "out"]


def test_folders_swap_in_two_steps_where_one_is_not_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_exchanged", lambda *_: False)
    for name in ("old", "new"):
        with atomic_folder(tmp_path / "store") as temporary:
            (temporary / name).touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["store", "new"]
    (tmp_path / "store").rename(tmp_path / ".store.12345678.llmrec.old")  # a death between the two
    (tmp_path / ".store.87654321.llmrec.tmp").mkdir()
    with claimed((tmp_path / "store", "folder")):
        assert [path.name for path in (tmp_path / "store").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_folder_of_ones_own_in_another_s_can_be_written_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "others" / "mine"
    place.mkdir(parents=True)
    real = os.access
    monkeypatch.setattr(output.os, "access", lambda path, mode: path != place.parent and real(path, mode))
    with claimed((place, "place")):
        write_text(place / "file", "x")
    assert [path.name for path in place.iterdir()] == ["file"]
    with pytest.raises(DiskError, match="Permission denied"):
        check(place, "folder")


def test_a_complete_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    for name in ("work", "store"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    put_in_place(tmp_path / "work", tmp_path / "store")
    assert [path.name for path in tmp_path.rglob("*")] == ["store", "work"]
