"""Where the Amazon-M2 files come from, and what is known of each: its place, its columns, its rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmrec.data.sources import Source, test_split
from llmrec.schema import PRODUCT_COLUMNS

__all__ = [
    "AICROWD_FILES",
    "AICROWD_PAGE",
    "AUTHORS_URL",
    "SHARED",
    "TASK_1_FILES",
    "Known",
    "known_files",
    "missing_files",
]

AICROWD_PAGE: Final = "https://www.aicrowd.com/challenges/amazon-kdd-cup-23-multilingual-recommendation-challenge"
TASK_1_FILES: Final = f"{AICROWD_PAGE}/problems/task-1-next-product-recommendation/dataset_files"
AUTHORS_URL: Final = "https://github.com/HaitaoMao/Amazon-M2"
SHARED: Final = "Apache-2.0 (paper, Appendix B.3)"

_TRAIN_ROWS: Final = 3_606_249  # paper, Table 1
_PRODUCT_ROWS: Final = 1_551_057  # the sum of Table 2's locales; its total is of distinct ids
_TEST_ROWS: Final = {
    ("1", "1"): 316_971,
    ("1", "2"): 316_972,
    ("2", "1"): 34_688,
    ("2", "2"): 34_690,
    ("3", "1"): 56_421,
    ("3", "2"): 56_422,
}

AICROWD_FILES: Final = (
    ("products_train.csv", (_PRODUCT_ROWS,), "the catalogue of all three tasks"),
    ("sessions_train.csv", (_TRAIN_ROWS,), "the training sessions of all three tasks"),
    *(
        (f"sessions_test_task{task}.csv", tuple(_TEST_ROWS[task, phase] for phase in "12"), f"Task {task}, one phase")
        for task in "123"
    ),
)
"""Name, possible numbers of rows and content of the challenge's files; test files may be named ``…_phase1``, too."""


@dataclass(frozen=True)
class Known:
    """A file that was found, and what is known of it.

    Attributes:
        path: The file.
        columns: Columns that it must have; of several tuples, those of one.
        rows: Numbers of rows that it may have; empty where none is known.
    """

    path: Path
    columns: tuple[tuple[str, ...], ...]
    rows: tuple[int, ...]


def known_files(source: Source) -> list[Known]:
    """What is known of the files that a folder was seen to hold."""
    found = []
    if source.products is not None:
        official = source.products.stem.lower() == "products_train"
        found.append(Known(source.products, (PRODUCT_COLUMNS,), (_PRODUCT_ROWS,) if official else ()))
    if source.train is not None:
        official = source.train.stem.lower() == "sessions_train"
        columns = ("prev_items", "next_item", "locale")
        found.append(Known(source.train, (columns,), (_TRAIN_ROWS,) if official else ()))
    for test in source.tests:
        rows = _rows_of(test.split)
        found.append(Known(test.sessions, (("prev_items", "locale"),), rows))
        if test.targets is not None:
            found.append(Known(test.targets, (), rows))
    return found


def _rows_of(split: str) -> tuple[int, ...]:
    match = re.fullmatch(r"test_task([123])(?:_phase([12]))?", split)
    if match is None:
        return ()
    return tuple(_TEST_ROWS[match[1], phase] for phase in (match[2] or "12"))


def missing_files(source: Source) -> list[str]:
    """Files of the challenge that a folder lacks; a test file of either phase will do."""
    held = {test.split for test in source.tests}
    missing = [] if source.products is not None else ["products_train.csv"]
    missing += [] if source.train is not None else ["sessions_train.csv"]
    for name, _, _ in AICROWD_FILES[2:]:
        split = test_split(Path(name).stem) or ""
        if not any(one == split or one.startswith(f"{split}_") for one in held):
            missing.append(name)
    return missing
