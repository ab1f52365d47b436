"""What a machine does to a command ends in one line and the right status: real processes with odd surroundings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HELP = f"{sys.executable} -c 'from llmrec.cli import main; main()' prompts list"
RUN = f'{sys.executable} -c "from llmrec.cli import _guarded; {{}}; raise SystemExit(_guarded(work))"'


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def line_of(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(closed: str) -> None:
    done = shell(f"{HELP} {closed}")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_standard_output_is_one_line() -> None:
    done = shell(f"{HELP} > /dev/full")
    assert "standard output" in line_of(done)
    assert "the disk is full" in line_of(done)
    assert done.returncode == 2


def test_the_work_goes_on_where_what_is_said_beside_it_cannot_be_written() -> None:
    code = "from llmrec.console import notice; work = lambda: [notice('x') for _ in range(999)] and print('done')"
    for place in ("2> /dev/full", "2> >(true)"):
        done = shell(f"{RUN.format(code)} {place}")
        assert (done.returncode, done.stdout) == (0, "done\n")


def test_a_reader_that_goes_away_is_quiet() -> None:
    code = "work = lambda: [print('x' * 99) for _ in range(10_000)]"
    done = shell(f"{RUN.format(code)} | true; echo ${{PIPESTATUS[0]}}")
    assert (done.stdout.strip(), done.stderr) == ("141", "")


def test_a_working_directory_that_is_gone_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    done = shell(f"cd {folder}; rmdir {folder}; {HELP}")
    assert line_of(done) == "error: the working directory was removed; change to one that exists"
    assert done.returncode == 2


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_RANK"])
def test_what_no_launcher_sets_is_one_line(name: str) -> None:
    done = shell(HELP, **{name: "x"})
    assert line_of(done).startswith(f"error: {name}='x' in the environment: must be a whole number")
    assert done.returncode == 2
    assert shell(HELP, **{name: ""}).returncode == 0
    assert shell(HELP, **{name: "-1"}).returncode == 0


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "import tempfile; tempfile._candidate_tempdir_list = lambda: ['/nowhere']\nwork = tempfile.gettempdir",
            "no folder for temporary files can be written; name one in TMPDIR",
        ),
        ("def work(): raise MemoryError", "no memory is left for this"),
        ("def work(): raise RuntimeError('can\\'t start new thread')", "no memory is left for this"),
        ("import errno\ndef work(): raise OSError(errno.EMFILE, 'x', 'f')", "f: too many files are open at once"),
        ("import errno\ndef work(): raise OSError(errno.EFBIG, 'x', 'f')", "f: larger than a file may be here"),
        ("import errno\ndef work(): raise OSError(errno.EACCES, 'x', 'f')", "f: Permission denied; choose another"),
    ],
)
def test_what_the_machine_has_no_more_of_is_one_line(code: str, words: str) -> None:
    program = f"from llmrec.cli import _guarded\n{code}\nraise SystemExit(_guarded(work))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert words in line_of(done)
    assert done.returncode == 2


def test_a_bug_keeps_its_traceback_but_tells_no_secret() -> None:
    program = (
        "from llmrec.cli import _guarded\n"
        "def work(): raise ValueError('http://me:hunter22@host/x, swordfish')\n"
        "raise SystemExit(_guarded(work))"
    )
    environment = {**os.environ, "HF_TOKEN": "swordfish"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert "Traceback" in done.stderr
    assert "ValueError: http://host/x, ***" in done.stderr
    assert "hunter22" not in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("swallowed", [False, True])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_an_ended_process_leaves_no_temporaries(
    number: signal.Signals, status: int, swallowed: bool, tmp_path: Path
) -> None:
    """Also where a library turns what the signal raised into an error of its own, as DuckDB does within a query."""
    program = (
        "import signal, sys, time; from pathlib import Path\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests run under nohup\n"
        "from llmrec.cli import _guarded\n"
        "from llmrec.output import atomic_file\n"
        "def work():\n"
        "    with atomic_file(Path(sys.argv[1]) / 'x') as temporary:\n"
        "        temporary.write_text('half'); print('ready', flush=True)\n"
        "        try: time.sleep(60)\n"
        "        except BaseException as error:\n"
        f"            if {swallowed}: raise RuntimeError('Query interrupted') from error\n"
        "            raise\n"
        "raise SystemExit(_guarded(work))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
    assert process.returncode == status
    assert "Traceback" not in told
    assert [path.name for path in tmp_path.iterdir() if "lock" not in path.name] == []


def test_an_interrupt_while_modules_load_is_quiet() -> None:
    program = (
        "import sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'llmrec.console': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from llmrec.cli import main"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")
