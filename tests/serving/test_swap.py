"""New models take the place of old ones while requests go on; broken ones do not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

import llmrec
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


def test_a_folder_that_vanishes_while_serving_harms_nothing(
    shop: Shop, serve: Callable[..., Client], tmp_path: Path
) -> None:
    folder = versions(shop, tmp_path)
    client = serve(Places(ranker=folder))
    before = client.ask("/v1/recommend", ASKED).json
    shutil.rmtree(folder)
    until(lambda: "trouble" in client.ask("/health/ready").json)
    assert client.ask("/v1/recommend", ASKED).json == before


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_the_process_starts_reloads_and_drains(shop: Shop, tmp_path: Path, ending: signal.Signals) -> None:
    folder = versions(shop, tmp_path)
    command = [sys.executable, "-m", "llmrec.cli", "serve", "--ranker", str(folder), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        lines = iter(process.stderr or ())
        address = next(line for line in lines if line.startswith("listens at ")).split()[2].rstrip(";")
        assert urllib.request.urlopen(f"{address}/health/ready").status == 200
        os.kill(process.pid, signal.SIGHUP)
        assert "serves ranker 2026-11-28" in next(line for line in lines if "serves" in line)
        os.kill(process.pid, ending)
        assert process.wait(20) == 0
        assert "Traceback" not in "".join(lines)


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
def test_what_cannot_be_served_is_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    command = [sys.executable, "-m", "llmrec.cli", "serve", "--port", "0", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60)
    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
