"""Several processes behind one port: they answer alike, outlive each other, swap and end together."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import llmrec
from tests.selection.shop import training
from tests.serving.conftest import until

ASKED = {"items": ["I00"], "locale": "US", "k": 5}


class Served:
    """A supervisor, and what it and its workers have written."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.lines = process, list[str]()
        threading.Thread(target=lambda: self.lines.extend(process.stderr or ()), daemon=True).start()
        until(lambda: bool(self.of("listens at ")) or process.poll() is not None, 180)
        self.address = self.of("listens at ")[0].split()[2]

    def of(self, word: str) -> list[str]:
        return [line for line in list(self.lines) if line.startswith(word)]

    def ask(self, path: str, body: Any = None) -> str:
        data = None if body is None else json.dumps(body).encode()
        answer: bytes = urllib.request.urlopen(urllib.request.Request(self.address + path, data), timeout=20).read()
        return answer.decode()

    def workers(self) -> set[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {int(one) for one in children if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()}


@contextmanager
def serving(folder: Path, *more: str) -> Iterator[Served]:
    command = [sys.executable, "-m", "llmrec.cli", "serve", "--ranker", str(folder), "--port", "0", "--workers", "2"]
    with subprocess.Popen([*command, *more], stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Served(process)
        finally:
            process.kill()


def test_a_killed_worker_is_replaced_while_the_other_answers_and_signals_reach_all(tmp_path: Path) -> None:
    ranker = llmrec.fit("covisit", training())
    ranker.save(tmp_path / "covisit")
    wanted = ranker.rank([["I00"]], 5, locale="US").to_list()[0]
    with serving(tmp_path / "covisit", "--no-access-log") as served:
        assert json.loads(served.ask("/health/ready")) == {"ready": True}
        first = served.workers()
        assert len(first) == 2
        answers: list[list[str]] = []
        broken: list[float] = []  # when they were asked
        stop = threading.Event()

        def keep_asking() -> None:
            while not stop.is_set():
                asked = time.monotonic()
                try:
                    given = json.loads(served.ask("/v1/recommend", ASKED))
                    answers.append([one["id"] for one in given["items"]])
                except (OSError, HTTPException):
                    broken.append(asked)

        asking = [threading.Thread(target=keep_asking) for _ in range(2)]
        for one in asking:
            one.start()
        until(lambda: len(answers) > 20)
        os.kill(min(first), signal.SIGKILL)
        until(lambda: any("has ended: signal 9" in line for line in served.lines))
        gone, before = time.monotonic(), len(answers)
        until(lambda: len(answers) > before + 20)
        until(lambda: len(served.workers()) == 2 and len([line for line in served.lines if "serves" in line]) == 3, 180)
        stop.set()
        for one in asking:
            one.join()
        assert served.workers() != first
        assert {*map(tuple, answers)} == {tuple(wanted)}
        assert all(asked < gone for asked in broken)  # only what the dying one was asked
        counted = re.search(
            r'llmrec_requests_total\{route="/v1/recommend",status="200"\} (\d+)', served.ask("/metrics")
        )
        assert counted is not None
        assert len(answers) <= int(counted[1]) <= len(answers) + len(broken)  # the dead one's answers, too
        served.process.send_signal(signal.SIGHUP)
        until(lambda: len([line for line in served.lines if "serves ranker" in line]) == 5, 60)
        served.process.terminate()
        assert served.process.wait(60) == 0
        assert not [line for line in served.lines if "Traceback" in line or "leaked" in line]


def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    llmrec.fit("covisit", training()).save(tmp_path / "covisit")
    with serving(tmp_path / "covisit") as served:
        workers = served.workers()
        served.process.kill()
        until(lambda: not any(Path(f"/proc/{one}").exists() for one in workers), 120)


def test_what_no_worker_can_load_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llmrec.cli", "serve", "--ranker", "nowhere", "--port", "0", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=180)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "nowhere: no ranker here" in line


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "llmrec.cli", "serve", "--ranker", "x", "--port", port, "--workers", "2"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=180)
    assert done.returncode == 2
    assert f"--port {port}: cannot listen there" in done.stderr
    assert "Traceback" not in done.stderr
