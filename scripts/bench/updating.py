"""What `llmrec update` costs beside a fit on all sessions, and whether both give the same."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench.measure import app, measure
from llmrec.console import out, table

__all__ = ["update"]

RANKERS = (
    "popularity global_popularity covisit covisit_near covisit_last covisit_walk covisit_walk_wide item_knn vmis_knn "
    "item_vectors text_knn"
)


def one(recipe: str, files: list[Path], products: Path | None, share: float, times: int) -> tuple[Any, ...]:
    """CPU seconds of a fit and an update, the least of three each, and MB of the folder and of what it learnt from."""
    import llmrec
    from llmrec.rankers.recipes import ranker_settings, recipe_ranker
    from llmrec.rankers.registry import ranker_class
    from llmrec.rankers.sessions import read_training_files

    every = read_training_files(files)
    parts = [every] + [_renamed(every, number) for number in range(1, times)]
    every = parts[0].joined(*parts[1:])
    later = np.zeros(len(every), dtype=np.bool_)
    later[np.random.default_rng(0).choice(len(every), max(1, int(len(every) * share)), replace=False)] = True
    old, new = every.take(np.flatnonzero(~later)), every.take(np.flatnonzero(later))
    cls = ranker_class(recipe_ranker(recipe))
    shop = None
    if products is not None and cls.needs_products:
        from llmrec.rankers.fitting import product_table

        shop = product_table(products, cls.product_columns)
    settings, both = ranker_settings(cls, recipe), old.joined(new)
    fits: list[float] = []
    updates: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        model, refitted, updated = (Path(scratch) / name for name in ("model", "refitted", "updated"))
        cls(settings).fit(old, shop).save(model)
        while len(fits) < 3 and sum(fits) < 20:
            started = time.process_time()
            cls(settings).fit(both, shop).save(refitted)
            middle = time.process_time()
            llmrec.update(llmrec.load_ranker(model), new, shop).save(updated)
            fits.append(middle - started)
            updates.append(time.process_time() - middle)
        same = (refitted / "arrays.safetensors").read_bytes() == (updated / "arrays.safetensors").read_bytes()
        sizes = [(model / name).stat().st_size / 1e6 for name in ("arrays.safetensors", "learnt_from.safetensors")]
    return len(every), min(fits), min(updates), same, *sizes


def _renamed(sessions: Any, number: int) -> Any:
    """The same sessions, of other items."""
    from dataclasses import replace

    import pyarrow as pa
    import pyarrow.compute as pc

    ids = pc.binary_join_element_wise(sessions.sequences.flatten(), f"_{number}", "")
    return replace(sessions, sequences=pa.ListArray.from_arrays(sessions.sequences.offsets, ids), files=())


@app.command()
def update(
    files: Annotated[list[Path], typer.Argument(help="Sessions.")],
    products: Annotated[Path | None, typer.Option(help="For text_knn, which is left out without.")] = None,
    rankers: Annotated[str, typer.Option(help="Recipes.")] = RANKERS,
    share: Annotated[float, typer.Option(help="Part of the sessions that comes later.")] = 0.01,
    times: Annotated[int, typer.Option(help="How often the sessions are taken, with other ids each time.")] = 1,
) -> None:
    """Load a ranker, take a part of the sessions in and save it; beside fitting it on all sessions and saving it."""
    rows = []
    for name in rankers.split():
        if name == "text_knn" and products is None:
            continue
        done = measure(one, name, files, products, share, times)
        number, fit, later, same, arrays, learnt = done.value
        equal = "bit for bit" if same else "no"
        numbers = (f"{fit:.2f}", f"{later:.2f}", f"{fit / later:.1f} x", equal, f"{arrays:.1f}", f"{learnt:.1f}")
        rows.append((name, *numbers, f"{done.peak_gib:.2f}"))
    heads = ("ranker", "fit, CPU s", "update, CPU s", "", "equal", "arrays, MB", "learnt from, MB", "peak GiB")
    out.print(table(f"{share:.1%} of {number:,} sessions come later", heads, rows))
