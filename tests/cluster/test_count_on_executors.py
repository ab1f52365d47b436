"""Counting on a cluster of real processes: the arrays and lists of one machine, and one line for what cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from llmrec.cluster import model_pieces
from llmrec.cluster.count_on_executors import count_on_executors
from llmrec.cluster.counted_arrays import COUNTED
from llmrec.data.overlap import find_overlap
from llmrec.errors import ConfigError, DataError, DiskError, LlmrecError, ModelError
from llmrec.evaluation.runs import read_run
from llmrec.files import sha256_of
from llmrec.rankers import Ranker, load_ranker
from llmrec.rankers.recipes import ranker_settings
from llmrec.rankers.registry import ranker_class
from llmrec.rankers.sessions import Sessions, read_training_files
from llmrec.rankers.settings import RankJob
from llmrec.testing.ranker_contract import ITEMS, training_sessions
from tests.cluster.standalone import needs_spark

on_spark = [needs_spark, pytest.mark.filterwarnings("ignore")]  # pyspark's own


def write_training(folder: Path) -> list[Path]:
    """Two places: a folder of a file without labels and one with them, and a file with labels."""
    every = training_sessions()
    lists, locales = every.sequences.to_pylist(), every.locales.to_pylist()
    labelled = {
        "prev_items": [one[:-1] for one in lists[:60]],
        "next_item": [one[-1] for one in lists[:60]],
        "locale": locales[:60],
    }
    bare = {"prev_items": pa.array([[], *lists[60:]], pa.list_(pa.string())), "locale": ["ZZ", *locales[60:]]}
    (folder / "train").mkdir()
    pq.write_table(pa.table(bare), folder / "train" / "0.parquet")
    pq.write_table(pa.table(labelled).slice(0, 40), folder / "train" / "a.parquet")
    pq.write_table(pa.table(labelled).slice(40), folder / "more.parquet")
    return [folder / "train", folder / "more.parquet"]


def fitted_here(ranker: str, places: list[Path], settings: dict[str, Any]) -> Ranker[Any]:
    files = [file for place in places for file in (sorted(place.iterdir()) if place.is_dir() else [place])]
    return ranker_class(ranker)(ranker_settings(ranker, None, settings)).fit(read_training_files(files))


def job(ranker: str, places: list[Path], save: Path, **more: Any) -> RankJob:
    train = [Path(f"file://{place}") for place in places]
    return RankJob(ranker=ranker, engine="spark", train=train, save=Path(f"file://{save}"), **more)


def equal(there: Ranker[Any], here: Ranker[Any]) -> None:
    assert there.catalogue.locales == here.catalogue.locales
    ours, theirs = ({**one.catalogue.arrays(), **one._state()} for one in (there, here))
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert array.dtype == theirs[name].dtype or name == "padding"
        np.testing.assert_array_equal(array, theirs[name], name)
    asked = Sessions.of([[ITEMS[3]], [ITEMS[9], ITEMS[10]], [], ["never seen"]], ["DE", "FR", "ZZ", "XX"])
    one, other = there.rank(asked, 12), here.rank(asked, 12)
    assert one.to_list() == other.to_list()
    assert one.scores.equals(other.scores)


POWERS = {"source_power": 0.5, "target_power": 0.3, "locale_weight": 0.7, "labelled_weight": 2.5}
SETTINGS: dict[str, dict[str, Any]] = {
    "covisit": {"source_power": 1, "target_power": 0, "neighbours": 4, "locale_weight": 0},
    "covisit_walk": POWERS,
    "popularity": {"padding": 5},
    "vmis_knn": {"sample": 7},
}


@pytest.mark.parametrize(
    ("ranker", "settings"),
    [
        ("covisit", SETTINGS["covisit"]),
        pytest.param("covisit", POWERS, marks=pytest.mark.slow),
        *(pytest.param(one, SETTINGS.get(one, {}), marks=pytest.mark.slow) for one in COUNTED if one != "covisit"),
    ],
)
class TestCountedThere:
    pytestmark = on_spark

    def test_a_ranker_is_that_of_one_machine_to_the_last_bit(
        self,
        ranker: str,
        settings: dict[str, Any],
        session: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(model_pieces, "BLOCK", 5)  # so that 24 items are several pieces
        places, save = write_training(tmp_path), tmp_path / "models" / "there"
        count_on_executors(job(ranker, places, save, settings=settings))
        equal(load_ranker(save), fitted_here(ranker, places, settings))
        assert sorted(one.name for one in save.iterdir()) == ["arrays.safetensors", "ranker.json"]
        assert [one.name for one in save.parent.iterdir()] == ["there"]
        assert not session.catalog.listTables()
        with pytest.raises(ModelError, match="an update needs the sessions that it was fitted on"):
            load_ranker(save).known_sessions()


class TestTogetherWithRanking:
    pytestmark = on_spark

    @pytest.mark.slow
    def test_a_run_of_it_is_stamped_and_repeats_with_their_label_are_refused(
        self, session: Any, tmp_path: Path
    ) -> None:
        places, save, out = write_training(tmp_path), tmp_path / "there", tmp_path / "run.parquet"
        known = pq.read_table(places[0] / "a.parquet").select(["prev_items", "locale"])
        pq.write_table(known, tmp_path / "sessions.parquet")
        uris = {"sessions": Path(f"file://{tmp_path}/sessions.parquet"), "out": Path(f"file://{out}")}
        with pytest.raises(DataError, match="training rows repeat 40 of the 40 sessions"):
            count_on_executors(job("global_popularity", places, save, **uris))
        assert not save.exists()
        count_on_executors(job("global_popularity", places, save, allow_overlap=True, k=3, **uris))
        run = read_run(out)
        asked = Sessions.of(known["prev_items"].to_pylist(), known["locale"].to_pylist())
        here = fitted_here("global_popularity", places, {})
        assert run.predictions.to_pylist() == here.rank(asked, 3).to_list()
        training = read_training_files([*sorted(places[0].iterdir()), places[1]])
        found = find_overlap(training.sequences, training.locales, asked.prev_items, asked.locales)
        assert found is not None
        assert run.provenance["overlap"] == vars(found)
        assert run.provenance["train"] == [f"file://{place}" for place in places]


class TestWhatCannotBe:
    pytestmark = on_spark

    def test_a_bad_id_names_file_and_row_and_the_old_ranker_stays(self, session: Any, tmp_path: Path) -> None:
        places, save = write_training(tmp_path), tmp_path / "there"
        (save).mkdir()
        (save / "ranker.json").write_text("the old one")
        pq.write_table(
            pa.table({"prev_items": [["B01"], ["B01", "a\x00b"]], "locale": ["DE"] * 2}), tmp_path / "bad.parquet"
        )
        with pytest.raises(DataError, match=r"bad\.parquet, row 2: a control character inside an id") as caught:
            count_on_executors(job("covisit", [*places, tmp_path / "bad.parquet"], save))
        assert "\n" not in str(caught.value)
        assert (save / "ranker.json").read_text() == "the old one"
        assert not list(tmp_path.glob(".there*"))

    def test_what_cannot_be_read_or_replaced_is_one_line(self, session: Any, tmp_path: Path) -> None:
        pq.write_table(
            pa.table({"prev_items": pa.array([[]], pa.list_(pa.string())), "locale": ["DE"]}),
            tmp_path / "empty.parquet",
        )
        pq.write_table(
            pa.table({"prev_items": [["B01"]], "next_item": [7], "locale": ["DE"]}), tmp_path / "numbers.parquet"
        )
        (tmp_path / "drift").mkdir()
        shutil.copy(tmp_path / "empty.parquet", tmp_path / "drift" / "1.parquet")
        pq.write_table(pa.table({"prev_items": [7], "locale": ["DE"]}), tmp_path / "drift" / "2.parquet")
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "thesis.docx").write_text("years of work")
        wrong: list[tuple[str, str, type[LlmrecError], str]] = [
            ("none.parquet", "there", DataError, "is not there"),
            ("drift", "there", DataError, "not Parquet of one form throughout"),
            ("empty.parquet", "/proc/there", DiskError, "cannot be made"),
            ("empty.parquet", "there", DataError, "no session to learn from"),
            ("numbers.parquet", "there", DataError, "column 'next_item' is bigint"),
            ("empty.parquet", "other", DataError, "holds something else than a ranker"),
        ]
        for train, save, kind, message in wrong:
            with pytest.raises(kind, match=message) as caught:
                count_on_executors(job("covisit", [tmp_path / train], tmp_path / save))
            assert "\n" not in str(caught.value)
        assert sorted(one.name for one in tmp_path.iterdir()) == ["drift", "empty.parquet", "numbers.parquet", "other"]
        assert (tmp_path / "other" / "thesis.docx").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ranker": "gru4rec"}, "gru4rec is not counted on a cluster; .*popularity, global_popularity, covisit"),
        (
            {"train": [Path("train.parquet"), Path("file:///shared/more")]},
            "--train names what all its nodes reach; got train",
        ),
        ({"save": None}, "--save names what all its nodes reach; got nothing"),
        ({"save": Path("models/covisit")}, "--save names what all its nodes reach"),
        ({"sessions": Path("file:///shared/s.parquet")}, "--sessions and --out go together"),
        ({"products": Path("products.csv")}, "leave --products out"),
        ({"load": Path("models/covisit")}, "leave --load out"),
        ({"settings": {"forward": [0], "backward": [0]}}, "no weight above 0"),
        ({"settings": {"neighbour": 3}}, "did you mean 'neighbours'"),
    ],
)
def test_what_cannot_be_counted_on_executors_is_said_before_spark_starts(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"ranker": "covisit", "train": [Path("file:///shared/t")], "save": Path("file:///shared/m")}
    with pytest.raises(ConfigError, match=message):
        count_on_executors(RankJob(engine="spark", **given | change))


def test_a_file_of_arrays_is_written_as_lines(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes, text = rng.integers(0, 2**31 - 1, 3000, dtype=np.int32), rng.integers(0, 256, 5001, dtype=np.uint8)
    zeros, lengths = np.zeros(40_000, dtype=np.float32), np.array([2, 0, 5], dtype=np.int64)
    pieces = [("rows.offsets", lengths[:2]), ("rows.offsets", lengths[2:]), ("codes", codes), ("zeros", zeros)]
    pieces += [("text", text), ("end", np.frombuffer(b"\n", dtype=np.uint8))]
    forms: dict[str, model_pieces.Form] = {"text": ("uint8", None), "codes": ("int32", None), "none": ("float32", None)}
    forms |= {"zeros": ("float32", (200, 200)), "rows.offsets": ("int64", (4,)), "end": ("uint8", (1,))}
    sizes = {"text": 5001, "codes": 12_000, "zeros": 160_000, "end": 1}
    file = model_pieces.ArraysFile.of([model_pieces.Part(forms, None, ("rows.offsets",))], sizes)
    assert list(file.forms) == ["rows.offsets", "codes", "none", "zeros", "text", "end"]
    batches = [
        pa.RecordBatch.from_arrays([pa.array([name]), pa.array([array.tobytes()])], ["array", "data"])
        for name, array in pieces
    ]
    lines = [line for batch in file.lines(iter(batches)) for line in batch["line"].to_pylist()]
    assert not any(b"\n" in line for line in lines)
    written = tmp_path / "arrays.safetensors"
    written.write_bytes(b"".join(line + b"\n" for line in lines))
    ((digest,),) = (batch["digest"].to_pylist() for batch in file.digest(iter(batches)))
    assert digest == sha256_of(written)
    found = load_file(written)
    np.testing.assert_array_equal(found["rows.offsets"], [0, 2, 2, 7])
    for name, array in (("codes", codes), ("text", text), ("zeros", zeros.reshape(200, 200))):
        np.testing.assert_array_equal(found[name], array)
    assert found["none"].shape == (0,)
