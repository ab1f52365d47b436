"""A real Spark cluster on loopback: a master and workers, each a JVM of its own, from pip's pyspark."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.places import ROOT

MASTER, WORKER = "org.apache.spark.deploy.master.Master", "org.apache.spark.deploy.worker.Worker"
UP_S = 120
BRIEF = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # of a JVM: what is compiled well pays only where much is done
HAS_SPARK = shutil.which("java") is not None and importlib.util.find_spec("pyspark") is not None
needs_spark = pytest.mark.skipif(not HAS_SPARK, reason="needs pyspark and Java")


@dataclass
class Cluster:
    """Processes of a cluster.

    Attributes:
        master: Its URL.
        page: Its web page, which tells as JSON what it knows.
        env: Environment of a driver that can reach it.
        workers: Each leads a process group of its own, with its executors.
        start_worker: Starts one of a number.
    """

    master: str
    page: str
    env: dict[str, str]
    workers: list[subprocess.Popen[bytes]]
    start_worker: Callable[[int], subprocess.Popen[bytes]]

    def kill(self, number: int) -> None:
        """SIGKILL to a worker and its executors."""
        os.killpg(self.workers[number].pid, signal.SIGKILL)
        self.workers[number].wait()

    def revive(self, number: int) -> None:
        """Another worker in the place of one that was killed."""
        before = self.alive()
        self.workers[number] = self.start_worker(number)
        until = time.monotonic() + UP_S
        while self.alive() <= before and time.monotonic() < until:
            time.sleep(0.3)

    def told(self) -> dict[str, object]:
        with urllib.request.urlopen(f"{self.page}/json/", timeout=5) as answer:
            found: dict[str, object] = json.load(answer)
            return found

    def alive(self) -> int:
        with suppress(OSError):
            workers = self.told()["workers"]
            return sum(one["state"] == "ALIVE" for one in workers)  # type: ignore[attr-defined]
        return 0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def cluster_of(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """Start one with a core and a GiB for each worker; all of it is gone when the block ends."""
    import pyspark

    home, port, page = Path(pyspark.__file__).parent, free_port(), free_port()
    env = dict(os.environ) | {
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_HOSTNAME": "localhost",
        "SPARK_WORKER_DIR": str(folder / "work"),
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": BRIEF,
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
    }
    env.pop("PYSPARK_GATEWAY_PORT", None)
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [str(home / "bin" / "spark-class"), *arguments]
        with (folder / f"{name}.log").open("wb") as log:
            started.append(
                subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            )
        return started[-1]

    try:
        start("master", MASTER, "--host", "127.0.0.1", "--port", str(port), "--webui-port", str(page))
        url = f"spark://127.0.0.1:{port}"
        size = ("--cores", "1", "--memory", "1g", "--webui-port", "0")

        def start_worker(number: int) -> subprocess.Popen[bytes]:
            return start(f"worker{number}", WORKER, *size, url)

        running = [start_worker(number) for number in range(workers)]
        found = Cluster(url, f"http://127.0.0.1:{page}", env, running, start_worker)
        until = time.monotonic() + UP_S
        while found.alive() < workers:
            if time.monotonic() > until:
                raise TimeoutError((folder / "master.log").read_text()[-2000:])
            time.sleep(0.3)
        yield found
    finally:
        for one in started:
            with suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
            one.wait()
