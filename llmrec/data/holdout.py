"""Part of a sessions file held out: what to learn from, what to rank for, and the targets, as three files."""

from __future__ import annotations

import shutil
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llmrec.data.connection import connected
from llmrec.data.digests import marked, sessions_fingerprint
from llmrec.data.sessions import read_sessions_file
from llmrec.data.spark.hash_holdout import hold_out_on_cluster
from llmrec.data.spark.open_cluster import Engine, check_places
from llmrec.errors import ConfigError, DataError
from llmrec.output import atomic_folder, check
from llmrec.ragged import list_lengths, row_numbers, split_last

__all__ = ["Holdout", "continued_groups", "groups_of_sequences", "hold_out"]

FILES: Final = ("train.parquet", "sessions.parquet", "targets.parquet")
_PRODUCTS: Final = {f"products_train{ending}" for ending in (".csv", ".parquet")}
_MIN_ITEMS: Final = 3  # of a bare session whose last item is held out: two stay, as in the released test files


@dataclass(frozen=True)
class Holdout:
    """The three files, and how many sessions are in them.

    Attributes:
        train: Sessions to learn from: ``prev_items``, ``next_item`` (null where the source had none), ``locale``.
        sessions: The held-out sessions: ``prev_items``, ``locale``.
        targets: Their targets: ``next_item``, ``locale``.
        num_train: Sessions in ``train``.
        num_held_out: Sessions in the other two.
    """

    train: Path
    sessions: Path
    targets: Path
    num_train: int
    num_held_out: int


def hold_out(
    file: Path,
    out: Path,
    *,
    share: float = 0.1,
    seed: int = 0,
    locales: Sequence[str] | None = None,
    grouped: bool = False,
    last: bool = False,
    cold: float = 0.0,
    products: Path | None = None,
    engine: Engine | None = None,
    master: str | None = None,
) -> Holdout:
    """Draw a share of each locale's sessions and part them from their targets.

    A labelled session's target is its ``next_item``. A session without one gives its last item, if it has three or
    more: the stand-in for Task 1, whose labelled sessions are not in the public repository.

    Args:
        file: Sessions, labelled or bare, CSV or Parquet.
        out: Folder for ``train.parquet``, ``sessions.parquet`` and ``targets.parquet``.
        share: Share of the sessions to hold out, between 0 and 1.
        seed: Draws them.
        locales: Only sessions of these; all if not given.
        grouped: Keep sessions that go on from one another (`continued_groups`) on one side: a file that lists each
            prefix of a history as a session of its own would else give targets away in the longer ones.
        last: Hold out the last sessions of the file, not drawn ones: a file in the order of time is then split by time,
            and what is learnt from came before. ``seed`` draws cold targets alone.
        cold: Share of the distinct targets that become cold: no session that holds one of them is learnt from.
        products: Products, CSV or Parquet; copied into ``out``, which `llmrec data import` then reads as a shop whose
            split ``test`` is held out.
        engine: Where to draw; ``spark`` takes URIs and draws by the hash of ``seed`` and row, so other rows than here.
        master: Of Spark.

    Raises:
        ConfigError: ``share`` is not between 0 and 1, ``seed`` is negative, ``last`` is asked with ``grouped``,
            ``products`` is no CSV or Parquet file, or ``out`` holds something else.
        DataError: the file is malformed, or no session can be held out.
    """
    check_places(engine, {"FILE": [file], "OUT": [out], "--products": [products]})
    if engine == "spark":
        _check_settings(share, seed, cold, None)
        _refuse_on_cluster({"--grouped": grouped, "--last": last, "--cold": cold, "--products": products})
        num = hold_out_on_cluster(file, out, share=share, seed=seed, locales=locales, master=master)
        return Holdout(out / FILES[0], out / FILES[1], out / FILES[2], num["train"], num["sessions"])
    _check_settings(share, seed, cold, products)
    if last and grouped:
        raise ConfigError("--last and --grouped exclude each other: earlier prefixes of a history belong to the past")
    _check_place(out)
    table = _read(file, locales)
    groups = continued_groups(table) if grouped else np.arange(len(table))
    held = _draw(table, share, None if last else seed, groups)
    if not len(held):
        raise DataError(f"{file.name}: no session with a target to hold out; give more sessions or a larger --share")
    kept = np.setdiff1d(np.arange(len(table)), held)
    prefixes, targets = _parted(table.take(pa.array(held)))
    kept = kept[~_holds(table.take(pa.array(kept)), _drawn_items(targets["next_item"], cold, seed))]
    if not len(kept):
        raise DataError(f"{file.name}: no session without a cold target is left to learn from; give a smaller --cold")
    _write(out, table.take(pa.array(kept)), prefixes, targets, products)
    return Holdout(out / FILES[0], out / FILES[1], out / FILES[2], len(kept), len(held))


