"""What is said while waiting where there is no terminal."""

from __future__ import annotations

import re
import time

import pytest

from llmrec import console


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "FIRST_LINE_S", 0.05)


def test_a_long_wait_is_a_plain_line_every_so_often(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress_bar() as bar:
        task = bar.add_task("train", total=1000, note="")
        bar.update(task, completed=250, note="loss 1.500")
        time.sleep(0.4)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 3  # after .05 s, .15 s and, at the earliest, .35 s: the gaps grow
    assert all(re.fullmatch(r"train: 250/1,000 after 0:00:00(, about .* left)?, loss 1\.500", line) for line in lines)
    time.sleep(0.5)
    assert capsys.readouterr().err == ""


def test_work_of_unknown_length_says_how_long_it_has_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress_bar() as bar:
        bar.add_task("git clone", total=None, note="a repository")
        time.sleep(0.1)
    assert capsys.readouterr().err.splitlines()[0] == "git clone: 0:00:00, a repository"


def test_short_work_and_other_processes_say_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in console.track(range(3), "short", total=3):
        pass
    monkeypatch.setenv("RANK", "1")
    with console.progress_bar() as bar:
        bar.add_task("train", total=1000, note="")
        time.sleep(0.2)
    assert capsys.readouterr().err == ""
