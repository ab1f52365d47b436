"""Atomic files hold what RecBole's documentation and our definitions say; that RecBole reads them is in test_parity."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from llmrec.errors import ConfigError, DataError
from llmrec.rankers.atomic import export_atomic
from llmrec.rankers.sessions import Sessions, TrainingSessions

TRAINING = TrainingSessions.of([["a", "b", "c"], ["d"], ["b", "a"], ["c", "c", "d", "a"]], ["UK", "UK", "DE", "DE"])


def rows(file: Path) -> list[list[str]]:
    header, *lines = file.read_text(encoding="utf-8").splitlines()
    assert header == "session_id:token\titem_id_list:token_seq\titem_id:token\titem_locale:token"
    return [line.split("\t") for line in lines]


def test_sessions_are_split_and_end_with_the_item_that_followed(tmp_path: Path) -> None:
    export_atomic(TRAINING, None, tmp_path / "shop", validation_share=0.4)
    train, valid = rows(tmp_path / "shop" / "shop.train.inter"), rows(tmp_path / "shop" / "shop.valid.inter")
    # Of three sessions of two items and more, int(.4 · 3) = 1 validates; the one of a single item has no target.
    assert (len(train), len(valid)) == (2, 1)
    whole = {"0": ("a b", "c", "UK"), "2": ("b", "a", "DE"), "3": ("c c d", "a", "DE")}
    assert {row[0]: tuple(row[1:]) for row in train + valid} == whole
    assert rows(tmp_path / "shop" / "shop.test.inter") == valid


def test_every_prefix_is_a_row_of_the_training_file_alone(tmp_path: Path) -> None:
    export_atomic(TRAINING, None, tmp_path / "shop", every_prefix=True, max_length=2, validation_share=0.4)
    both = rows(tmp_path / "shop" / "shop.train.inter") + rows(tmp_path / "shop" / "shop.valid.inter")
    prefixes = {
        "0": [("a", "b"), ("a b", "c")],
        "2": [("b", "a")],
        "3": [("c", "c"), ("c c", "d"), ("c d", "a")],  # cut to the last two
    }
    held = {row[0] for row in rows(tmp_path / "shop" / "shop.valid.inter")}
    expected = {
        (number, *pair) for number, pairs in prefixes.items() for pair in (pairs[-1:] if number in held else pairs)
    }
    assert {tuple(row[:3]) for row in both} == expected


def test_sessions_to_rank_for_are_whole_and_numbered_by_row(tmp_path: Path) -> None:
    sessions = Sessions.of([["a", "z"], [], ["b"]], ["UK", "UK", "XX"])
    export_atomic(TRAINING, sessions, tmp_path / "shop")
    assert rows(tmp_path / "shop" / "shop.test.inter") == [["test0", "a z", "z", "UK"], ["test2", "b", "b", "XX"]]


def test_items_are_those_of_the_sessions_as_one_line_each(tmp_path: Path) -> None:
    products = pa.table(
        {
            "id": ["a", "b", "unsold", "a"],
            "locale": ["UK", "UK", "UK", "DE"],
            "title": ['15" Screen\twith\nstand', None, "Other", "Bildschirm"],
            "brand": ["Ac me", None, "X", "Y"],
            "price": [9.5, None, 1.0, 2.0],
        }
    )
    export_atomic(TRAINING, None, tmp_path / "shop", products)
    lines = (tmp_path / "shop" / "shop.item").read_text(encoding="utf-8").splitlines()
    assert lines == [
        "item_id:token\ttitle:token_seq\tbrand:token\tprice:float",
        "a\t15'' Screen with stand\tAc me\t9.5",
        "b\t\t\t",
    ]
    settings = yaml.safe_load((tmp_path / "shop" / "shop.yaml").read_text(encoding="utf-8"))
    assert settings["benchmark_filename"] == ["train", "valid", "test"]
    assert settings["train_neg_sample_args"] is None


def test_the_same_seed_writes_the_same_files_over_the_old_ones(tmp_path: Path) -> None:
    for _ in range(2):
        export_atomic(TRAINING, None, tmp_path / "one", seed=3)
    export_atomic(TRAINING, None, tmp_path / "two", seed=3)
    for part in ("train", "valid", "test"):
        written = [(tmp_path / name / f"{name}.{part}.inter").read_bytes() for name in ("one", "two")]
        assert written[0] == written[1]


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'B 1' cannot stand"):
        export_atomic(TrainingSessions.of([["B 1", "B2"]], ["UK"]), None, tmp_path / "shop")
    with pytest.raises(DataError, match="'NA' cannot stand"):
        export_atomic(TrainingSessions.of([["NA", "B2"]], ["UK"]), None, tmp_path / "shop")
    with pytest.raises(DataError, match="two items"):
        export_atomic(TrainingSessions.of([["B1"]], ["UK"]), None, tmp_path / "shop")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds no atomic files"):
        export_atomic(TRAINING, None, tmp_path / "other")
