"""Folders as version 0.1 wrote them, byte for byte where no array is concerned: they are read, or say what to do."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from llmrec.errors import ModelError
from llmrec.rankers import load_ranker
from llmrec.rankers.per_locale import PerLocale


def global_popularity(folder: Path, **record: object) -> Path:
    """Counts of b (3), a (2) and c (1) in German sessions, of which a and c are sold there."""
    folder.mkdir(parents=True)
    arrays = {
        "catalogue.ids": np.frombuffer(b"abc", dtype=np.uint8).copy(),
        "catalogue.id_bytes": np.array([1, 1, 1], dtype=np.int32),
        "catalogue.popular": np.array([[1, 0, 2]] * 2, dtype=np.int32),
        "catalogue.sold": np.packbits(np.array([[True, False, True], [True] * 3]), axis=1),
        "counts": np.array([[3, 2, 1]] * 2, dtype=np.int32),
    }
    save_file(arrays, folder / "arrays.safetensors")
    written = {
        "format": "llmrec ranker",
        "version": 1,
        "ranker": "global_popularity",
        "settings": {},
        "locales": ["DE"],
        "arrays_sha256": hashlib.sha256((folder / "arrays.safetensors").read_bytes()).hexdigest(),
    } | record
    (folder / "ranker.json").write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder


def test_a_ranker_is_read(tmp_path: Path) -> None:
    ranker = load_ranker(global_popularity(tmp_path / "model"))
    assert ranker.rank_session([], "DE", 9) == (["a", "c"], [2, 1])
    assert ranker.rank_session(["b"], "FR", 9) == (["a", "c"], [2, 1])


def test_rankers_by_locale_are_read(tmp_path: Path) -> None:
    global_popularity(tmp_path / "0")
    record = '{"format": "llmrec rankers by locale", "version": 1, "locales": ["DE"]}\n'
    (tmp_path / "per_locale.json").write_text(record, encoding="utf-8")
    loaded = PerLocale.load(tmp_path, "global_popularity")
    assert {name: ranker.rank_session([], "DE", 1)[0] for name, ranker in loaded.rankers.items()} == {"DE": ["a"]}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"version": 0}, "of version 0, this llmrec reads 1; fit it again with"),
        ({"format": "llmrec encoder"}, "not a record of 'llmrec ranker'; fit it again with"),
        ({"ranker": "own"}, "model: no ranker 'own'"),
        ({"settings": {"paddings": 3}}, "damaged ranker .*unknown key 'paddings'.*; fit it again with"),
        ({"locales": 3}, "damaged .locales: expected array.*; fit it again with"),
        (
            {"arrays_sha256": "0" * 64},
            "missing or damaged .its checksum is not .*; fit it again",
        ),
    ],
)
def test_what_is_not_understood_is_one_line_with_the_way_out(
    tmp_path: Path, record: dict[str, object], message: str
) -> None:
    folder = global_popularity(tmp_path / "model", **record)
    with pytest.raises(ModelError, match=message) as caught:
        load_ranker(folder)
    assert "\n" not in str(caught.value)