def _refuse_on_cluster(given: Mapping[str, object]) -> None:
    if flag := next((flag for flag, value in given.items() if value), None):
        raise ConfigError(f"--engine spark draws sessions by their hash; leave {flag} out, or --engine spark")


def _check_place(out: Path) -> None:
    if out.exists() and not (out.is_dir() and {path.name for path in out.iterdir()} <= {*FILES, *_PRODUCTS}):
        raise ConfigError(f"{out}: exists and holds something else; choose another folder")
    check(out, "folder")


def _write(out: Path, train: Any, prefixes: Any, targets: Any, products: Path | None) -> None:
    with atomic_folder(out) as folder:
        pq.write_table(train, folder / FILES[0], compression="zstd")
        pq.write_table(prefixes, folder / FILES[1], compression="zstd")
        fingerprint = sessions_fingerprint(prefixes["prev_items"], prefixes["locale"])
        pq.write_table(marked(targets, fingerprint), folder / FILES[2], compression="zstd")
        if products is not None:
            shutil.copyfile(products, folder / f"products_train{products.suffix.lower()}")


def _check_settings(share: float, seed: int, cold: float, products: Path | None) -> None:
    if not 0 < share < 1:
        raise ConfigError(f"--share must lie between 0 and 1; got {share:g}")
    if not 0 <= cold <= 1:
        raise ConfigError(f"--cold must lie between 0 and 1; got {cold:g}")
    if seed < 0:
        raise ConfigError(f"--seed must be at least 0; got {seed}")
    if products is not None and not (products.is_file() and f"products_train{products.suffix.lower()}" in _PRODUCTS):
        raise ConfigError(f"--products {products}: no such CSV or Parquet file")


def _read(file: Path, locales: Sequence[str] | None) -> Any:
    with connected() as con:
        sessions = read_sessions_file(con, file)
        if "next_item" not in sessions.columns:
            sessions = sessions.mutate(next_item=None)
        table = con.to_pyarrow(sessions.select("prev_items", "next_item", "locale"))
    kinds = [("prev_items", pa.list_(pa.string())), ("next_item", pa.string()), ("locale", pa.string())]
    table = table.cast(pa.schema(kinds)).combine_chunks()
    if locales:
        found = set(table["locale"].unique().to_pylist())
        for name in locales:
            if name not in found:
                raise DataError(f"{file.name}: no session of locale '{name}'; it has {', '.join(sorted(found))}")
        table = table.filter(pc.is_in(table["locale"], pa.array(locales)))
    return table


def _draw(table: Any, share: float, seed: int | None, groups: NDArray[np.int64]) -> Any:
    """Rows to hold out, ascending: the same share of each locale's sessions that have a target, by whole groups.

    Without a seed, the last of them.
    """
    lengths = pc.list_value_length(table["prev_items"]).to_numpy()
    labelled = table["next_item"].is_valid().to_numpy()
    usable = (labelled & (lengths > 0)) | (lengths >= _MIN_ITEMS)
    names = np.array(pc.fill_null(table["locale"], "").to_pylist(), dtype=object)
    rng = None if seed is None else np.random.default_rng(seed)
    held = [
        rows[len(rows) - round(share * len(rows)) :]
        if rng is None
        else _first_groups(rows, groups, round(share * len(rows)), rng)
        for name in sorted(set(names))
        for rows in (np.flatnonzero(usable & (names == name)),)
    ]
    return np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *held]))


