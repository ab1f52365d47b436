"""The store: a folder of checked Parquet files and one manifest, written by ``llmrec data import`` or ``data events``.

::

    STORE/
      manifest.json                   version, fingerprint, tables, what was repaired or refused
      products.parquet                id, locale, title, price, brand, color, size, model, material, author, desc
      sessions_development.parquet    session_id, prev_items, next_item, locale
      sessions_validation.parquet     the same
      sessions_SPLIT.parquet          session_id, prev_items, locale; SPLIT as test, test_task1, test_task3_phase2 …
      targets_SPLIT.parquet           session_id, locale, next_item and/or next_title, where a test file had them

Where Spark wrote it, each table is a folder of Parquet parts, whose rows are in order by the parts' names.

``session_id`` is the row of the source file from 0, so a run can be put back in the test file's order; in a store of a
log of events it is the place of the target by time.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from llmrec.api.public import public
from llmrec.errors import DataError, StoreError
from llmrec.files import held_in, known_sha256, table_files
from llmrec.records import Count, Digest, FileName, read_record
from llmrec.schema import STORE_VERSION

__all__ = [
    "LabelledSessions",
    "Manifest",
    "Store",
    "TestSessions",
    "TestTargets",
    "TimeSplit",
    "open_store",
    "time_split_of",
]

TRAINING_SPLITS = ("development", "validation")


class TableRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the store: its rows, and the size and checksum of its file; a folder of Spark's parts has neither."""

    rows: Count
    bytes: Count = 0
    sha256: Digest | None = None


