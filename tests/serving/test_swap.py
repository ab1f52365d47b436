"""New models take the place of old ones while requests go on; broken ones do not."""

from __future__ import annotations

import errno
import http.client
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import pytest

import llmrec
from llmrec.cli import status_of
from llmrec.serving.loaded import Places
from tests.serving.conftest import Client, Shop, until

ASKED = {"items": ["I00"], "locale": "US", "k": 5}


def versions(shop: Shop, folder: Path) -> Path:
    """A folder of two versions of a ranker, and a broken one; `current` is the first."""
    for name, recent in (("2026-11-28", 5), ("2026-11-29", 1)):
        llmrec.fit("covisit", shop.store.training(), shop.store, history=recent).save(folder / name)
    shutil.copytree(folder / "2026-11-29", folder / "broken")
    (folder / "broken" / "arrays.safetensors").write_bytes(b"no")
    swap(folder, "2026-11-28")
    return folder


def swap(folder: Path, name: str) -> None:
    (folder / "next").symlink_to(name)
    (folder / "next").rename(folder / "current")


def test_a_changed_current_swaps_without_a_lost_request(
    shop: Shop, serve: Callable[..., Client], tmp_path: Path
) -> None:
    folder = versions(shop, tmp_path)
    client = serve(Places(ranker=folder))
    answers: list[tuple[int, str]] = []
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            answer = client.ask("/v1/recommend", ASKED)
            answers.append((answer.status, answer.json.get("model", "")))

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        swap(folder, "2026-11-29")
        until(lambda: answers[-1:] == [(200, "2026-11-29")])
        swap(folder, "broken")
        until(lambda: "trouble" in client.ask("/health/ready").json)
        told = client.ask("/health/ready")
        assert told.status == 200
        assert "broken" in told.json["trouble"]
        assert client.ask("/v1/recommend", ASKED).json["model"] == "2026-11-29"
        swap(folder, "2026-11-28")
        until(lambda: answers[-1] == (200, "2026-11-28"))
        assert "trouble" not in client.ask("/health/ready").json
    finally:
        stop.set()
        asking.join()
    assert {status for status, _ in answers} == {200}
    assert 'llmrec_swaps_total{outcome="failed"} 1.0' in client.ask("/metrics").body.decode()


def test_a_full_disk_a_fault_and_a_folder_that_vanishes_while_serving_harm_nothing(
    shop: Shop, serve: Callable[..., Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = versions(shop, tmp_path)
    client = serve(Places(ranker=folder))
    before = client.ask("/v1/recommend", ASKED).json
    for name, error in (("2026-11-29", OSError(errno.ENOSPC, "No space left")), ("2026-11-28", ZeroDivisionError("x"))):
        with monkeypatch.context() as patch:
            patch.setattr("llmrec.serving.held.load_all", Mock(side_effect=error))
            swap(folder, name)
            until(lambda error=error: client.ask("/health/ready").json.get("trouble") == str(error))
            assert client.ask("/v1/recommend", ASKED).json == before
    shutil.rmtree(folder)
    until(lambda: "trouble" in client.ask("/health/ready").json)
    assert client.ask("/v1/recommend", ASKED).json == before


@pytest.mark.parametrize("versioned", [True, False])
def test_a_folder_that_vanishes_while_serving_is_told_and_harms_nothing(
    shop: Shop, serve: Callable[..., Client], tmp_path: Path, versioned: bool
) -> None:
    folder = versions(shop, tmp_path)
    gone = folder / "2026-11-28"
    client = serve(Places(ranker=folder if versioned else gone))
    before = client.ask("/v1/recommend", ASKED).json
    gone.rename(tmp_path / "elsewhere")
    until(lambda: "trouble" in client.ask("/health/ready").json)
    assert "2026-11-28: is not there any more" in client.ask("/health/ready").json["trouble"]
    assert client.ask("/v1/recommend", ASKED).json == before
    (tmp_path / "elsewhere").rename(gone)
    until(lambda: "trouble" not in client.ask("/health/ready").json)


def test_a_busy_process_reloads_keeps_what_works_and_drains_without_a_lost_request(shop: Shop, tmp_path: Path) -> None:
    folder = versions(shop, tmp_path)
    command = [sys.executable, "-m", "llmrec.cli", "serve", "--ranker", str(folder), "--port", "0", "--no-access-log"]
    answers: list[tuple[int, str]] = []

    def keep_asking(port: int) -> None:
        """Until the server says that it closes: whatever breaks before is a lost request."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            connection.request("POST", "/v1/recommend", json.dumps(ASKED))
            answer = connection.getresponse()
            answers.append((answer.status, json.loads(answer.read())["model"]))
            if answer.getheader("connection") == "close":
                return

    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process, ThreadPoolExecutor(4) as threads:
        lines = iter(process.stderr or ())
        address = next(line for line in lines if line.startswith("listens at ")).split()[2].rstrip(";")
        asking = [threads.submit(keep_asking, int(address.rpartition(":")[2])) for _ in range(4)]
        process.send_signal(signal.SIGHUP)
        assert "serves ranker 2026-11-28" in next(line for line in lines if "serves" in line)
        swap(folder, "broken")
        process.send_signal(signal.SIGHUP)
        assert "the old ones stay" in next(line for line in lines if "not used" in line)
        number = len(answers)
        until(lambda: len(answers) > number + 20)
        process.send_signal(signal.SIGTERM)
        for one in asking:
            one.result(60)
        assert process.wait(60) == 0
        assert "Traceback" not in "".join(lines)
    assert set(answers) == {(200, "2026-11-28")}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give --ranker DIR, --titles DIR or --index DIR"),
        (["--ranker", "nowhere"], "nowhere: no ranker here"),
        (["--index", "nowhere"], "nowhere"),
        (["--ranker", "nowhere", "--host", "0.0.0.0"], "give --keys FILE"),
        (["--ranker", "nowhere", "--keys", "nowhere"], "cannot be read"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert status_of(["serve", "--port", "0", *arguments]) == 2
    told = capsys.readouterr().err
    assert words in told.splitlines()[-1]
    assert "Traceback" not in told