def _drawn_items(targets: Any, share: float, seed: int) -> Any:
    distinct = pc.unique(targets).sort()
    places = np.random.default_rng([seed, 1]).permutation(len(distinct))[: round(share * len(distinct))]
    return distinct.take(pa.array(places, pa.int64()))


def _holds(table: Any, items: Any) -> NDArray[np.bool_]:
    """Whether each session holds one of the items, as history or as ``next_item``, shape ``(S,)``."""
    lists = table["prev_items"].combine_chunks()
    rows = row_numbers(list_lengths(lists))
    found: NDArray[np.bool_] = pc.is_in(table["next_item"], items).to_numpy().copy()
    found[rows[pc.is_in(lists.flatten(), items).to_numpy(zero_copy_only=False)]] = True
    return found


def _first_groups(rows: Any, groups: NDArray[np.int64], number: int, rng: np.random.Generator) -> Any:
    """Rows of drawn groups, as many groups as come nearest to ``number`` rows."""
    order = rng.permutation(np.unique(groups[rows]))
    place = np.empty(int(groups.max(initial=0)) + 1, dtype=np.int64)
    place[order] = np.arange(len(order))
    sizes = np.bincount(place[groups[rows]], minlength=len(order))
    taken = int(np.abs(np.concatenate([[0], np.cumsum(sizes)]) - number).argmin())
    return rows[place[groups[rows]] < taken]


def continued_groups(table: Any) -> NDArray[np.int64]:
    """Number of the group of each session, shape ``(S,)``: those of one number go on from one another.

    Two sessions of a locale do so where all items of one, its ``next_item`` last, are the first items of the other; or,
    where histories were cut at the file's longest, where one with its ``next_item`` is the other's history but for the
    item that was cut off. Sessions that merely begin alike are not told apart from these: two items are enough.

    Args:
        table: ``prev_items``, ``next_item`` (null where unknown) and ``locale``.
    """
    histories, nexts = table["prev_items"].to_pylist(), table["next_item"].to_pylist()
    longest = max((len(items) for items in histories), default=0)
    whole = [(*items, *([goal] if goal is not None else [])) for items, goal in zip(histories, nexts, strict=True)]
    return groups_of_sequences(whole, table["locale"].to_pylist(), longest)


def groups_of_sequences(
    whole: Sequence[tuple[Hashable, ...]], locales: Sequence[Hashable], longest: int
) -> NDArray[np.int64]:
    """`continued_groups` of sequences that end with their ``next_item`` where it is known.

    Args:
        whole: ``S`` sequences.
        locales: ``S`` locales.
        longest: Items of the longest history, ``next_item`` left out.
    """
    root = list(range(len(whole)))

    def find(row: int) -> int:
        while root[row] != row:
            root[row] = root[root[row]]
            row = root[row]
        return row

    first: dict[tuple[Hashable, tuple[Hashable, ...]], int] = {}
    for row, items in enumerate(whole):
        keys = [items, *([items[1:]] if len(items) > longest else [])]
        for key in keys:
            root[find(row)] = find(first.setdefault((locales[row], key), row))
    for row, items in enumerate(whole):
        for length in range(2, len(items)):
            earlier = first.get((locales[row], items[:length]))
            if earlier is not None:
                root[find(row)] = find(earlier)
    numbers: NDArray[np.int64] = np.array([find(row) for row in range(len(whole))], dtype=np.int64)
    return numbers


def _parted(table: Any) -> tuple[Any, Any]:
    """Prefixes and targets of the held-out sessions."""
    lists, next_items = (table[name].combine_chunks() for name in ("prev_items", "next_item"))
    labelled = next_items.is_valid()
    prefixes, ends = split_last(lists, ~labelled.to_numpy(zero_copy_only=False))
    goals = pc.if_else(labelled, next_items, ends)
    return pa.table({"prev_items": prefixes, "locale": table["locale"]}), pa.table(
        {"next_item": goals, "locale": table["locale"]}
    )
