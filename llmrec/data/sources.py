"""What a folder of raw data holds: products, training sessions, test sessions and their targets, told by file name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from llmrec.errors import ConfigError, DataError
from llmrec.files import table_files

__all__ = ["SYNTHETIC", "Source", "TestSource", "find_source", "is_store", "none_found", "source_of", "test_split"]

SYNTHETIC = "synth.json"  # what `llmrec data synth` leaves beside its files
_MAX_DEPTH = 3
_PHASES = {"public": 1, "private": 2}  # how the authors' repository names the two phases
_WANTED = (
    "sessions_train.csv, sessions_test_task1.csv, sessions_test.csv, their .parquet, "
    "or the authors' task1/public_test/sessions_test.parquet"
)


@dataclass(frozen=True)
class TestSource:
    """A test file and, where there is one, the file of its targets in the same row order.

    Attributes:
        split: ``test``, ``test_task1``, ``test_task3_phase2`` …
        sessions: The file of sessions.
        targets: The file of targets, or None; the sessions file may hold them itself.
        titles: A single unnamed column of targets holds titles, not ids.
    """

    __test__ = False  # pytest collects classes named Test*

    split: str
    sessions: Path
    targets: Path | None = None
    titles: bool = False


@dataclass(frozen=True)
class Source:
    """The recognised files of a folder, and whether `llmrec.synth` made them; of ``unused`` files nothing was made."""

    folder: Path
    products: Path | None
    train: Path | None
    tests: tuple[TestSource, ...]
    unused: tuple[Path, ...]
    synthetic: bool = False


def is_store(folder: Path) -> bool:
    """Whether a folder is a store of whatever version, as other artefacts' folders are not."""
    return (folder / "manifest.json").is_file() and (folder / "products.parquet").exists()


def find_source(folder: Path) -> Source:
    """Find the raw files in ``folder``, or in the one sub-folder that has some.

    Raises:
        ConfigError: ``folder`` is no folder, or is a store already.
        DataError: no sessions are found, two files claim the same split, or several sub-folders hold sessions.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; give the folder that holds the raw files")
    if is_store(folder):
        raise ConfigError(f"{folder}: this is a store already; give it to the other commands as it is")
    level = [folder]
    for _ in range(_MAX_DEPTH + 1):
        sources = [source for one in level if (source := _read_folder(one)).train or source.tests]
        if len(sources) == 1:
            return sources[0]
        if sources:
            names = ", ".join(str(source.folder.relative_to(folder)) for source in sources)
            raise DataError(f"{folder}: several sub-folders hold sessions ({names}); give one of them")
        level = [child for one in level for child in sorted(one.iterdir()) if child.is_dir()]
    raise none_found(folder)


def none_found(folder: Path | str) -> DataError:
    """What to say of a folder without sessions."""
    return DataError(f"{folder}: no sessions found; looked for {_WANTED}")


def test_split(stem: str) -> str | None:
    """Split that a file of test sessions stands for, by its name without ending; None for any other file.

    ``sessions_test`` → ``test``, ``sessions_test_task1_phase2`` → ``test_task1_phase2``, ``task3_phase1_sessions`` →
    ``test_task3_phase1``, ``sessions_test_spring`` → ``test_spring``.
    """
    name = stem.lower()
    if task := re.fullmatch(r"(?:sessions_)?(?:test_)?task([123])(?:_phase([12]))?(?:_sessions|_test)?", name):
        return f"test_task{task[1]}" + (f"_phase{task[2]}" if task[2] else "")
    if other := re.fullmatch(r"(?:sessions_)?(test(?:_[a-z0-9_]+)?)", name):
        return other[1]
    return None


test_split.__test__ = False  # type: ignore[attr-defined]  # pytest collects functions named test_*


def source_of(folder: Path, names: Iterable[str], targets: Iterable[str] = ()) -> Source:
    """What the names of a folder's files say, wherever they are, and those of its folder ``targets``."""
    found = sorted(names)
    beside = [folder / "targets" / name for name in sorted(targets) if _has_rows(name)]
    return _source(folder, [folder / name for name in found if _has_rows(name)], beside, SYNTHETIC in found)


def _read_folder(folder: Path) -> Source:
    files = [file for file in sorted(folder.iterdir()) if _is_table(file)]
    beside = [file for file in sorted((folder / "targets").glob("*")) if _is_table(file)]
    return _source(folder, files, beside, (folder / SYNTHETIC).is_file(), _authors_tests(folder))


def _source(
    folder: Path, files: list[Path], beside: list[Path], synthetic: bool, others: Iterable[TestSource] = ()
) -> Source:
    products = [file for file in files if file.stem.lower().startswith("products")]
    train = [file for file in files if file.stem.lower() in ("sessions_train", "train_sessions", "train")]
    tests = [(split, file) for file in files if (split := test_split(file.stem)) and file not in products]
    targets = {file.stem.lower(): file for file in beside}
    found = [TestSource(split, file, targets.get(file.stem.lower())) for split, file in tests]
    found += [*others, *_held_out(folder, files)]
    _one_each(folder, [("products", file) for file in products])
    _one_each(folder, [("sessions_train", file) for file in train])
    _one_each(folder, [(test.split, test.sessions) for test in found])
    used = {*products, *train, *(test.sessions for test in found), *(test.targets for test in found)}
    return Source(
        folder=folder,
        products=products[0] if products else None,
        train=train[0] if train else None,
        tests=tuple(sorted(found, key=lambda test: test.split)),
        unused=tuple(file for file in [*files, *targets.values()] if file not in used),
        synthetic=synthetic,
    )


def _authors_tests(folder: Path) -> list[TestSource]:
    """Test files of the authors' repository: ``taskN/public_test/…`` and ``task3/test/phrase1_…``."""
    found = []
    for task in (1, 2, 3):
        for name, phase in _PHASES.items():
            place = folder / f"task{task}" / f"{name}_test"
            targets = _first(place / "DONT_SHARE_gt_test.parquet", place / "DONT_SHARE_gt_products.parquet")
            sessions = place / "sessions_test.parquet"
            if sessions.is_file():
                found.append(TestSource(f"test_task{task}_phase{phase}", sessions, targets, titles=task == 3))
    for phase in (1, 2):
        sessions = folder / "task3" / "test" / f"phrase{phase}_sessions_test.parquet"
        targets = _first(folder / "task3" / "test_labels" / f"phrase{phase}_DONT_SHARE_gt_products.parquet")
        if sessions.is_file():
            found.append(TestSource(f"test_task3_phase{phase}", sessions, targets, titles=True))
    return found


def _held_out(folder: Path, files: Iterable[Path]) -> list[TestSource]:
    """What `llmrec data holdout` held out, beside the sessions to learn from."""
    train, sessions, targets = (folder / f"{name}.parquet" for name in ("train", "sessions", "targets"))
    whole = {train, sessions, targets} <= {*files}
    return [TestSource("test", sessions, targets)] if whole else []


def _one_each(folder: Path, claims: Iterable[tuple[str, Path]]) -> None:
    taken: dict[str, Path] = {}
    for name, file in claims:
        if name in taken:
            first, second = (path.relative_to(folder) for path in (taken[name], file))
            raise DataError(f"{folder}: {first} and {second} both give {name}; keep one of them")
        taken[name] = file


def _first(*files: Path) -> Path | None:
    return next((file for file in files if file.is_file()), None)


def _is_table(file: Path) -> bool:
    return _has_rows(file.name) and bool(table_files(file))


def _has_rows(name: str) -> bool:
    return name.lower().endswith((".csv", ".parquet"))
