"""The whole job of a shop, as docs/serving.md tells it: a log, a ranker, answers; the next day's log, other answers."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from llmrec.cli import status_of
from tests.places import ROOT
from tests.serving.conftest import until

HEADING = "## From a log to an answer"
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.M | re.S)


def write_log(file: Path, day: int, after_tea: str, visits: int) -> None:
    """A log of a day: whoever looks at tea looks at the same product next."""
    rows = ["visitor_id,sku,event_time"]
    for visit in range(visits):
        hour = f"2026-11-{day:02}T{visit % 24:02}:{visit % 60:02}"
        rows += [f"v{day}-{visit},{item},{hour}:{place:02}" for place, item in enumerate(("cup", "tea", after_tea))]
    with gzip.open(file, "wt", encoding="utf-8") as out:
        out.write("\n".join(rows) + "\n")


def told_commands() -> list[list[str]]:
    """Commands of the section, in their order."""
    section = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8").split(HEADING)[1].split("\n## ")[0]
    lines = "".join(BLOCK.findall(section)).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def asked(address: str, curl: list[str]) -> Any:
    """What a command of curl asks, without curl."""
    path, body = curl[1].partition(":8000")[2], curl[curl.index("-d") + 1]
    with urllib.request.urlopen(address + path, body.encode(), timeout=30) as answer:
        return json.load(answer)


def test_a_log_becomes_answers_and_the_next_days_log_changes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path / "log.csv.gz", 20, "pot", 60)
    write_log(tmp_path / "log_of_today.csv.gz", 21, "kettle", 200)
    rows = [f"{item},{item} of steel" for item in ("cup", "tea", "pot", "kettle")]
    (tmp_path / "products.csv").write_text("\n".join(["sku,name", *rows]) + "\n", encoding="utf-8")
    commands = told_commands()
    (serving,) = (place for place, words in enumerate(commands) if words[:2] == ["llmrec", "serve"])
    for words in commands[:serving]:
        assert status_of(words[1:]) == 0, words
    started = [sys.executable, "-m", "llmrec.cli", *commands[serving][1:], "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(started, stderr=subprocess.PIPE, text=True, env=environment) as process:
        lines = iter(process.stderr or ())
        address = next(line for line in lines if line.startswith("listens at ")).split()[2].rstrip(";")
        curls = [words for words in commands if words[0] == "curl"]
        before = asked(address, curls[0])
        for words in commands[serving + 1 :]:
            if words[0] == "llmrec":
                assert status_of(words[1:]) == 0, words
        until(lambda: asked(address, curls[1])["model"] != before["model"])
        after = asked(address, curls[1])
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert "Traceback" not in "".join(lines)
    assert before["items"][0]["id"] == "pot"
    assert before["items"][0]["title"] == "pot of steel"
    assert after["items"][0]["id"] == "kettle"
