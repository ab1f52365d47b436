"""Last Product Title, the paper's baseline of Task 3, as a run of its own: no model, no torch."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data.digests import sessions_files_fingerprint
from llmrec.data.store import Store
from llmrec.evaluation.provenance import collect_provenance
from llmrec.evaluation.runs import write_run
from llmrec.output import check
from llmrec.titles.prompting.recent_products import iterate_recent_products, open_split, session_ranges

__all__ = ["write_last_titles"]


def write_last_titles(store: Store, split: str, out: Path) -> int:
    """Write the title of each session's last product that has one (paper §4.3, "Last Product Title").

    Args:
        store: The store.
        split: ``validation`` or a test split; ``test`` stands for Task 3's.
        out: Run file to write; a session without any titled product gets an empty title.

    Returns:
        Number of titles written.

    Raises:
        StoreError: this store has no such split.
        DiskError: ``out`` cannot be written.
    """
    started = time.monotonic()
    check(out, "run")
    with open_split(store, split, ("title",)) as (sessions, products):
        parts = list(iterate_recent_products(sessions, products, session_ranges(sessions), k=1, fields=("title",)))
    locales = pa.chunked_array([chunk for part in parts for chunk in part["locale"].chunks], pa.string())
    lists = pa.chunked_array([chunk for part in parts for chunk in part["title"].chunks], pa.list_(pa.string()))
    titles = [(title or [""])[-1] for title in lists.to_pylist()]
    fingerprint = sessions_files_fingerprint(*store.sessions_files(split, task=3))
    provenance = collect_provenance(None, None, store.fingerprint, started, fingerprint)
    write_run(out, pc.cast(locales, pa.string()), titles, {**provenance, "method": "Last Product Title"})
    return len(titles)
