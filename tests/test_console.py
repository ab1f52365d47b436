"""What is said while waiting where there is no terminal."""

from __future__ import annotations

import io
import json
import logging
import math
import os
import re
import subprocess
import sys
import time

import pytest

from llmrec import console
from tests.hostile import HOSTILE, UNSAFE


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "FIRST_LINE_S", 0.05)


def said(capsys: pytest.CaptureFixture[str], number: int = 1) -> list[str]:
    """What was said, once that is so many lines: a busy machine takes its time."""
    text, end = "", time.monotonic() + 60
    while text.count("\n") < number and time.monotonic() < end:
        time.sleep(0.01)
        text += capsys.readouterr().err
    return text.splitlines()


def test_a_long_wait_is_a_plain_line_every_so_often(capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    with console.progress_bar() as bar:
        task = bar.add_task("train", total=1000, note="")
        bar.update(task, completed=250, note="loss 1.500")
        lines = said(capsys, 3)
    lines += capsys.readouterr().err.splitlines()
    most = math.log2((time.monotonic() - started) / console.FIRST_LINE_S + 1)
    assert 3 <= len(lines) <= most  # after .05 s, .15 s and, at the earliest, .35 s: the gaps grow
    form = r"train: 250/1,000 after 0:\d\d:\d\d(, about .* left)?, loss 1\.500"
    assert all(re.fullmatch(form, line) for line in lines)
    time.sleep(0.5)
    assert capsys.readouterr().err == ""


def test_of_bars_inside_each_other_the_innermost_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    with console.busy("outer"), console.busy("inner"):
        lines = said(capsys, 2)
    assert {line.split(":")[0] for line in lines} == {"inner"}
    capsys.readouterr()
    with console.busy("outer"), console.progress_bar() as bar:
        bar.update(bar.add_task("inner", total=1, note=""), completed=1)
        lines = said(capsys, 2)
    assert {line.split(":")[0] for line in lines} == {"outer"}


def test_a_command_is_never_silent_for_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "LINE_EVERY_S", 0.1)
    started = time.monotonic()
    with console.never_silent("rank"):
        lines = said(capsys, 3)
    lines += capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= (time.monotonic() - started) / console.LINE_EVERY_S
    assert all(re.fullmatch(r"rank: 0:\d\d:\d\d", line) for line in lines)


def test_work_of_unknown_length_says_how_long_it_has_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress_bar() as bar:
        bar.add_task("git clone", total=None, note="a repository")
        lines = said(capsys)
    assert re.fullmatch(r"git clone: 0:\d\d:\d\d, a repository", lines[0])


def test_short_work_and_other_processes_say_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patient:
        patient.setattr(console, "FIRST_LINE_S", 60.0)
        for _ in console.track(range(3), "short", total=3):
            pass
    monkeypatch.setenv("RANK", "1")
    with console.progress_bar() as bar:
        bar.add_task("train", total=1000, note="")
        time.sleep(0.2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:20])
def test_every_text_is_printed_as_text(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever a string stands: no markup is read, no command reaches the terminal, nothing fails."""
    for told in (console.out, console.stderr):
        told.print(text)
        told.print(console.table(text, [text, "n"], [[text, "1"]]))
        told.print(console.Group(text, console.table("", ["a"], [[text]])))
    console.notice(text)
    with console.progress_bar() as bar:
        bar.add_task(text, total=3, note=text)
        time.sleep(0.06)
    told_all = "".join(capsys.readouterr())
    assert not set(told_all) & set(UNSAFE)
    if 1 < len(text) < 40 and text.isascii() and text.isprintable():
        assert told_all.count(text) >= 9


def test_a_progress_bar_on_a_terminal_reads_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(console, "stderr", console._Console(file=file, force_terminal=True))
    with console.progress_bar() as bar:
        bar.add_task("[/]\x1b]0;title\x07", total=3, note="[/red]")
        bar.refresh()
    assert "[/]\\x1b]0;title\\x07" in file.getvalue()
    assert "[/red]" in file.getvalue()
    assert "\x07" not in file.getvalue()


def test_json_is_printed_exactly(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json(list(HOSTILE))
    told = capsys.readouterr().out
    assert json.loads(told) == list(HOSTILE)
    assert not set(told) & set(UNSAFE)


def test_log_records_are_text() -> None:
    formatter = console.PlainFormatter()
    record = logging.LogRecord("x", logging.WARNING, "x.py", 1, "%s", ("\x1b[2J\x07",), None)
    assert formatter.format(record) == "\\x1b[2J\\x07"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "shift_jis"])
def test_no_encoding_fails(encoding: str) -> None:
    code = (
        "from llmrec import console\n"
        "for to in (console.out, console.stderr):\n"
        r"    to.print('\u65e5 \U0001f642 \ud800')"
        "\n"
        r"    to.print(console.table('\xe9', ['\xfc \u2013'], [['\u65e5 \u05d0']]))"
        "\n"
        r"console.notice('\u05d0'); console.print_json({'t': '\u65e5\u672c \U0001f642'})"
    )
    env = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert ("日" if encoding in ("utf-8", "shift_jis") else "\\u65e5").encode(encoding) in done.stdout
    told = done.stdout.decode(encoding)
    assert json.loads(told[told.index("{") :]) == {"t": "日本 🙂"}
