"""Several runs of one split in one: a product's weight is the sum over runs of what its rank there is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.identity import check_together
from llmrec.evaluation.metrics import MAX_RANKED
from llmrec.evaluation.runs import Run, read_run, write_run
from llmrec.output import check
from llmrec.ragged import list_array, list_lengths, offsets_of, places_within, row_numbers
from llmrec.within import order_within

__all__ = ["DAMPING", "blend_lists", "blend_runs"]

DAMPING: Final = 10.0  # 1 / (this + rank); Cormack et al. (2009) take 60, which suits lists that are alike at the top


def blend_runs(
    runs: Sequence[Path],
    out: Path,
    weights: Sequence[float] | None = None,
    damping: float = DAMPING,
    k: int = MAX_RANKED,
    provenance: Callable[[], Mapping[str, Any]] = dict,
) -> None:
    """Blend ranked lists of the same sessions and write them as a run.

    Args:
        runs: Two run files or more, of one split.
        out: Run to write.
        weights: Weight of each run; all alike if not given.
        damping: What is added to a rank before it is turned around; a small one trusts the first places more.
        k: Most items of a list.
        provenance: Told when the lists are made: what to say of them in the sidecar, beside the names of the runs,
            weights and damping.

    Raises:
        ConfigError: fewer than two runs, or weights that do not fit them.
        DataError: a run holds titles, or runs are of different splits; the first differing row is named.
    """
    if len(runs) < 2:
        raise ConfigError(f"a blend is made of two runs or more; got {len(runs)}")
    shares = [1.0] * len(runs) if weights is None else list(weights)
    if len(shares) != len(runs):
        raise ConfigError(f"{len(shares)} weights for {len(runs)} runs; give one --weight for each run, in order")
    if any(not share >= 0 for share in shares) or not any(shares):
        raise ConfigError(f"weights must be at least 0, and one of them above; got {shares}")
    if not damping >= 0:
        raise ConfigError(f"damping must be at least 0; got {damping}")
    if not 1 <= k <= MAX_RANKED:
        raise ConfigError(f"k must be from 1 to {MAX_RANKED}; got {k}")
    check(out, "run")
    loaded = [read_run(path) for path in runs]
    for run in loaded:
        _check(run, loaded[0])
    lists = blend_lists([run.predictions for run in loaded], shares, damping, k)
    sessions = check_together(loaded)
    record = {"blend": [path.name for path in runs], "weights": shares, "damping": damping}
    partial = any(run.partial for run in loaded)
    known = {} if sessions is None else {"sessions_fingerprint": sessions}
    write_run(out, loaded[0].locales, lists, {**provenance(), **known, **record}, partial=partial)


def blend_lists(runs: Sequence[Any], weights: Sequence[float], damping: float, k: int) -> Any:
    """Arrow lists ``S`` of at most ``k`` ids; ties go to the smaller id.

    Args:
        runs: For each run its ``S`` Arrow lists of ids.
        weights: Weight of each run; an item at rank ``r`` gets it times ``1 / (damping + r)``.
        damping: As `blend_runs`.
        k: Most items of a list.
    """
    columns = [run.combine_chunks() if isinstance(run, pa.ChunkedArray) else run for run in runs]
    ids = pa.concat_arrays([column.flatten() for column in columns]).dictionary_encode()
    codes = np.empty(len(ids.dictionary), dtype=np.int64)  # an id's place among all in ascending order
    codes[pc.sort_indices(ids.dictionary).to_numpy()] = np.arange(len(codes))
    names = ids.dictionary.take(pc.sort_indices(ids.dictionary))
    lengths = [list_lengths(column) for column in columns]
    rows = np.concatenate([row_numbers(one) for one in lengths])
    places = np.concatenate([places_within(one) for one in lengths])
    worth = np.concatenate([np.full(one.sum(), weight) for one, weight in zip(lengths, weights, strict=True)])
    keys = rows * max(1, len(codes)) + codes[ids.indices.to_numpy()]
    distinct, where = np.unique(keys, return_inverse=True)
    sums = np.bincount(where, weights=worth / (damping + places + 1), minlength=len(distinct))
    row, code = np.divmod(distinct, max(1, len(codes)))
    order, place = order_within(row, np.round(sums, 12), exact=True)
    kept = order[place < k]
    offsets = offsets_of(np.bincount(row[kept], minlength=len(columns[0])))
    return list_array(offsets, names.take(pa.array(code[kept])))


def _check(run: Run, first: Run) -> None:
    if run.kind != "ranking":
        raise DataError(f"{run.path}: holds titles; only ranked lists are blended")
    if len(run) != len(first):
        raise DataError(f"{run.path}: {len(run)} lists, {first.path.name} has {len(first)}; blend runs of one split")
    row = pc.index(pc.fill_null(pc.equal(run.locales, first.locales), False), False).as_py()
    if row >= 0:
        raise DataError(
            f"{run.path}, row {row + 1}: locale '{run.locales[row]}', but {first.path.name} has "
            f"'{first.locales[row]}' there; blend runs of one split"
        )
