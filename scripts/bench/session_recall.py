"""Encoders as retrievers on real sessions: a session's mean vector, the nearest products, and its target among them."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray

from bench.measure import app
from llmrec.console import out, table

__all__ = ["compare_encoders", "recall"]

DRAWS: Final = 2_000

Hits = dict[str, NDArray[np.bool_]]


def compare_encoders(
    data: Path, seed: int, others: Sequence[str], settings: dict[str, Any]
) -> tuple[Hits, NDArray[np.bool_]]:
    """Hold out a tenth of the training sessions, train the static encoder on the rest, and look for the targets.

    The sessions of one customer are prefixes of each other: a training session that goes on as a held-out one did is
    left out (`llmrec.text.encoders.learning.pairs.without_futures`).

    Args:
        data: Folder with ``sessions_train.csv`` and ``products_train.csv``.
        seed: Draws the held-out sessions, and is the training's.
        others: Encoders to set beside, by name or folder; they read the title, the trained one what its recipe says.
        settings: Changes to the recipe.

    Returns:
        For each encoder whether a session's target is among its 100 nearest products, shape ``(S,)``; and whether the
        target stands in a training session, shape ``(S,)``.
    """
    from llmrec.data.connection import connected
    from llmrec.data.holdout import hold_out
    from llmrec.data.products import read_products_file
    from llmrec.text.encoders.learning.pairs import HeldSessions, read_session_items, without_futures
    from llmrec.text.encoders.learning.session_recall import target_hits
    from llmrec.text.encoders.learning.train_encoder import TrainEncoderJob, encoder_settings, run_train_encoder_job
    from llmrec.text.encoders.registry import load_encoder
    from llmrec.text.encoders.texts import load_template, render_texts
    from llmrec.vocabulary import Vocabulary, product_keys

    products, template = data / "products_train.csv", encoder_settings(None, settings).template
    with connected() as con:
        catalogue = con.to_pyarrow(read_products_file(con, products)).combine_chunks()
    keys = Vocabulary(product_keys(catalogue["locale"], catalogue["id"]))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        parts = hold_out(data / "sessions_train.csv", folder / "holdout", seed=seed)
        held = HeldSessions.of(read_session_items([_joined(parts, folder / "held.parquet")], keys))
        sessions = without_futures(read_session_items([parts.train], keys), held)
        train = _write_sessions(sessions, catalogue, folder / "train.parquet")
        job = TrainEncoderJob(
            train=[train], products=products, out=folder / "encoder", settings={**settings, "seed": seed}
        )
        run_train_encoder_job(job)
        titles = render_texts(load_template("title"), catalogue)
        texts = render_texts(load_template(template), catalogue)
        found = {"trained": target_hits(load_encoder(str(folder / "encoder")).encode_documents(texts), held)}
        for name in others:
            found[name] = target_hits(load_encoder(name, texts=titles).encode_documents(titles), held)
    return found, np.isin(held.targets, sessions.values)


def _joined(parts: Any, file: Path) -> Path:
    """Held-out sessions with their targets, as one labelled file."""
    import pyarrow.parquet as pq

    sessions, targets = pq.read_table(parts.sessions), pq.read_table(parts.targets)
    pq.write_table(sessions.append_column("next_item", targets["next_item"]), file)
    return file


def _write_sessions(sessions: Any, catalogue: Any, file: Path) -> Path:
    """Sessions as a labelled file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids, ends = catalogue["id"].to_pylist(), sessions.offsets
    rows = [[ids[item] for item in sessions.values[start:end]] for start, end in itertools.pairwise(ends)]
    locales = [catalogue["locale"][int(sessions.values[start])].as_py() for start in ends[:-1]]
    columns = {"prev_items": [row[:-1] for row in rows], "next_item": [row[-1] for row in rows], "locale": locales}
    pq.write_table(pa.table(columns), file)
    return file


@app.command("session-recall")
def recall(
    data: Annotated[Path, typer.Option(help="Folder with sessions_train.csv and products_train.csv.")] = Path(
        "../shared/data/industrial"
    ),
    seeds: Annotated[str, typer.Option(help="One hold-out and training each.")] = "0,1,2",
    beside: Annotated[str, typer.Option(help="Encoders to set beside, by name or folder.")] = "tfidf-svd",
    changes: Annotated[list[str] | None, typer.Option("--set", help="A setting of the recipe, name=value.")] = None,
) -> None:
    """Recall@100 of the session-trained static encoder beside other encoders, on held-out training sessions."""
    from llmrec.cli.flags import assignments

    others = beside.split(",")
    runs = [compare_encoders(data, int(seed), others, assignments(changes or [])) for seed in seeds.split(",")]
    warm = np.concatenate([one for _, one in runs])
    hits = {name: np.concatenate([found[name] for found, _ in runs]) for name in ("trained", *others)}
    rng = np.random.default_rng(0)
    rows = []
    for name, found in hits.items():
        by_seed = " ".join(f"{one[name].mean():.4f}" for one, _ in runs)
        gains = hits["trained"].astype(np.float64) - found
        drawn = gains[rng.integers(len(gains), size=(DRAWS, len(gains)))].mean(axis=1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        shown = "" if name == "trained" else f"{hits['trained'].mean() - found.mean():+.4f} [{low:+.4f}, {high:+.4f}]"
        figures = [f"{found.mean():.4f}", f"{found[warm].mean():.4f}", f"{found[~warm].mean():.4f}"]
        rows.append((Path(name).name, *figures, by_seed, shown))
    columns = ("encoder", "recall@100", "warm", "cold", "by seed", "trained above it, 95 % interval")
    out.print(table(f"{len(warm):,} held-out sessions, {(~warm).sum():,} with a cold target", columns, rows))