@dataclass(frozen=True, kw_only=True)
class TimeSplit:
    """How time cut a log of events into what is learnt from and what is tested; times are ISO 8601, in UTC.

    Attributes:
        first: Of the log's events.
        test: Where the test begins: no event from here on is in a training split.
        last: Of the log's events.
        validation: Where validation begins; None where it was drawn from the training sessions.
        new_targets: Share of the test targets whose item no training session holds.
    """

    first: str
    test: str
    last: str
    validation: str | None = None
    new_targets: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0

    def told(self) -> str:
        """The cut, for people, in one line."""
        validated = f", validated from {self.validation}" if self.validation else ""
        return (
            f"cut by time: learnt from {self.first} on{validated}, tested from {self.test} to {self.last}; "
            f"{self.new_targets:.1%} of the test targets are items that no training session holds"
        )


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` holds.

    Attributes:
        fingerprint: SHA-256 over what the tables hold.
        llmrec: Version of the package that wrote it.
        created: UTC.
        source: Name of the raw files' folder.
        synthetic: Whether `llmrec.synth` made these.
        seed: Drew the validation sessions.
        validation_share: Their share.
        tables: By name.
        locales: For each table the rows of each locale.
        summary: Findings and unused files, see `llmrec.data.findings`.
        time_split: Where time cut it; None where the source was cut already.
        version: Of the form.
    """

    fingerprint: Digest
    llmrec: str = ""
    created: str = ""
    source: str = ""
    synthetic: bool = False
    seed: int = 0
    validation_share: float = 0.1
    tables: Mapping[FileName, TableRecord] = field(default_factory=dict)
    locales: Mapping[str, Mapping[str, Count]] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    time_split: TimeSplit | None = None
    version: int = STORE_VERSION

    def __post_init__(self) -> None:
        for name, table in self.tables.items():
            counted = sum(self.locales.get(name, {}).values())
            if table.rows != counted:
                raise ValueError(f"{name} has {table.rows} rows, its locales {counted}")


@dataclass(frozen=True)
class LabelledSessions:
    """Sessions that may be trained on: every file has a ``next_item`` and none belongs to a test split.

    A store makes these, of its labelled splits alone: a training on a store reads no target of its test splits. What a
    test target has in common with a labelled row is for `llmrec.data.overlap` to find.
    """

    files: tuple[Path, ...]


@dataclass(frozen=True)
class TestSessions:
    """Sessions of a test split, without their targets."""

    __test__ = False  # pytest collects classes named Test*

    file: Path


@dataclass(frozen=True)
class TestTargets:
    """Targets of a test split: for scoring alone."""

    __test__ = False

    file: Path


@dataclass(frozen=True)
class Store:
    """A checked store on disk: sessions and products of a shop.

    Attributes:
        path: Its folder.
        manifest: What it holds, and where that came from.

    Example:
        >>> import llmrec
        >>> store = llmrec.open_store("stores/demo")
        >>> ranker = llmrec.fit("covisit", store.training(), store)
        >>> lists = ranker.rank(store.sessions("validation"))
        >>> len(lists) == llmrec.evaluate(lists, store.targets("validation")).n_sessions
        True
    """

    path: Path
    manifest: Manifest

    @classmethod
    @public
    def load(cls, path: Path | str) -> Store:
        """Open a store; as `llmrec.open_store`.

        Args:
            path: Its folder.

        Raises:
            StoreError: there is no store at ``path``, it is of another version, or a file of it is not whole.
        """
        path = Path(path)
        file = path / "manifest.json"
        other = held_in(path)
        if not file.is_file() or not other.endswith("a store"):
            raise StoreError(f"{path}: no store here{other}; make one: llmrec data import SRC {path}")
        again = f"import again: llmrec data import SRC {path}"
        manifest = read_record(file, Manifest, again, version=STORE_VERSION, error=StoreError)
        for name, table in manifest.tables.items():
            held = path / f"{name}.parquet"
            if table.sha256 is None:
                _check_parts(held, table.rows, again)
                continue
            size = held.stat().st_size if held.is_file() else 0
            if size != table.bytes:
                raise StoreError(f"{held}: {size:,} of {table.bytes:,} bytes are there; {again}")
            if known_sha256(held) != table.sha256:
                raise StoreError(f"{held}: damaged (its checksum is not the manifest's); {again}")
        return cls(path, manifest)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over what the tables hold, made at import: the same on every machine."""
        return self.manifest.fingerprint

    @property
    def products(self) -> Path:
        """Parquet of products, keyed ``(locale, id)``."""
        return self.path / "products.parquet"

    @property
    def test_splits(self) -> list[str]:
        """Names of the test splits that this store holds."""
        names = (file.stem.removeprefix("sessions_") for file in self.path.glob("sessions_test*.parquet"))
        return sorted(names)

    @public
    def labelled(self, split: str) -> LabelledSessions:
        """Sessions that may be trained on.

        Args:
            split: ``development``, ``validation``, or ``train`` for both.

        Raises:
            StoreError: another split's name, or a store without training sessions.
        """
        if split not in (*TRAINING_SPLITS, "train"):
            raise StoreError(f"'{split}' is no training split; known: {', '.join((*TRAINING_SPLITS, 'train'))}")
        names = TRAINING_SPLITS if split == "train" else (split,)
        files = tuple(self.path / f"sessions_{name}.parquet" for name in names)
        missing = [file for file in files if not file.exists()]
        if missing and missing[0].stem in self.manifest.tables:
            raise StoreError(f"{missing[0]}: gone since the store was opened; import again and open it again")
        if missing:
            raise StoreError(f"{self.path}: no {missing[0].name}; the source had no sessions_train file")
        return LabelledSessions(files)

    @public
    def training(self, split: str = "development") -> LabelledSessions:
        """Sessions to learn from.

        Args:
            split: ``development``; ``train`` adds ``validation``, for when nothing is validated.

        Returns:
            The split's files; `llmrec.fit` and `llmrec.sessions` take them.

        Raises:
            StoreError: another split's name, or a store without training sessions.
        """
        return self.labelled(split)

    @public
    def sessions(self, split: str) -> TestSessions:
        """Sessions of any split, to rank or to write titles for; their targets stay unread.

        Args:
            split: ``development``, ``validation``, or one of `test_splits`. ``test`` is the first of them.

        Returns:
            The split's file; `llmrec.fit`, ``rank`` and `llmrec.sessions` take it.

        Raises:
            StoreError: this store has no such split; the known ones are named.
        """
        return TestSessions(self.labelled(split).files[0]) if split in TRAINING_SPLITS else self.test(split)

    def resolve_test(self, split: str, task: int | None = None) -> str:
        """Full name of a test split.

        Args:
            split: Its name. ``test`` stands for the task's, in the first phase if there are two (paper, App. A).
            task: 1, 2 or 3.

        Raises:
            StoreError: this store has no such split; the known ones are named.
        """
        candidates = [split]
        if split == "test" and task is not None:
            candidates = [f"test_task{task}", f"test_task{task}_phase1", "test"]
        for name in candidates:
            if name in self.test_splits:
                return name
        known = ", ".join([*TRAINING_SPLITS, *self.test_splits])
        raise StoreError(f"{self.path}: no split '{split}'; this store has {known}")

    def sessions_files(self, split: str, task: int | None = None) -> tuple[Path, ...]:
        """Files of a split's sessions, labelled or test, in the order of a run's rows.

        Args:
            split: As `sessions`, or ``train``.
            task: As `resolve_test`.

        Raises:
            StoreError: this store has no such split; the known ones are named.
        """
        if split in (*TRAINING_SPLITS, "train"):
            return self.labelled(split).files
        return (self.test(self.resolve_test(split, task)).file,)

    @public
    def test(self, split: str) -> TestSessions:
        """Sessions of a test split.

        Args:
            split: Its name.

        Raises:
            StoreError: this store has no such split; the known ones are named.
        """
        return TestSessions(self.path / f"sessions_{self.resolve_test(split)}.parquet")

    @public
    def targets(self, split: str) -> TestTargets | None:
        """Targets of a split, for scoring alone.

        Args:
            split: As `sessions`.

        Returns:
            The split's file, which `llmrec.evaluate` takes; None where the source had no targets.

        Raises:
            StoreError: this store has no such split; the known ones are named.
        """
        if split in TRAINING_SPLITS:
            return TestTargets(self.labelled(split).files[0])
        file = self.path / f"targets_{self.resolve_test(split)}.parquet"
        return TestTargets(file) if file.exists() else None


def _check_parts(table: Path, rows: int, again: str) -> None:
    """Refuse a table of Spark's of which parts are missing or damaged: their footers tell their rows."""
    from llmrec.data.raw import parquet_file  # here: a store of one machine opens without DuckDB

    try:
        there = sum(parquet_file(part).metadata.num_rows for part in table_files(table))
    except DataError as error:
        raise StoreError(str(error)) from error
    if there != rows:
        raise StoreError(f"{table}: {there:,} of {rows:,} rows are there; copy the folder again, or {again}")


def time_split_of(*files: Path | None) -> TimeSplit | None:
    """How time cut the store that the first of these files which is one's lies in; None where none was cut by time."""
    for file in files:
        manifest = file.parent / "manifest.json" if file is not None else None
        if manifest is not None and (manifest.parent / "products.parquet").exists() and manifest.is_file():
            with suppress(StoreError):
                return read_record(manifest, Manifest, "", version=STORE_VERSION, error=StoreError).time_split
    return None


@public
def open_store(path: Path | str) -> Store:
    """Open a store that ``llmrec data import`` or ``data events`` wrote, here or on a cluster.

    Args:
        path: Its folder.

    Returns:
        The store; ``training()``, ``sessions(split)`` and ``targets(split)`` hand out its parts.

    Raises:
        StoreError: there is none, it is of another version, or a file of it is damaged.

    Example:
        >>> store = open_store("stores/demo")
        >>> store.sessions("validation").file.name
        'sessions_validation.parquet'
    """
    return Store.load(path)
