"""What a step costs on a real Spark cluster: rows a second and core, bytes shuffled, memory, on one and two workers."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import typer

from bench.measure import Size, app, store_of
from llmrec.console import out, table

__all__ = ["cluster"]

sys.path.append(str(Path(__file__).resolve().parents[2]))  # where the tests' cluster is
TICKS: Final = 100  # of a CPU second, in /proc
EVERY_S: Final = 0.1
TRAINING: Final = "sessions_development.parquet"
TEST: Final = "sessions_test_task1_phase1.parquet"


@dataclass
class _Watched:
    """CPU seconds and most memory of all processes of some workers, looked at while the block runs."""

    leaders: frozenset[int]
    seconds: dict[tuple[int, str], float] = field(default_factory=dict)  # by process and when it started
    peak_bytes: int = 0

    def look(self) -> None:
        held = 0
        for file in Path("/proc").glob("[0-9]*/stat"):
            try:
                words = file.read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            if int(words[3]) in self.leaders:
                self.seconds[int(file.parent.name), words[19]] = (int(words[11]) + int(words[12])) / TICKS
                held += 4096 * int(words[21])
        self.peak_bytes = max(self.peak_bytes, held)

    @contextmanager
    def looking(self) -> Iterator[None]:
        over = threading.Event()

        def look() -> None:
            while not over.wait(EVERY_S):
                self.look()

        self.look()
        before = sum(self.seconds.values())
        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.look()
            self.seconds = {(0, "all"): sum(self.seconds.values()) - before}


@dataclass(frozen=True)
class Cost:
    """Of one run: CPU seconds and most memory of the workers, wall seconds of its tasks, bytes that were shuffled."""

    cpu_s: float
    task_s: float
    shuffled: int
    peak_bytes: int


def _tasks(folder: Path) -> Iterator[Any]:
    for file in sorted(one for one in folder.rglob("*") if one.is_file() and not one.name.startswith(".")):
        for line in file.read_bytes().split(b"\n"):  # a plan of Spark may hold what else breaks lines
            found = json.loads(line) if line else {}
            if found.get("Event") == "SparkListenerTaskEnd":
                yield found.get("Task Metrics") or {}


def _run(command: list[str], found: Any, folder: Path) -> Cost:
    """Run ``llmrec`` on a cluster, and see what it took there."""
    log, settings = folder / "events", folder / "conf"
    for one in (log, settings):
        one.mkdir(parents=True)
    told = {"spark.eventLog.enabled": "true", "spark.eventLog.dir": log.as_uri(), "spark.eventLog.compress": "false"}
    told |= {"spark.executor.memory": "600m", "spark.driver.memory": "600m", "spark.sql.shuffle.partitions": "16"}
    lines = "".join(f"{name} {value}\n" for name, value in told.items())
    (settings / "spark-defaults.conf").write_text(lines, encoding="utf-8")
    env = found.env | {"SPARK_CONF_DIR": str(settings), "OMP_NUM_THREADS": "1"}
    watched = _Watched(frozenset(one.pid for one in found.workers))
    with watched.looking():
        subprocess.run([sys.executable, "-m", "llmrec.cli", *command], env=env, check=True)
    tasks = list(_tasks(log))
    shuffled = sum(one.get("Shuffle Write Metrics", {}).get("Shuffle Bytes Written", 0) for one in tasks)
    task_s = sum(one.get("Executor Run Time", 0) for one in tasks) / 1000
    return Cost(sum(watched.seconds.values()), task_s, shuffled, watched.peak_bytes)


def _tiled(source: Path, target: Path, rows: int, *columns: str) -> Path:
    """The first ``rows`` sessions of a file, over and over where it has fewer."""
    table = pq.read_table(source, columns=["prev_items", "locale", *columns])
    whole = pa.concat_tables([table] * -(-rows // len(table))).slice(0, rows)
    target.mkdir(parents=True)
    for part, start in enumerate(range(0, rows, 50_000)):
        pq.write_table(whole.slice(start, 50_000), target / f"part-{part:04}.parquet")
    return target


def _ranking(store: Path, work: Path, master: str) -> Callable[[int, Path], list[str]]:
    from bench.counting import covisit_fit

    model = work / "covisit"
    if not model.exists():
        covisit_fit(store, model)

    def command(rows: int, folder: Path) -> list[str]:
        sessions = _tiled(store / TEST, folder / "sessions", rows)
        places = ["--sessions", sessions.as_uri(), "--out", (folder / "run.parquet").as_uri()]
        return ["rank", "covisit", "--engine", "spark", "--master", master, "--load", model.as_uri(), *places]

    return command


def _events(_store: Path, work: Path, master: str) -> Callable[[int, Path], list[str]]:
    from bench.events import write_log

    def command(rows: int, folder: Path) -> list[str]:
        log = work / f"log{rows}.csv"
        if not log.exists():
            write_log(log, rows)
        places = [log.as_uri(), (folder / "store").as_uri()]
        return ["data", "events", *places, "--engine", "spark", "--master", master, "--test-days", "7"]

    return command


def _counting(store: Path, _work: Path, master: str) -> Callable[[int, Path], list[str]]:
    def command(rows: int, folder: Path) -> list[str]:
        train = _tiled(store / TRAINING, folder / "train", rows, "next_item")
        places = ["--train", train.as_uri(), "--save", (folder / "covisit").as_uri()]
        return ["rank", "covisit", "--engine", "spark", "--master", master, *places]

    return command


STEPS: Final = {"events": _events, "count": _counting, "rank": _ranking}


@app.command()
def cluster(
    size: Size = "small",
    rows: Annotated[list[int], typer.Option(help="Rows of the smaller and the larger run.")] = [50_000, 200_000],  # noqa: B006
    workers: Annotated[list[int], typer.Option(help="Numbers of workers, of one core each.")] = [1, 2],  # noqa: B006
    only: Annotated[str, typer.Option(help="One step.")] = "",
) -> None:
    """Measure each step at two sizes; what the larger run takes more is the rate, without what starting takes."""
    from tests.cluster.standalone import cluster_of

    store, told = store_of(size), []
    with tempfile.TemporaryDirectory(prefix="llmrec-bench-") as work:
        for number in workers:
            folder = Path(work, str(number))
            folder.mkdir()
            with cluster_of(folder, number) as found:
                for name, step in STEPS.items():
                    if only in ("", name):
                        command = step(store, Path(work), found.master)
                        costs = [
                            _run(command(num, folder / f"{name}{num}"), found, folder / f"{name}{num}") for num in rows
                        ]
                        told.append(_row(name, number, rows, costs))
    columns = (
        "step",
        "workers",
        "rows/s a core (CPU)",
        "rows/s a core (tasks)",
        "shuffled, bytes a row",
        "GiB a worker",
    )
    out.print(table("a Spark cluster", columns, told))


def _row(name: str, workers: int, rows: list[int], costs: list[Cost]) -> tuple[str, ...]:
    more, (small, large) = rows[1] - rows[0], costs
    rates = [
        more / max(1e-9, after - before) for before, after in ((small.cpu_s, large.cpu_s), (small.task_s, large.task_s))
    ]
    shuffled, gib = (large.shuffled - small.shuffled) / more, large.peak_bytes / workers / 2**30
    return name, str(workers), *(f"{rate:,.0f}" for rate in rates), f"{shuffled:,.1f}", f"{gib:.2f}"
