"""Speed and memory of the fused ranker: learn, rank in batch, rank one session at a time."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from bench.counting import TEST, TRAINING, covisit_serving
from bench.measure import Size, app, measure, show, store_of

__all__ = ["fusion", "fusion_fit"]


def fusion_fit(store: Path, folder: Path, labelled: int, limit: int | None) -> tuple[float, int]:
    """Seconds to fit `fusion`, without reading; and the number of training sessions. Saves it.

    Its recipe but for the scorers, which in inductive use are fitted for each fold and are measured as `neural`.

    Args:
        store: Store of sessions.
        folder: Where the ranker is saved.
        labelled: Most sessions that the trees learn from.
        limit: Only the first training sessions, to try it on a part.
    """
    from llmrec.rankers import read_training_files
    from llmrec.rankers.fusion.ranker import Fusion
    from llmrec.rankers.recipes import ranker_settings

    training = read_training_files([store / name for name in TRAINING])
    if limit is not None:
        training = training.take(np.arange(min(limit, len(training))))
    settings = ranker_settings("fusion", None, {"max_sessions": labelled, "scorers": ()})
    started = time.perf_counter()
    ranker = Fusion(settings).fit(training)
    seconds = time.perf_counter() - started
    ranker.save(folder)
    return seconds, len(training)


@app.command()
def fusion(size: Size = "small", labelled: int = 30_000, limit: int | None = None) -> None:
    """Fit `fusion` on the sessions of a store, and rank the test's with it, in batch and one by one."""
    store = store_of(size)
    with tempfile.TemporaryDirectory() as scratch:
        fit = measure(fusion_fit, store, Path(scratch) / "fusion", labelled, limit)
        serving = measure(covisit_serving, store, Path(scratch) / "fusion")
    p50, p90, rate = serving.value
    seconds, number = fit.value
    rows = [
        (f"fit, {number:,} sessions: read, fit, save", fit, f"{seconds:.1f} s of it fit"),
        (
            f"sessions of {TEST}, one by one and in batch",
            serving,
            f"p50 {p50 * 1e3:.1f} ms, p90 {p90 * 1e3:.1f} ms; {rate:,.0f} sessions/s in batch",
        ),
    ]
    show(f"fusion, {size}", rows)
