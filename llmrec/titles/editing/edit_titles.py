"""Edited titles of a split, by a model that is loaded or learnt first: what ``llmrec generate --recipe edit`` runs."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
from datasets import Dataset

from llmrec.data.store import Store
from llmrec.errors import ConfigError
from llmrec.titles.editing.edit_writer import EDIT, HISTORY, EditWriter, learn_edit_writer
from llmrec.titles.editing.editor import EditSettings
from llmrec.titles.prompting.recent_products import draw_sessions, iterate_recent_products, open_split, session_ranges
from llmrec.titles.setup import Job

__all__ = ["edit_titles"]

MOST: Final = 10_000  # sessions to learn from; more take minutes


def edit_titles(job: Job) -> tuple[Dataset, list[list[str]]]:
    """Sessions of the job's split, with ``locale``, ``last_title`` and ``target_title``, and a title of each.

    Raises:
        ConfigError: K exceeds the titles that are looked at, or the model's folder holds something else.
        DataError: there are too few sessions to learn from.
    """
    writer = job.loaded[0] if job.loaded else _learnt(job)
    rows = _sessions(job.store, job.split, limit=job.config.limit)
    titles = rows.column("title").to_pylist()
    written = writer.edited(titles, rows.column("locale").to_pylist())
    last = pa.array([some[-1] if some else "" for some in titles], pa.string())
    table = rows.select(["session_id", "locale", "target_title"]).append_column("last_title", last)
    return Dataset(table), [[one] for one in written]


def _learnt(job: Job) -> EditWriter:
    """Learn and save a model; it takes seconds, so nothing is kept of one that was stopped."""
    if job.card.k > HISTORY:
        raise ConfigError(f"--k {job.card.k}: an edit model keeps words of at most {HISTORY} titles")
    folder = job.folder / "model"
    EDIT.refuse_foreign(folder)
    rows = _sessions(job.store, "development", draw=job.config.train_sample or MOST)
    titles, targets, locales = (rows.column(name).to_pylist() for name in ("title", "target_title", "locale"))
    writer = learn_edit_writer(titles, targets, locales, EditSettings(k=job.card.k, seed=job.config.seed))
    writer.save(folder)
    return writer


def _sessions(store: Store, split: str, limit: int | None = None, draw: int | None = None) -> Any:
    """Arrow table of sessions in their order; ``title`` lists the most recent ones that are not empty."""
    with open_split(store, split, ("title",)) as (sessions, products):
        asked = sessions if draw is None else sessions.semi_join(draw_sessions(sessions, draw), "session_id")
        ranges = session_ranges(asked, limit)
        parts = list(iterate_recent_products(asked, products, ranges, k=HISTORY, fields=("title",)))
    return pa.concat_tables(parts).combine_chunks()
