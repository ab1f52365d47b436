"""Seconds and peak memory of a call, in a process of its own so that the peak is its own; and the data they run on."""

from __future__ import annotations

import importlib
import multiprocessing
import resource
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec.console import notice, out, table

__all__ = [
    "RUNS",
    "Measurement",
    "Size",
    "app",
    "import_csv",
    "measure",
    "need",
    "resident",
    "show",
    "start_peak",
    "store_of",
    "write_synthetic",
]

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown")
LOADED_FIRST = ("pandas", "pyarrow.parquet", "llmrec.data.importing", "llmrec.synth")
RUNS = Path("runs/bench")
Size = Annotated[str, typer.Option(help="Size of the synthetic data: tiny, small or full.")]


@dataclass(frozen=True)
class Measurement:
    """Seconds and peak resident memory of one call, and what it returned."""

    seconds: float
    peak_gib: float
    value: Any


def _child(pipe: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    for module in LOADED_FIRST:  # a second of imports is no one's speed
        importlib.import_module(module)
    started = time.perf_counter()
    value = function(*arguments)
    seconds = time.perf_counter() - started
    pipe.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, value))


def measure(function: Callable[..., Any], *arguments: Any) -> Measurement:
    """Run a module-level function in a fresh process.

    Raises:
        RuntimeError: the process died.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(there, function, arguments))
    process.start()
    there.close()
    try:
        return Measurement(*here.recv())
    except EOFError as error:
        raise RuntimeError(f"{function.__name__} died with status {process.exitcode}") from error
    finally:
        process.join()


def resident(name: str = "VmRSS") -> int:
    """Bytes of memory that this process holds, or held at most (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def start_peak() -> int:
    """Let the peak start anew here; gives what is held now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return resident()


def show(title: str, rows: list[tuple[str, Measurement, str]]) -> None:
    """Print measurements as a table."""
    cells = [(name, f"{one.seconds:.2f}", f"{one.peak_gib:.2f}", note) for name, one, note in rows]
    out.print(table(title, ("what", "seconds", "peak GiB", ""), cells))


def write_synthetic(folder: Path, size: str) -> None:
    """Write the synthetic CSVs of a size."""
    from llmrec.synth import synthesize

    synthesize(folder, size=size, seed=0)


def import_csv(raw: Path, store: Path) -> None:
    """Import them."""
    from llmrec.data.importing import import_dataset

    import_dataset(raw, store)


def need(raw: Path, size: str) -> None:
    """Make the synthetic CSVs where they are missing or of an earlier version."""
    from llmrec.synth import is_current

    if not is_current(raw, size, 0):
        notice(f"making the {size} synthetic data first")
        shutil.rmtree(raw.parent / "store", ignore_errors=True)  # an earlier version's
        write_synthetic(raw, size)


def store_of(size: str) -> Path:
    """Store of a size's synthetic data, made where it is missing."""
    folder = RUNS / f"synthetic-{size}"
    need(folder / "csv", size)
    if not (folder / "store").is_dir():
        import_csv(folder / "csv", folder / "store")
    return folder / "store"
