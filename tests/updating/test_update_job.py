"""`llmrec update`: a file of sessions into a folder, versions and the way back; what is wrong is one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import llmrec
from llmrec.cli import main
from llmrec.errors import DiskError, ModelError
from llmrec.updating import versions
from tests.places import ROOT

FILES = {
    "monday": [["tea", "cup"], ["tea", "cup"], ["pot", "tea"]],
    "tuesday": [["tea", "pot"], ["tea", "pot"], ["tea", "pot"]],
    "wednesday": [["tea", "jug"]] * 4,
}


def write(name: str, rows: Sequence[Sequence[str]]) -> None:
    frame = pd.DataFrame({"prev_items": [row[:-1] for row in rows], "next_item": [row[-1] for row in rows]})
    frame.assign(locale="UK").to_parquet(f"{name}.parquet")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, rows in FILES.items():
            write(name, rows)
        assert command("rank", "covisit", "--train", "monday.parquet", "--save", "shop/first") == 0
    return folder


@pytest.fixture(autouse=True)
def shop(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def command(*words: str) -> int | str | None:
    with pytest.raises(SystemExit) as stopped:
        main([*words])
    return stopped.value.code


def best(folder: str) -> str:
    return str(llmrec.load_ranker(versions.version_of(Path(folder))).rank_session(["tea"], "UK", 1)[0][0])


def test_a_plain_folder_is_updated_in_its_place_or_elsewhere() -> None:
    assert command("update", "shop/first", "--train", "tuesday.parquet", "--out", "other") == 0
    assert (best("shop/first"), best("other")) == ("cup", "pot")
    assert command("update", "shop/first", "--train", "tuesday.parquet") == 0
    assert best("shop/first") == "pot"
    whole = llmrec.fit("covisit", ["monday.parquet", "tuesday.parquet"])
    assert whole.rank([["tea"]]).to_list() == llmrec.load_ranker("shop/first").rank([["tea"]]).to_list()


@pytest.mark.parametrize(
    ("name", "old", "flags", "how"),
    [
        ("covisit", 3, [], "as refitted"),
        ("covisit", 3, ["--half-life", "30"], "faded"),
        ("item_vectors", 3, [], "as refitted"),  # of which every other session is new
        ("item_vectors", 300, [], "vectors kept"),
        ("item_vectors", 300, ["--refit"], "as refitted"),
    ],
)
def test_it_says_what_the_updated_ranker_is(
    name: str, old: int, flags: list[str], how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    llmrec.fit(name, [["tea", "cup"], ["pot", "tea"], ["cup", "pot"]] * (old // 3)).save("plain")
    pd.DataFrame({"prev_items": [["tea"]], "next_item": ["jug"], "locale": "XX"}).to_parquet("one.parquet")
    capsys.readouterr()
    words = ["--train", "one.parquet", "--date", "2100-01-01", *flags]
    assert command("update", "plain", *words, "--json") == 0
    assert json.loads(capsys.readouterr().out)["result"]["how"] == how


def test_versions_come_stay_and_go(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("update", "shop", "--train", "tuesday.parquet") == 0
    assert best("shop") == "pot"
    second = Path("shop/current").readlink().name
    assert command("update", "shop", "--train", "wednesday.parquet") == 0
    assert best("shop") == "jug"
    third = Path("shop/current").readlink().name
    assert versions.versions_in(Path("shop")) == ["first", second, third]
    assert command("update", "shop", "--rollback") == 0
    assert best("shop") == "pot"
    assert command("update", "shop", "--rollback", "first") == 0
    assert best("shop") == "cup"
    capsys.readouterr()
    assert command("update", "shop", "--list", "--json") == 0
    assert json.loads(capsys.readouterr().out)["result"] == {"versions": ["first", second, third], "current": "first"}
    assert command("update", "shop", "--train", "tuesday.parquet", "--keep", "1") == 0
    assert versions.versions_in(Path("shop")) == [Path("shop/current").readlink().name]
    assert best("shop") == "pot"


def test_the_way_back_leads_past_a_version_that_was_given_up() -> None:
    for words in (["--train", "tuesday.parquet"], ["--rollback"], ["--train", "wednesday.parquet"], ["--rollback"]):
        assert command("update", "shop", *words) == 0
    assert versions.current_of(Path("shop")) == "first"


def test_the_version_in_use_is_kept_however_old() -> None:
    for name in ("tuesday", "wednesday"):
        assert command("update", "shop", "--train", f"{name}.parquet") == 0
    versions.use(Path("shop"), "first")
    assert len(versions.drop_old(Path("shop"), 1)) == 1
    assert best("shop") == "cup"
    assert len(versions.versions_in(Path("shop"))) == 2


def test_names_of_versions_rise_within_a_minute_and_where_a_clock_ran_back() -> None:
    for name, after in (("2999-01-01T00-00", "2999-01-01T00-00-02"), ("2999-01-01T00-00-02", "2999-01-01T00-00-03")):
        llmrec.fit("covisit", [["a", "b"]]).save(f"shop/{name}")
        assert versions.new_version(Path("shop")).name == after


def test_a_swap_that_fails_leaves_current_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("update", "shop", "--train", "tuesday.parquet") == 0

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "shop/current")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DiskError):
        versions.use(Path("shop"), "first")
    assert best("shop") == "pot"
    assert not [*Path("shop").glob(".current*")]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("update shop", "nothing to do"),
        ("update shop --train monday.parquet", "monday.parquet: was learnt from already"),
        ("update shop --train nowhere.parquet", "nowhere.parquet"),
        ("update shop --train empty.parquet", "empty.parquet: no session to learn from"),
        ("update shop --train other.parquet", "other.parquet"),
        ("update shop --train tuesday.parquet tuesday.parquet", "given twice"),
        ("update nowhere --train tuesday.parquet", "nowhere: no ranker here"),
        ("update store --train tuesday.parquet", "store: no ranker here but a store"),
        ("update monday.parquet --train tuesday.parquet", "monday.parquet"),
        ("update shop --train tuesday.parquet --half-life 0", "--half-life"),
        ("update shop --train tuesday.parquet --half-life nan", "--half-life"),
        ("update shop --train tuesday.parquet --date soon", "--date 'soon' is no date"),
        ("update shop --train tuesday.parquet --keep 0", "--keep"),
        ("update shop --train tuesday.parquet --keep 2 --out other", "--keep and --out exclude each other"),
        ("update shop --train tuesday.parquet --rollback", "exclude each other"),
        ("update shop first --train tuesday.parquet", "'first' names a version"),
        ("update shop --rollback frist", "no version 'frist'; did you mean 'first'?"),
        ("update shop --rollback", "no version before 'first'"),
        ("update shop --rollback ../other", "no version"),
        ("update shop/first --rollback", "needs a folder of versions; this holds a ranker"),
        ("update shop/first --list", "needs a folder of versions"),
        ("update shop --train tuesday.parquet --set history=3", "--set: covisit counts"),
        ("update shop --products tuesday.parquet", "a ranker takes later sessions; give --train"),
        ("update shop --train tuesday.parquet --remove tea", "--remove takes products out of an index"),
        ("update shop --train tuesday.parquet --refit", "--refit: covisit has no trees or vectors"),
        ("update shop --train tuesday.parquet --out store", "store: exists and holds no ranker"),
    ],
)
def test_what_is_wrong_is_one_line_and_changes_nothing(
    words: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = pa.table({"prev_items": pa.array([[]], pa.list_(pa.string())), "locale": ["UK"]})
    pq.write_table(nothing, "empty.parquet")
    pd.DataFrame({"user": ["u"], "item": ["tea"]}).to_parquet("other.parquet")
    Path("store").mkdir()
    Path("store/products.parquet").touch()
    before = {path: path.read_bytes() for path in Path("shop").rglob("*") if path.is_file()}
    capsys.readouterr()
    assert command(*words.split()) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line.lower() or told in line]
    assert told in " ".join(lines)
    assert {path: path.read_bytes() for path in Path("shop").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("link", "told"), [("gone", "leads to no version"), ("../elsewhere", "leads to no version")])
def test_a_current_that_leads_elsewhere_is_refused(link: str, told: str) -> None:
    Path("elsewhere").mkdir()
    Path("shop/current").symlink_to(link)
    with pytest.raises(ModelError, match=told):
        versions.current_of(Path("shop"))
    assert command("update", "shop", "--rollback", "first") == 0
    assert best("shop") == "cup"


def test_a_current_that_is_a_folder_is_refused() -> None:
    llmrec.fit("covisit", [["a", "b"]]).save("shop/current")
    with pytest.raises(ModelError, match="is a folder"):
        versions.current_of(Path("shop"))


@pytest.fixture
def index(tmp_path: Path) -> Path:
    rows = {"id": ["P1", "P2"], "locale": ["UK", "UK"], "title": ["red cup", "blue pot"]}
    pd.DataFrame({**rows, "id": ["P2", "P3"], "title": ["blue cup", "red pot"]}).to_parquet("more.parquet")
    llmrec.SimilarProducts.build(pd.DataFrame(rows), tmp_path / "titles" / "first")
    return tmp_path / "titles"


def titles(folder: Path) -> list[str]:
    return sorted(hit.title for hit in llmrec.SimilarProducts.load(folder).search(["red blue cup pot"], k=9)[0])


def test_an_index_takes_products_in_and_out(index: Path) -> None:
    assert command("update", "titles/first", "--products", "more.parquet", "--remove", "P1") == 0
    assert titles(index / "first") == ["blue cup", "red pot"]


def test_versions_of_an_index_share_what_stays(index: Path) -> None:
    assert command("update", "titles", "--products", "more.parquet") == 0
    assert titles(versions.version_of(index)) == ["blue cup", "red cup", "red pot"]
    assert titles(index / "first") == ["blue pot", "red cup"]
    assert command("update", "titles", "--remove", "P1", "P3") == 0
    assert titles(versions.version_of(index)) == ["blue cup"]
    assert command("update", "titles", "--rollback") == 0
    assert titles(versions.version_of(index)) == ["blue cup", "red cup", "red pot"]
    assert len({one.stat().st_ino for one in index.glob("*/vectors.npy")}) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--train tuesday.parquet", "--train: titles/first is an index"),
        ("--products more.parquet --half-life 3", "--half-life: titles/first is an index"),
        ("--remove P9", "none of its 1 products is in the index"),
        ("--products nowhere.parquet", "nowhere.parquet"),
        ("--products more.parquet --out shop", "shop: exists"),
    ],
)
def test_what_an_index_does_not_take_is_one_line(
    index: Path, words: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("update", "titles/first", *words.split()) == 2
    assert told in capsys.readouterr().err
    assert titles(index / "first") == ["blue pot", "red cup"]


def test_a_title_model_trains_on_into_a_new_version(title_model: Path, tiny_store: llmrec.Store) -> None:
    shutil.copytree(title_model, "writers/first")
    small = [
        "--set",
        "max_steps=1",
        "--set",
        "train_sample=4",
        "--set",
        "validation_sample=2",
        "--set",
        "learning_rate=0.01",
    ]
    assert command("update", "writers", "--data", str(tiny_store.path), *small) == 0
    place = versions.version_of(Path("writers"))
    first, later = (one / "model.safetensors" for one in (Path("writers/first"), place))
    assert first.read_bytes() != later.read_bytes()
    assert (place / "llmrec.json").read_text() == Path("writers/first/llmrec.json").read_text()
    assert len(llmrec.TitleWriter.load(place).write([["Kettle"]], locale="UK").to_pandas()) == 1
    assert {one.name for one in Path("writers").iterdir()} == {".made_of.json", "current", "first", place.name}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--train tuesday.parquet", "--train: writers/first is a title model, which takes --data"),
        ("--data nowhere", "nowhere"),
        ("--data STORE --set max_step=1", "did you mean 'max_steps'?"),
        ("--data STORE --out shop", "shop: exists and holds no title model"),
    ],
)
def test_what_a_title_model_does_not_take_is_one_line(
    title_model: Path, tiny_store: llmrec.Store, words: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(title_model, "writers/first")
    assert command("update", "writers/first", *words.replace("STORE", str(tiny_store.path)).split()) == 2
    assert told in capsys.readouterr().err


def test_a_service_follows_an_update() -> None:
    from llmrec.serving.loaded import Places, load_all

    assert command("update", "shop", "--train", "tuesday.parquet") == 0
    loaded: Any = load_all(Places(ranker=Path("shop")))
    assert loaded.versions["ranker"] == Path("shop/current").readlink().name
    assert loaded.ranker.rank_session(["tea"], "UK", 1)[0] == ["pot"]


def test_what_a_ranker_was_fitted_on_is_not_shared() -> None:
    sent = llmrec.push_to_hub(llmrec.load_ranker("shop/first"), "me/covisit", licence="apache-2.0", dry_run=True)
    assert not [name for name in sent.files if "learnt_from" in name]


def test_the_page_of_the_verb_is_there() -> None:
    assert "llmrec update" in (ROOT / "docs" / "updating.md").read_text(encoding="utf-8")
