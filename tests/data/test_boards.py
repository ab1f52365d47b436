"""MiniOneRec's board: a small clone in the real form, converted, checked, and refused where it is another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from llmrec.cli import main
from llmrec.data.download import boards
from llmrec.data.download.boards import MINIONEREC, check_files, digest_of_rows, eight_one_one
from llmrec.data.download.minionerec import convert_clone, described
from llmrec.data.sources import find_source
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.evaluate import evaluate_run
from llmrec.evaluation.runs import write_run
from tests.clone import CATEGORY, ITEMS, rows_of, small_shops, write_clone, write_split
from tests.places import REAL


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    small_shops(monkeypatch)


def get(*words: Any) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["data", "get", "--from", "minionerec", *map(str, words)])
    return int(stop.value.code or 0)


@pytest.mark.usefixtures("small")
def test_a_clone_becomes_shops_in_the_official_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clone = write_clone(write_clone(tmp_path / "clone"), "Office_Products")
    assert get(clone, "--out", tmp_path / "out") == 0
    assert "train 32, valid 4, test 4, items 12" in " ".join(capsys.readouterr().err.split())
    for name, prefix in (("industrial", "IND"), ("office", "OFF")):
        shop = tmp_path / "out" / name
        train, test = (pq.read_table(shop / f"sessions_{split}.parquet") for split in ("train", "test"))
        assert train["prev_items"].to_pylist()[2] == [f"{prefix}000002"] * 3
        assert train["next_item"].to_pylist()[2] == f"{prefix}000005"
        assert test.column_names == ["prev_items", "locale"]  # its targets lie apart
        goals = pq.read_table(shop / "targets" / "sessions_test.parquet")["next_item"].to_pylist()
        assert goals == [f"{prefix}{goal:06d}" for _, goal in rows_of(4, 7)]
        products = pq.read_table(shop / "products_train.parquet").to_pylist()
        assert products[3]["title"] == "Tape 3"
        assert products[3]["desc"] == "Holds. It's 3"
        (split,) = find_source(shop).tests  # `llmrec data import` knows it for a test split with targets
        assert split.targets == shop / "targets" / "sessions_test.parquet"


@pytest.mark.usefixtures("small")
def test_a_run_of_another_test_file_is_refused_when_it_is_scored(tmp_path: Path) -> None:
    (shop,) = convert_clone(write_clone(tmp_path / "clone"), tmp_path / "out")
    targets = shop.folder / "targets" / "sessions_test.parquet"
    lists, locales = [["IND000001"]] * 4, ["US"] * 4
    write_run(tmp_path / "other.parquet", locales, lists, {"sessions_fingerprint": "0" * 64})
    with pytest.raises(DataError, match="other sessions"):
        evaluate_run(tmp_path / "other.parquet", targets)


CHANGES: dict[str, tuple[Any, str]] = {
    "a row less": (lambda root: drop_row(root / "valid"), r"rows \(train 32, valid 3, test 4\) are not eight"),
    "an item that is none": (lambda root: edit(root / "test", ",8,", ",77,"), "item 77 is not in"),
    "no list": (lambda root: edit(root / "valid", "[5]", "[5; 6]"), r"row 1: '\[5; 6\]' and '6' are no item numbers"),
    "a pointer of git lfs": (lambda root: pointer(root / "train"), "no column 'history_item_id'; git lfs pull"),
    "no test file": (lambda root: only(root / "test").unlink(), "no file Industrial_and_Scientific"),
    "products that are none": (lambda root: only(root / "index").write_text("[1]"), "damaged"),
}


def only(folder: Path) -> Path:
    return next(iter(folder.iterdir()))


def drop_row(folder: Path) -> None:
    lines = only(folder).read_text(encoding="utf-8").splitlines(keepends=True)
    only(folder).write_text("".join(lines[:-1]), encoding="utf-8")


def edit(folder: Path, old: str, new: str) -> None:
    text = only(folder).read_text(encoding="utf-8")
    assert old in text
    only(folder).write_text(text.replace(old, new, 1), encoding="utf-8")


def pointer(folder: Path) -> None:
    only(folder).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n", encoding="utf-8")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_clone_is_one_line_and_leaves_nothing(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = CHANGES[what]
    clone = write_clone(tmp_path / "clone")
    change(clone / "data" / "Amazon")
    assert get(clone, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    with pytest.raises(DataError, match=message):
        convert_clone(clone, tmp_path / "out")
    assert "error:" in error
    assert not (tmp_path / "out").exists()


def test_what_is_known_of_a_file_is_held_against_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    valid = digest_of_rows(f"{','.join(map(str, history))}>{goal}" for history, goal in rows_of(4, 5))
    known = replace(MINIONEREC["industrial"], items=ITEMS, rows={"valid": 4}, digests={"valid": valid})
    monkeypatch.setitem(MINIONEREC, "industrial", known)
    clone = write_clone(tmp_path / "clone")
    (shop,) = convert_clone(clone, tmp_path / "out")
    assert shop.unchecked == ["train", "test"]
    edit(clone / "data" / "Amazon" / "valid", ",6,", ",7,")
    with pytest.raises(
        DataError, match=r"sessions_valid\.parquet is not the board's valid: its rows have the fingerprint"
    ):
        convert_clone(clone, tmp_path / "other")
    monkeypatch.setitem(MINIONEREC, "industrial", replace(known, rows={"valid": 5}))
    with pytest.raises(DataError, match=r"sessions_valid\.parquet has 4 rows, the board's valid 5"):
        convert_clone(clone, tmp_path / "other")


@pytest.mark.usefixtures("small")
def test_a_training_file_that_holds_the_test_sessions_is_refused(tmp_path: Path) -> None:
    clone = write_clone(tmp_path / "clone", number=200)
    root, name = clone / "data" / "Amazon", f"{CATEGORY}_5_2016-10-2018-11.csv"
    test = [([7, row % ITEMS, row // ITEMS], row % 7) for row in range(20)]
    apart = [([row % ITEMS, row // ITEMS % ITEMS, 3, 5], row % 5) for row in range(140)]  # none of it twice
    write_split(root / "test" / name, test)
    write_split(root / "train" / name, apart + test)
    boards.MINIONEREC["industrial"] = replace(boards.MINIONEREC["industrial"], rows={})
    with pytest.raises(DataError, match="training rows repeat 20 of the 20 sessions"):
        convert_clone(clone, tmp_path / "out")


def test_without_a_clone_the_commands_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert get() == 2
    assert "git clone https://github.com/AkaliKong/MiniOneRec" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no such folder"):
        convert_clone(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no shop of MiniOneRec"):
        convert_clone(tmp_path / "empty", tmp_path / "out")


def test_rows_are_split_as_the_board_splits_them() -> None:
    assert eight_one_one(dict(MINIONEREC["industrial"].rows))  # 45,324 in all
    assert not eight_one_one({"train": 36_260, "valid": 4_531, "test": 4_533})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("['a b', \"it's\"]", "a b it's"), ("['\\xa0x\\n']", "\xa0x\n"), ("plain", "plain"), ("[]", "")],
)
def test_printed_lists_of_texts_are_read(text: str, expected: str) -> None:
    assert described(text) == expected


@pytest.mark.skipif(not (REAL / "industrial").is_dir(), reason="the real data is not there")
def test_the_shop_here_is_the_boards() -> None:
    shop = REAL / "industrial"
    files = {"valid": shop / "sessions_train.csv", "test": shop / "sessions_test.csv"}
    check_files(MINIONEREC["industrial"], files | {"products": shop / "products_train.csv"}, "industrial")
    with pytest.raises(DataError, match="has 4,532 rows, the board's test 4,533"):
        check_files(MINIONEREC["industrial"], {"test": shop / "sessions_train.csv"}, "industrial")
