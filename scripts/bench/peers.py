"""Rankers beside RecTools' two-stage ranker: the same sessions, the same measure, the same run."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from bench.measure import Measurement, app, measure, show
from llmrec.console import notice

__all__ = ["peers"]

OURS: Final = ("covisit", "vmis_knn", "fusion")


def _sessions(folder: Path) -> tuple[Any, Any, list[str]]:
    """Training sessions with the prefixes of those to rank, these, and their targets."""
    import pyarrow.parquet as pq

    from llmrec.rankers import read_session_files, read_training_files

    sessions = read_session_files(folder / "sessions.parquet")
    training = read_training_files([folder / "train.parquet"]).joined(sessions.bare())
    return training, sessions, pq.read_table(folder / "targets.parquet")["next_item"].to_pylist()


def _quality(lists: list[list[str]], targets: list[str]) -> str:
    ranks = [found.index(target) + 1 if target in found else 0 for found, target in zip(lists, targets, strict=True)]
    reciprocal = np.array([1 / rank if rank else 0.0 for rank in ranks])
    return f"MRR@100 {reciprocal.mean():.4f}, Recall@100 {(reciprocal > 0).mean():.4f}"


def ours(folder: Path, name: str) -> str:
    """Fit one of our rankers on one thread, and rank: CPU seconds and quality; the recipe, without scorers."""
    from llmrec.rankers.recipes import ranker_settings
    from llmrec.rankers.registry import ranker_class

    training, sessions, targets = _sessions(folder)
    changes = {"scorers": (), "transductive": True, "threads": 1} if name == "fusion" else {}
    started = time.process_time()
    ranker = ranker_class(name)(ranker_settings(name, None, changes)).fit(training)
    fitted = time.process_time()
    lists = ranker.rank(sessions, 100).ids.to_pylist()
    return _said(fitted - started, time.process_time() - fitted, lists, targets)


def _said(fit: float, rank: float, lists: list[list[str]], targets: list[str]) -> str:
    return f"{_quality(lists, targets)}; fit {fit:.1f} s, {len(lists) / rank:,.0f} sessions/s of CPU time"


def rectools(folder: Path, python: Path) -> str:
    """The same by RecTools, in a Python of its own: it needs an older NumPy."""
    import pandas as pd

    training, sessions, targets = _sessions(folder)
    lengths = np.diff(training.sequences.offsets.to_numpy())
    # sessions to rank come last in training, and first among the users
    users = np.repeat((np.arange(len(training)) + len(sessions)) % len(training), lengths)
    places = np.concatenate([np.arange(length) for length in lengths])
    table = pd.DataFrame({"user": users, "item": training.sequences.flatten().to_pylist(), "place": places})
    with tempfile.TemporaryDirectory() as scratch:
        table.to_csv(Path(scratch) / "interactions.csv", index=False)
        script = Path(__file__).with_name("rectools_two_stage.py")
        command = [python, script, "interactions.csv", str(len(sessions)), "found.json"]
        subprocess.run([str(one) for one in command], cwd=scratch, check=True, capture_output=True)
        found = json.loads((Path(scratch) / "found.json").read_text())
    return _said(found["seconds"]["fit"], found["seconds"]["rank"], found["lists"], targets)


@app.command()
def peers(
    folder: Annotated[Path, typer.Argument(help="What `llmrec data holdout` wrote.")],
    python: Annotated[Path | None, typer.Option(help="A Python with rectools, lightgbm and scikit-learn.")] = None,
) -> None:
    """Our rankers and RecTools' two-stage ranker on one hold-out: accuracy, CPU seconds, memory of this process."""
    rows: list[tuple[str, Measurement, str]] = []
    for name in OURS:
        found = measure(ours, folder, name)
        rows.append((name, found, found.value))
        notice(f"{name}: {found.value}")
    if python is None or subprocess.run([python, "-c", "import rectools, lightgbm, sklearn"], check=False).returncode:
        notice("no RecTools: pip install rectools lightgbm scikit-learn in a venv, and give its --python")
    else:
        found = measure(rectools, folder, python.absolute())
        rows.append(("RecTools, two stages", found, found.value))
    show(f"peers, {folder}", rows)
