"""Sessions as RecBole's atomic files, for whoever wants to run stock RecBole on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from llmrec.arrays import Ints
from llmrec.console import track
from llmrec.errors import ConfigError, DataError
from llmrec.output import atomic_folder, check
from llmrec.ragged import Ragged, flat_ranges, list_array, list_lengths, offsets_of
from llmrec.rankers.sessions import Sessions, TrainingSessions

__all__ = ["export_atomic"]


CHUNK: Final = 50_000  # sessions held as text at once
SESSION_HEADER: Final = "session_id:token\titem_id_list:token_seq\titem_id:token\titem_locale:token"
ITEM_COLUMNS: Final = {
    "title": "token_seq",
    "brand": "token",
    "color": "token",
    "size": "token",
    "model": "token",
    "material": "token",
    "author": "token",
    "price": "float",
}
_MISSING: Final = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None", "n/a", "<NA>")  # what pandas reads as no value


def export_atomic(
    training: TrainingSessions,
    sessions: Sessions | None,
    out: Path,
    products: Any = None,
    *,
    every_prefix: bool = False,
    max_length: int = 50,
    validation_share: float = 0.1,
    seed: int = 0,
) -> None:
    """Write ``NAME.train.inter``, ``.valid.inter``, ``.test.inter``, ``NAME.yaml``, and ``NAME.item`` of products.

    A row is a session's items and the one that followed: the last of a training session, or each but its first. RecBole
    reads the settings that go with the files from ``NAME.yaml`` (``config_file_list``). Items are cut to the last ones,
    since RecBole would keep the first. Text is written without tabs, line breaks and double quotes, which break rows.

    Args:
        training: Sessions to learn from; those of one item have nothing that followed, and are left out.
        sessions: Sessions to rank for, the test file; their next item is not known, so that their own last item stands
            in its column, and RecBole's test metrics mean nothing. A session's id is ``test`` and its row from 0; one
            without items is left out. None: the test file is the validation file.
        out: Folder to write, whose name is the data set's ``NAME``. One that `export_atomic` wrote is replaced.
        products: Arrow table with ``id`` and any of `ITEM_COLUMNS`; the first row of an item is written.
        every_prefix: Whether each item of a training session but its first is a row's ``item_id``.
        max_length: Most items of a row.
        validation_share: Part of the training sessions that goes to the validation file (paper App. A: 10 %).
        seed: Seed of the draw.

    Raises:
        ConfigError: ``out`` holds something else.
        DataError: no training session has two items, or an id holds blanks or quotes.
        DiskError: the place cannot be written.
    """
    if out.exists() and not (out / f"{out.name}.train.inter").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: exists and holds no atomic files; choose another folder")
    check(out, "folder")
    lengths = list_lengths(training.sequences)
    usable = np.flatnonzero(lengths >= 2)
    if not len(usable):
        raise DataError("no training session has two items; RecBole needs one to read and one to name")
    everything = [training.sequences.flatten()] + ([] if sessions is None else [sessions.prev_items.flatten()])
    known = pc.unique(pa.concat_arrays([pc.unique(ids) for ids in everything]))
    _refuse_unwritable(known)
    held = np.zeros(len(lengths), dtype=np.bool_)
    rng = np.random.default_rng(seed)
    held[rng.choice(usable, max(1, int(validation_share * len(usable))), replace=False)] = len(usable) > 1
    with atomic_folder(out) as temporary:
        learn, validate = usable[~held[usable]], usable[held[usable]] if held.any() else usable
        _write_sessions(temporary / f"{out.name}.train.inter", training, learn, every_prefix, max_length, "")
        _write_sessions(temporary / f"{out.name}.valid.inter", training, validate, False, max_length, "")
        if sessions is None:
            _write_sessions(temporary / f"{out.name}.test.inter", training, validate, False, max_length, "")
        else:
            _write_sessions(temporary / f"{out.name}.test.inter", sessions, None, False, max_length, "test")
        columns = [] if products is None else _write_items(temporary / f"{out.name}.item", products, known)
        (temporary / f"{out.name}.yaml").write_text(_settings(max_length, columns), encoding="utf-8")


def _settings(max_length: int, item_columns: Sequence[str]) -> str:
    columns = {"inter": ["session_id", "item_id_list", "item_id"]}
    return yaml.safe_dump(
        {
            "USER_ID_FIELD": "session_id",
            "ITEM_ID_FIELD": "item_id",
            "alias_of_item_id": ["item_id_list"],
            "load_col": columns | ({"item": list(item_columns)} if item_columns else {}),
            "benchmark_filename": ["train", "valid", "test"],
            "MAX_ITEM_LIST_LENGTH": max_length,
            "train_neg_sample_args": None,
            "loss_type": "CE",
            "metrics": ["MRR", "Recall", "NDCG"],
            "topk": [100],
            "valid_metric": "MRR@100",
            "eval_args": {"order": "TO", "mode": "full"},
        },
        sort_keys=False,
    )


def _refuse_unwritable(ids: Any) -> None:
    odd = ids.filter(pc.or_(pc.match_substring_regex(ids, r'[\s"]|^$'), pc.is_in(ids, pa.array(_MISSING))))
    if len(odd):
        raise DataError(f"item id {odd[0].as_py()!r} cannot stand in an atomic file (blank, quote, or pandas' missing)")


def _write_sessions(
    file: Path,
    sessions: Sessions | TrainingSessions,
    chosen: Ints | None,
    every_prefix: bool,
    max_length: int,
    prefix: str,
) -> None:
    """Write rows of some sessions; of `Sessions`, and where ``chosen`` is None, all that have items."""
    lists = sessions.prev_items if isinstance(sessions, Sessions) else sessions.sequences
    rows = np.arange(len(lists)) if chosen is None else chosen
    with file.open("w", encoding="utf-8", newline="\n") as handle:
        handle.write(SESSION_HEADER + "\n")
        starts = range(0, len(rows), CHUNK)
        for start in track(starts, file.name, len(starts)):
            part = rows[start : start + CHUNK]
            places, locales = pa.array(part), sessions.locales.take(pa.array(part))
            for lines in _lines(lists.take(places), locales, part, every_prefix, max_length, prefix):
                _write_lines(handle, lines)


def _lines(lists: Any, locales: Any, numbers: Ints, every_prefix: bool, max_length: int, prefix: str) -> Iterator[Any]:
    """Rows of a chunk of sessions as text, so many at a time that all prefixes of long sessions fit into memory."""
    ids = lists.flatten()
    whole = Ragged(offsets_of(list_lengths(lists)), np.arange(len(ids)))
    ranked = bool(prefix)  # a session to rank for is read whole, its last item stands where the next would
    chosen = every_prefix | (whole.ages == 0)
    chosen &= ranked | (whole.values > whole.offsets[whole.rows])
    places, owners = whole.values[chosen], whole.rows[chosen]
    step = max(1, CHUNK // 4)
    for start in range(0, len(places), step):
        targets, sessions = places[start : start + step], owners[start : start + step]
        ends = targets + ranked
        begins = np.maximum(whole.offsets[sessions], ends - max_length)
        items = ids.take(pa.array(flat_ranges(begins, ends - begins)))
        texts = list_array(offsets_of(ends - begins), items)
        yield _joined(
            [
                pc.binary_join_element_wise(prefix, pa.array(numbers[sessions]).cast(pa.string()), ""),
                pc.binary_join(texts, " "),
                ids.take(pa.array(targets)),
                _plain(locales.take(pa.array(sessions))),
            ]
        )


def _write_items(file: Path, products: Any, known: Any) -> list[str]:
    """Write the first row of each product that a session holds; returns the names of the columns."""
    ids = products["id"].combine_chunks() if isinstance(products["id"], pa.ChunkedArray) else products["id"]
    rows = np.flatnonzero(pc.is_in(ids, known).to_numpy(zero_copy_only=False))
    _, first = np.unique(pc.index_in(ids.take(pa.array(rows)), known).to_numpy(), return_index=True)
    rows = np.sort(rows[first])
    columns = {name: kind for name, kind in ITEM_COLUMNS.items() if name in products.column_names}
    with file.open("w", encoding="utf-8", newline="\n") as handle:
        header = ["item_id:token", *(f"{name}:{kind}" for name, kind in columns.items())]
        handle.write("\t".join(header) + "\n")
        starts = range(0, len(rows), CHUNK)
        for start in track(starts, file.name, len(starts)):
            part = products.take(pa.array(rows[start : start + CHUNK])).combine_chunks()
            _write_lines(handle, _joined([_column(part, name) for name in ("id", *columns)]))
    return ["item_id", *columns]


def _column(table: Any, name: str) -> Any:
    column = table[name].combine_chunks() if isinstance(table[name], pa.ChunkedArray) else table[name]
    return pc.fill_null(column.cast(pa.string()), "") if name == "price" else _plain(column)


def _plain(texts: Any) -> Any:
    """Texts that stay one field: without tabs, line breaks and quotes; null is empty."""
    spaced = pc.utf8_trim_whitespace(pc.replace_substring_regex(texts.cast(pa.string()), r"\s+", " "))
    return pc.fill_null(pc.replace_substring(spaced, '"', "''"), "")


def _joined(columns: Sequence[Any]) -> Any:
    return pc.binary_join_element_wise(*columns, "\t")


def _write_lines(handle: TextIO, lines: Any) -> None:
    if len(lines):
        handle.write("\n".join(lines.to_pylist()) + "\n")
