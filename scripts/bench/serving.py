"""The service under load, as customers make it: requests in an open loop, more and more of them.

Server and generator have a core each. A bare handler of the same stack, and a loop without any stack, are asked in the
same run; the first is what the service is compared with, the second what the generator can do.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bench.load import Answers, ask_at, posted
from bench.measure import app
from bench.served_models import CASES, Case, made
from llmrec.console import notice, out, table

__all__ = ["serve"]

GENERATOR: Final = 1  # its core
RATES: Final = (50, 100, 200, 300, 400, 600, 800, 1000, 1200, 1500, 2000, 3000, 5000, 8000)
KEPT_UP: Final = 0.95  # of a rate; a server that answers less has been overrun
LOST: Final = 10  # times the promise; no higher rate is tried
NUM_REQUESTS: Final = 5_000


@dataclass(frozen=True)
class Server:
    """A server in a process of its own: its port and its processes."""

    port: int
    pids: tuple[int, ...]

    def cpu_s(self) -> float:
        """Seconds of a processor that it has used."""
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.pids]
        return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self, kind: str) -> float:
        """``VmHWM``, the peak, or ``VmRSS``, of all its processes."""
        told = [re.search(rf"{kind}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) for pid in self.pids]
        return sum(int(one[1]) for one in told if one) / 1024


@contextmanager
def served(cores: str, *arguments: str) -> Iterator[Server]:
    """``python -m`` some arguments on some cores, until the block ends."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(("scripts", *sys.path))}
    command = ["taskset", "-c", cores, sys.executable, "-m", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            lines = iter(process.stderr or ())
            found = next((one for line in lines if (one := re.search(r"listens at http://[\d.]+:(\d+)", line))), None)
            if found is None:
                raise RuntimeError(f"it ended before it listened: {' '.join(arguments)}")
            threading.Thread(target=lambda: [None for _ in lines], daemon=True).start()  # its log
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            yield Server(int(found[1]), (process.pid, *map(int, children)))
        finally:
            process.terminate()
            process.wait(60)


Row = tuple[Answers, float]  # and CPU microseconds of the server a request


def step(server: Server, requests: Sequence[bytes], rate: float, seconds: float) -> Row:
    """Ask at a rate for some seconds."""
    before = server.cpu_s()
    answers = ask_at(server.port, requests, rate, seconds)
    return answers, 1e6 * (server.cpu_s() - before) / sum(answers.statuses.values())


def ramp(
    server: Server, requests: Sequence[bytes], seconds: float, promise_ms: float, rates: Sequence[int]
) -> list[Row]:
    """Ask at higher and higher rates, until the server is overrun."""
    step(server, requests, rates[0], 1.0)  # connections, caches
    rows: list[Row] = []
    for rate in rates:
        rows.append(step(server, requests, rate, seconds))
        answers = rows[-1][0]
        if answers.errors or answers.answered < KEPT_UP * rate or answers.p90 > LOST * promise_ms:
            break
        time.sleep(0.3)
    return rows


def limit(rows: Sequence[Row], promise_ms: float) -> float:
    """The highest rate at which the promise was kept; 0 for none."""
    kept = [a.rate for a, _ in rows if not a.errors and a.answered >= KEPT_UP * a.rate and a.p90 <= promise_ms]
    return max(kept, default=0.0)


HEAD: Final = ("", "asked/s", "answered", "p50 ms", "p90", "p99", "errors", "CPU µs", "x p90", "x CPU")


def _cells(name: str, rows: Sequence[Row], bare: Sequence[Row]) -> list[tuple[str, ...]]:
    beside = {answers.rate: (answers, cpu) for answers, cpu in bare}
    cells = []
    for answers, cpu in rows:
        other, spent = beside.get(answers.rate, (None, 0.0))
        times = ("", "") if other is None else (f"{answers.p90 / other.p90:.1f}", f"{cpu / spent:.1f}")
        numbers = [f"{one:.2f}" for one in (answers.p50, answers.p90, answers.p99)]
        asked = (name, f"{answers.rate:g}", f"{answers.answered:.0f}")
        cells.append((*asked, *numbers, str(answers.errors), f"{cpu:.0f}", *times))
    return cells


def soak(server: Server, requests: Sequence[bytes], rate: float, seconds: float) -> str:
    """Ask at a rate for long, in ten parts; memory after each."""
    parts = [(*step(server, requests, rate, seconds / 10), server.memory_mib("VmRSS")) for _ in range(10)]
    errors = sum(answers.errors for answers, _, _ in parts)
    worst = max(answers.p90 for answers, _, _ in parts)
    memory = " ".join(f"{one:.0f}" for *_, one in parts)
    asked = sum(sum(answers.statuses.values()) for answers, _, _ in parts)
    return f"{seconds:g} s at {rate:g}/s: {asked:,} requests, {errors} errors, worst p90 {worst:.2f} ms, MiB {memory}"


def _requests(case: Case, where: Any) -> list[bytes]:
    return [posted(case.path, json.dumps(body).encode()) for body in where.bodies[:NUM_REQUESTS]]


def _answer_bytes(server: Server, case: Case, body: Any) -> int:
    asked = urllib.request.Request(f"http://127.0.0.1:{server.port}{case.path}", json.dumps(body).encode())
    return len(urllib.request.urlopen(asked).read())


@app.command()
def serve(
    cases: Annotated[str, typer.Option(help=f"Some of {', '.join(CASES)}, with commas between.")] = ",".join(CASES),
    size: Annotated[str, typer.Option(help="Synthetic data: tiny, small or full.")] = "small",
    ranker: Annotated[Path | None, typer.Option(help="A saved ranker of your own, in the place of the case's.")] = None,
    sessions: Annotated[Path | None, typer.Option(help="Sessions to ask it for.")] = None,
    index: Annotated[Path | None, typer.Option(help="A folder of `llmrec embed`, for the case similar.")] = None,
    seconds: Annotated[float, typer.Option(help="Seconds of each rate.")] = 5.0,
    workers: Annotated[int, typer.Option(help="Processes of the server.")] = 1,
    cores: Annotated[str, typer.Option(help="Cores of the server; the generator is on core 1.")] = "0",
    soak_s: Annotated[float, typer.Option("--soak", help="Seconds at 70 % of the limit; 0 for none.")] = 0.0,
    rates: Annotated[str, typer.Option(help="Requests a second, rising.")] = ",".join(map(str, RATES)),
) -> None:
    """Ask the service at rising rates, beside a bare handler: latency from due to answered, errors, CPU, memory."""
    os.sched_setaffinity(0, {GENERATOR})
    rising = [int(one) for one in rates.split(",")]
    for name in cases.split(","):
        case = CASES[name]
        where = made(name, size, ranker, sessions, index)
        requests = _requests(case, where)
        with served(cores, "llmrec.cli", "serve", "--port", "0", "--workers", str(workers), *where.flags) as server:
            answer_bytes = _answer_bytes(server, case, where.bodies[0])
            rows = ramp(server, requests, seconds, case.promise_ms, rising)
            most = limit(rows, case.promise_ms)
            held = soak(server, requests, 0.7 * most, soak_s) if soak_s and most else ""
            peak = server.memory_mib("VmHWM")
        plain = [posted("/v1/recommend", request.partition(b"\r\n\r\n")[2]) for request in requests]
        with served(cores[0], "bench.bare", str(answer_bytes)) as server:
            bare = ramp(server, plain, min(seconds, 3.0), case.promise_ms, rising)
        with served(cores[0], "bench.bare", str(answer_bytes), "--loop") as server:
            loop = ramp(
                server,
                plain,
                min(seconds, 2.0),
                case.promise_ms,
                [rate for rate in rising if rate >= 1000] or rising[-1:],
            )
        cells = _cells(name, rows, bare) + _cells("bare", bare, []) + _cells("loop", loop, [])
        out.print(table(f"serve {name}: {where.said}", HEAD, cells))
        alone, bound = limit(bare, case.promise_ms), limit(loop, case.promise_ms)
        notice(f"{name}: p90 ≤ {case.promise_ms:g} ms up to {most:g}/s, the bare handler's up to {alone:g}/s")
        late = max(answers.late for answers, _ in rows)
        notice(f"the generator manages {bound:g}/s, and was {late:.1f} ms late at most (p99)")
        notice(f"peak {peak:.0f} MiB; an answer has {answer_bytes:,} bytes")
        for line in (held, where.extra() if where.extra else ""):
            if line:
                notice(line)
