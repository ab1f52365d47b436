"""Two machines on one: network namespaces that a pair of virtual interfaces joins, as root alone can make them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.places import ROOT

ADDRESSES = ("10.77.0.1", "10.77.0.2")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def why_not() -> str:
    """Why nodes cannot be made here; empty where they can."""
    if os.geteuid() != 0:
        return "network namespaces of our own need root"
    if shutil.which("ip") is None:
        return "no `ip` (iproute2)"
    name = f"llmrec-{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return made.stderr.strip()


@dataclass
class Started:
    """A command on a node, and the file that it writes to."""

    process: subprocess.Popen[bytes]
    log: Path

    def end(self, timeout: float) -> tuple[int, str]:
        """Its status and what it said; it is killed where it takes longer."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        return self.process.returncode, self.log.read_text(encoding="utf-8", errors="replace")


@dataclass
class Nodes:
    """Names of the namespaces, and a folder with the programs that SLURM would bring."""

    names: tuple[str, str]
    tools: Path

    def start(self, number: int, command: list[str], **environment: str) -> Started:
        env = os.environ | {
            "PATH": f"{self.tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ACCELERATE_USE_CPU": "true",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        log = self.tools / f"node{number}.log"
        with log.open("wb") as told:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.names[number], *command],
                env=env | environment,
                cwd=ROOT,
                stdout=told,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Started(process, log)

    def launch(self, *words: str, first: str = "") -> list[Started]:
        """Start `accelerate_configs/slurm.sh` with two processes on each node; ``first`` is done on the second before.

        Each node runs the whole script, with an `srun` that starts this node's task alone.
        """
        port, job = 20_000 + os.getpid() % 9_000, {"SLURM_JOB_NODELIST": "first,second", "SLURM_NNODES": "2"}
        job |= {
            "SLURM_GPUS_ON_NODE": "2",
            "SLURM_JOB_ID": str(port % 10_000),
            "CONFIG": str(self.tools / "config.yaml"),
        }
        script = ["bash", str(ROOT / "accelerate_configs" / "slurm.sh"), *words]
        there = ["unshare", "-m", "bash", "-c", f'{first} && exec "$@"', "bash", *script] if first else script
        return [self.start(number, (script, there)[number], **job, SLURM_NODEID=str(number)) for number in range(2)]

    def kill(self, number: int) -> None:
        """SIGKILL to all processes of a node."""
        found = subprocess.run(["ip", "netns", "pids", self.names[number]], capture_output=True, text=True, check=True)
        for process in found.stdout.split():
            os.kill(int(process), signal.SIGKILL)


@contextmanager
def two_nodes(folder: Path) -> Iterator[Nodes]:
    """Make two nodes; they and all their processes are gone when the block ends."""
    names, ends = tuple(f"llmrec-{os.getpid()}-{number}" for number in range(2)), ("llmrec0", "llmrec1")

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    tools = folder / "tools"
    tools.mkdir()
    (tools / "srun").write_text('#!/bin/bash\nshift\nexec "$@"\n')  # without --kill-on-bad-exit=1
    (tools / "scontrol").write_text(f"#!/bin/bash\nprintf '%s\\n' {' '.join(ADDRESSES)}\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    config = (ROOT / "accelerate_configs" / "multi_node.yaml").read_text(encoding="utf-8")
    (tools / "config.yaml").write_text(config.replace("mixed_precision: bf16", 'mixed_precision: "no"'))
    nodes = Nodes((names[0], names[1]), tools)
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("link", "add", ends[0], "netns", names[0], "type", "veth", "peer", "name", ends[1], "netns", names[1])
        for name, end, address in zip(names, ends, ADDRESSES, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
            ip("-n", name, "link", "set", end, "up")
        yield nodes
    finally:
        for number, name in enumerate(names):
            if subprocess.run(["ip", "netns", "pids", name], capture_output=True, check=False).returncode == 0:
                nodes.kill(number)
                ip("netns", "del", name)
