"""What is there is the least of all limits; what does not fit is one line with what does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llmrec import memory
from llmrec.errors import ConfigError
from llmrec.memory import GIB, Free, free_memory, largest_fitting, readable, require_memory

MIB = 2**20


def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cgroup: str) -> Path:
    """A machine with 8 GiB available and no limit, whose control groups lie under what is returned."""
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    groups.mkdir()
    (proc / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {8 * GIB >> 10} kB\n", encoding="utf-8")
    (proc / "self/cgroup").write_text(cgroup, encoding="utf-8")
    monkeypatch.setattr(memory, "PROC", proc)
    monkeypatch.setattr(memory, "GROUPS", groups)
    return groups


def group(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def test_without_a_limit_it_is_what_the_machine_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group(machine(tmp_path, monkeypatch, "0::/mine\n") / "mine", {"memory.max": "max", "memory.current": "5"})
    assert free_memory() == Free(8 * GIB, "this machine")


def test_a_group_above_counts_and_cached_files_make_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = machine(tmp_path, monkeypatch, "0::/above/mine\n")
    group(groups / "above/mine", {"memory.max": str(4 * GIB), "memory.current": str(GIB)})
    group(
        groups / "above",
        {
            "memory.max": str(2 * GIB),
            "memory.current": str(GIB),
            "memory.stat": f"anon 1\ninactive_file {100 * MIB}\nactive_file {50 * MIB}\n",
        },
    )
    assert free_memory() == Free(GIB + 150 * MIB, "the control group's limit")


def test_version_1_and_a_container_that_sees_its_own_group_at_the_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = machine(tmp_path, monkeypatch, "5:cpu,memory:/docker/abc\n0::/\n")
    limits = {"memory.limit_in_bytes": str(3 * GIB), "memory.usage_in_bytes": str(GIB)}
    group(groups / "memory", limits | {"memory.stat": f"inactive_file 0\ntotal_inactive_file {MIB}\n"})
    assert free_memory().size == 2 * GIB + MIB


def test_a_system_that_tells_nothing_refuses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PROC", tmp_path)
    assert free_memory().size > 10**15


def test_a_limit_of_the_process_counts() -> None:
    code = (
        "import resource; from llmrec.memory import free_memory;"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); print(*free_memory(), sep='|')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    size, source = done.stdout.strip().split("|")
    assert 0 < int(size) < 1 << 30
    assert source == "ulimit -v"


def test_the_largest_number_that_fits() -> None:
    free = Free(100, "")
    fitting = [largest_fitting(most, lambda size: 10 + 9 * size, free) for most in (1, 10, 11, 64)]
    assert fitting == [1, 10, 10, 10]
    assert largest_fitting(8, lambda size: 101 * size, free) == 0


def test_what_does_not_fit_is_one_line() -> None:
    require_memory("a thing", 5 * GIB, Free(5 * GIB, "this machine"), "")
    with pytest.raises(ConfigError) as caught:
        require_memory("a thing", 5.25 * GIB, Free(512 * MIB, "ulimit -v"), "take less")
    assert str(caught.value) == "a thing needs about 5.2 GiB of memory, and 512 MiB are free (ulimit -v); take less"


def test_sizes_are_read_by_people() -> None:
    assert [readable(size) for size in (0, 1, 3 * MIB, 1.5 * GIB)] == ["0 MiB", "1 MiB", "3 MiB", "1.5 GiB"]
