"""Write a synthetic data set: the official CSV files, and the tests' targets beside them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from msgspec import Meta

from llmrec.arrays import Ints
from llmrec.console import progress_bar
from llmrec.data.sources import SYNTHETIC
from llmrec.errors import ConfigError
from llmrec.output import atomic_folder, check
from llmrec.records import Count, read_record, record_text
from llmrec.schema import PRODUCT_COLUMNS
from llmrec.synth.csv_rows import printed_lists, write_header, write_rows
from llmrec.synth.product_lines import SyntheticCatalogue, build_catalogue
from llmrec.synth.products import product_ids, product_rows
from llmrec.synth.sizes import LocalePlan, plan, test_name
from llmrec.synth.walks import LocaleGraph, Walks, build_graph, draw_lengths, walk
from llmrec.synth.words import Lexicon, load_lexicon

__all__ = ["is_current", "read_settings", "synthesize"]

_KIND: Final = "llmrec synthetic Amazon-M2"
_VERSION: Final = 2  # raised when the same size and seed give other bytes
_CHUNK: Final = 100_000  # sessions walked at once
_UNKNOWN_RATE: Final = 0.0003  # share of training items whose product has no row
_SESSION_COLUMNS: Final = ("prev_items", "next_item", "locale")


def synthesize(out: Path, size: str = "tiny", seed: int = 0) -> Path:
    """Write synthetic Amazon-M2 data in the official CSV layout; the same size and seed give the same bytes.

    Args:
        out: Folder to write. One that an earlier call wrote is replaced.
        size: ``tiny`` (1/1000 of the paper's Table 2, at least 150 sessions and 100 of each Task-3 test a locale, fewer
            kinds of product), ``small`` (1/50) or ``full``.
        seed: Seed, at least 0.

    Returns:
        ``out``.

    Raises:
        ConfigError: the size or seed is wrong, or ``out`` holds something else.
        DiskError: the disk is full or the place cannot be written.
    """
    plans = plan(size)
    if seed < 0:
        raise ConfigError(f"seed {seed} is below 0; give 0 or more")
    _refuse_foreign(out)
    check(out, "folder")
    lexicon = load_lexicon()
    catalogue = build_catalogue(plans, lexicon, _rng(seed, "catalogue"))
    with atomic_folder(out) as folder, progress_bar() as bar:
        rows = bar.add_task("products", total=sum(one.products for one in plans), note="")
        ids = _ids(catalogue, lexicon)
        made = _Made(folder, plans, catalogue, ids, lexicon, seed)
        _write_products(made, lambda done: bar.advance(rows, done))
        total = sum(one.sessions + sum(test.sessions for test in one.tests) for one in plans)
        walked = bar.add_task("sessions", total=total, note="")
        _write_sessions(made, lambda done: bar.advance(walked, done))
        sessions, products = ({one.locale: getattr(one, name) for one in plans} for name in ("sessions", "products"))
        (folder / SYNTHETIC).write_text(record_text(Synthetic(size, seed, sessions, products)), encoding="utf-8")
    return out


@dataclass(frozen=True)
class Synthetic:
    """What ``synth.json`` holds: what was asked for, and the counts that were planned for it by locale."""

    size: str
    seed: Annotated[int, Meta(ge=0)]
    sessions: Mapping[str, Count]
    products: Mapping[str, Count]
    kind: Literal["llmrec synthetic Amazon-M2"] = _KIND
    version: int = _VERSION


def read_settings(folder: Path) -> Synthetic:
    """Size, seed and planned counts of a synthetic data set.

    Raises:
        ConfigError: ``folder`` holds no synthetic data set.
    """
    if not (folder / SYNTHETIC).is_file():
        raise ConfigError(f"{folder}: no synthetic data set; write one with llmrec data synth")
    return read_record(folder / SYNTHETIC, Synthetic, "write it again with llmrec data synth", error=ConfigError)


def is_current(folder: Path, size: str, seed: int) -> bool:
    """Whether ``folder`` holds what `synthesize` would write there now; an earlier version wrote other data."""
    try:
        settings = read_settings(folder)
    except ConfigError:
        return False
    return (settings.version, settings.size, settings.seed) == (_VERSION, size, seed)


def _refuse_foreign(out: Path) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        read_settings(out)
    except ConfigError:
        raise ConfigError(f"{out}: exists and holds no synthetic data; choose another folder or remove it") from None


def _rng(seed: int, *purpose: str) -> np.random.Generator:
    """Source of chance of its own for each purpose: a change to one part leaves the others as they were."""
    return np.random.default_rng([seed, *(zlib.crc32(word.encode()) for word in purpose)])


class _Made(NamedTuple):
    """What the files are written from, and the folder that they are written to."""

    folder: Path
    plans: tuple[LocalePlan, ...]
    catalogue: SyntheticCatalogue
    ids: pa.Array
    lexicon: Lexicon
    seed: int


def _ids(catalogue: SyntheticCatalogue, lexicon: Lexicon) -> pa.Array:
    """Ids of all products, then some that no catalogue has: a few session items lack their product row."""
    books = np.array([family.department == lexicon.books for family in lexicon.families])
    count = catalogue.num_products
    return product_ids(count + _unknown(count), np.repeat(books[catalogue.lines.family], catalogue.lines.size))


def _unknown(products: int) -> int:
    return max(3, products // 5_000)


def _write_products(made: _Made, advance: Callable[[int], None]) -> None:
    with (made.folder / "products_train.csv").open("wb") as handle:
        write_header(handle, PRODUCT_COLUMNS)
        for one in made.plans:
            rng = _rng(made.seed, "products", one.locale)
            for table in product_rows(made.catalogue, one.locale, made.ids, made.lexicon, rng):
                write_rows(handle, [table[name] for name in PRODUCT_COLUMNS])
                advance(len(table))


def _write_sessions(made: _Made, advance: Callable[[int], None]) -> None:
    folder, ids, seed = made.folder, made.ids, made.seed
    (folder / "targets").mkdir()
    names = sorted({test_name(test.task, test.phase) for one in made.plans for test in one.tests})
    with ExitStack() as stack:
        train = stack.enter_context((folder / "sessions_train.csv").open("wb"))
        write_header(train, _SESSION_COLUMNS)
        tests = {name: stack.enter_context((folder / name).open("wb")) for name in names}
        targets = {name: stack.enter_context((folder / "targets" / name).open("wb")) for name in names}
        for name in names:
            write_header(tests[name], ("prev_items", "locale"))
            write_header(targets[name], _SESSION_COLUMNS)
        for one in made.plans:
            graph = build_graph(made.catalogue, one.locale, made.lexicon, _rng(seed, "graph", one.locale))
            rng = _rng(seed, "train", one.locale)
            for walks in _walks(graph, one.sessions, one.mean_length, rng):
                _lose_products(walks.items, made.catalogue.num_products, rng)
                write_rows(train, _columns(walks, ids, one.locale))
                advance(len(walks.targets))
            for test in one.tests:
                name = test_name(test.task, test.phase)
                rng = _rng(seed, name, one.locale)
                for walks in _walks(graph, test.sessions, test.mean_length, rng, cold=test.task == 3):
                    columns = _columns(walks, ids, one.locale)
                    write_rows(tests[name], [columns[0], columns[2]])
                    write_rows(targets[name], columns)
                    advance(len(walks.targets))


def _walks(
    graph: LocaleGraph, count: int, mean: float, rng: np.random.Generator, cold: bool = False
) -> Iterator[Walks]:
    for start in range(0, count, _CHUNK):
        lengths = draw_lengths(min(_CHUNK, count - start), mean, rng)
        yield walk(graph, lengths, rng, cold)


def _lose_products(items: Ints, products: int, rng: np.random.Generator) -> None:
    """Put products without a row in the place of a few items, at least one."""
    places = rng.integers(0, len(items), size=max(1, round(len(items) * _UNKNOWN_RATE)))
    items[places] = products + rng.integers(0, _unknown(products), size=len(places))


def _columns(walks: Walks, ids: pa.Array, locale: str) -> list[pa.Array]:
    count = len(walks.targets)
    return [
        printed_lists(ids, walks.items, walks.offsets),
        ids.take(pa.array(walks.targets)),
        pa.array([locale]).take(pa.array(np.zeros(count, dtype=np.int64))),
    ]
