"""The index of an embeddings folder: built, changed, refused where it does not fit, and whole after a failure."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bench.retrieval import clustered

from llmrec.data.store import Store
from llmrec.errors import ConfigError, DataError, DiskError, LlmrecError, StoreError
from llmrec.text.encoders.embeddings_folder import open_embeddings
from llmrec.text.search import build
from llmrec.text.search import index_folder as store
from llmrec.text.search.build import add_products, build_for_folder, remove_products
from llmrec.text.search.index_folder import read_index
from llmrec.text.search.similar import SimilarProducts
from tests.rewriting import rewrite
from tests.text.search.indexed import indexed_titles


@pytest.fixture
def folder(tiny_store: Store, tmp_path: Path) -> Path:
    return indexed_titles(tiny_store, tmp_path / "titles")


def with_vectors(folder: Path, num: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, np.ndarray]:
    """A folder of clustered vectors in two locales, indexed by FAISS although it is small; and queries."""
    vectors = clustered(num + 20, 16)
    np.save(folder / "vectors.npy", vectors[:num])
    table = pa.table({name: [f"{name}{row}" for row in range(num)] for name in ("id", "title")})
    locales = pa.array(["UK", "DE"] * (num // 2))
    pq.write_table(table.add_column(0, "locale", locales), folder / "products.parquet")
    rewrite(folder / "manifest.json", {"products": {"num": num}}, without=("files",))
    shutil.rmtree(folder / "index")
    monkeypatch.setattr(build, "build_index", lambda *given, **named: _build(*given, **named, exact_rows=100))
    build_for_folder(folder, kind)
    return folder, vectors[num:]


_build = build.build_index


def products_file(path: Path, *rows: tuple[str, str, str]) -> Path:
    columns = list(zip(*rows, strict=True))
    pq.write_table(pa.table(dict(zip(("locale", "id", "title"), columns, strict=True))), path)
    return path


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "pq"])
def test_a_mapped_index_answers_as_the_built_one(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, queries = with_vectors(folder, 1_000, kind, monkeypatch)
    embeddings = open_embeddings(folder)
    read = read_index(embeddings)
    assert {shard.kind for shard in read.index.shards} == {kind}
    groups = np.array([0, 1] * 10)
    built = _build(embeddings.vectors, np.arange(1_000) % 2, kind, exact_rows=100)
    shards = [
        dataclasses.replace(one, effort=tuned.effort)
        for one, tuned in zip(built.shards, read.index.shards, strict=True)
    ]
    built = dataclasses.replace(built, shards=tuple(shards))
    for mine, other in zip(read.index.search(queries, 10, groups), built.search(queries, 10, groups), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "pq"])
def test_a_damaged_index_file_is_one_line(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = with_vectors(folder, 1_000, kind, monkeypatch)
    file = next((folder / "index").rglob("shard-0.*"))
    whole = file.read_bytes()
    changed = whole[:-1] + bytes([whole[-1] ^ 1])
    for content in (whole[: len(whole) // 2], changed):
        file.write_bytes(content)
        with pytest.raises(StoreError, match=r"checksum of main-\w+/shard-0\.\w+ is not its record's.*llmrec index "):
            SimilarProducts.load(folder)
    rewrite(folder / "index" / "index.json", {}, without=("files",))  # as before there were checksums
    messages = {
        whole: None,
        whole[:-1]: r"shard-0\.\w+ has [\d,]+ of",
        changed: "rows are not",
        bytes(len(whole)): "has no",
    }
    for content, message in messages.items():
        file.write_bytes(content)
        if message is None:
            SimilarProducts.load(folder)
            continue
        with pytest.raises(StoreError, match=f"{message}.*llmrec index "):
            SimilarProducts.load(folder)


@pytest.mark.parametrize("damage", ["index.json", "groups.npy", "gone.npy"])
def test_every_damaged_file_is_one_line(folder: Path, damage: str) -> None:
    file = next((folder / "index").rglob(damage))
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(StoreError, match="llmrec index ") as caught:
        SimilarProducts.load(folder)
    assert "\n" not in str(caught.value)
    build_for_folder(folder)  # the command that the line names mends it
    assert SimilarProducts.load(folder).search(["Kettle 1.7 L"], 1)[0][0].title == "Kettle 1.7 L"


@pytest.mark.parametrize(
    ("part", "key", "message"),
    [("encoder", "fingerprint", "another encoder"), ("products", "fingerprint", "another catalogue")],
)
def test_an_index_of_something_else_is_refused_with_the_command(
    folder: Path, part: str, key: str, message: str
) -> None:
    rewrite(folder / "manifest.json", {part: {key: "e" * 64}})
    with pytest.raises(StoreError, match=rf"made with {message}.*llmrec index .*SimilarProducts\.build"):
        SimilarProducts.load(folder)


def test_an_index_of_other_vectors_is_refused(folder: Path) -> None:
    vectors = np.load(folder / "vectors.npy")
    np.save(folder / "vectors.npy", -vectors)
    with pytest.raises(StoreError, match=r"vectors\.npy: damaged"):
        SimilarProducts.load(folder)
    rewrite(folder / "manifest.json", {}, without=("files",))
    with pytest.raises(StoreError, match="made with other vectors"):
        SimilarProducts.load(folder)


def test_vectors_without_an_order_leave_the_old_index(folder: Path) -> None:
    before = {path: path.read_bytes() for path in (folder / "index").rglob("*") if path.is_file()}
    vectors = np.load(folder / "vectors.npy")
    vectors[3, 0] = np.nan
    np.save(folder / "vectors.npy", vectors)
    rewrite(folder / "manifest.json", {}, without=("files",))
    with pytest.raises(StoreError, match="vector of product 4 is none of length 1"):
        build_for_folder(folder)
    assert {path: path.read_bytes() for path in (folder / "index").rglob("*") if path.is_file()} == before


def test_added_products_are_found_and_replace_their_namesakes(folder: Path, tmp_path: Path) -> None:
    num = len(SimilarProducts.load(folder).index)
    new = products_file(tmp_path / "new.parquet", ("UK", "X3", "Coffee grinder"), ("NL", "N1", "Koffiemolen USB-C"))
    assert add_products(folder, new) == 2
    products = SimilarProducts.load(folder)
    assert len(products.index) == num + 1
    assert products.search(["Coffee grinder"], 1)[0][0].id == "X3"
    assert products.search(["Koffiemolen"], 5, "NL")[0][0].id == "N1"
    assert not [hit for hit in products.search(["Kettle 1.7 L"], 20, "UK")[0] if hit.title == "Kettle 1.7 L"]
    build_for_folder(folder)  # built in, not lost
    again = SimilarProducts.load(folder)
    assert again.index.built == len(again.index.vectors)
    for title in ("Coffee grinder", "Koffiemolen", "Mouse"):
        assert again.search([title], 10) == products.search([title], 10)


def test_adding_equals_an_index_of_all_products(folder: Path, tmp_path: Path) -> None:
    new = products_file(tmp_path / "new.parquet", ("UK", "N1", "USB mouse"), ("DE", "N2", "Kabelhalter"))
    add_products(folder, new)
    changed = SimilarProducts.load(folder)
    vectors = np.concatenate([np.load(folder / "vectors.npy"), changed.index.vectors.added])
    whole = _build(vectors, changed.index.groups, "exact")
    queries = changed.encoder.encode_queries(["mouse", "Kabel", "電気ケトル"])
    for one, other in zip(changed.index.search(queries, 50), whole.search(queries, 50), strict=True):
        np.testing.assert_array_equal(one, other)


def test_removed_products_are_not_found(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "gone.csv").write_text("locale,id\nUK,X3\nFR,nothing\n", encoding="utf-8")
    assert remove_products(folder, tmp_path / "gone.csv") == 1
    titles = [hit.title for hit in SimilarProducts.load(folder).search(["Kettle 1.7 L"], 50)[0]]
    assert "Kettle 1.7 L" not in titles
    assert "Kettle || 1.7 L" in titles  # of another locale
    (tmp_path / "ids.csv").write_text("id\nX3\n", encoding="utf-8")
    assert remove_products(folder, tmp_path / "ids.csv") == 6
    (folder / "index" / "changes-0123abcd").mkdir()  # of a run that died when its own change counted
    assert remove_products(folder, tmp_path / "ids.csv") == 0
    assert len(list((folder / "index").iterdir())) == 3
    (tmp_path / "ids.csv").write_text("id\nnever-seen\n", encoding="utf-8")
    with pytest.raises(DataError, match="none of its 1 products is in the index"):
        remove_products(folder, tmp_path / "ids.csv")


@pytest.mark.parametrize("step", ["write_record", "pq.write_table", "np.save"])
def test_a_write_that_fails_leaves_the_old_index(
    folder: Path, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = SimilarProducts.load(folder).search(["mouse"], 20)
    new = products_file(tmp_path / "new.parquet", ("UK", "N1", "mouse"))

    def fails(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"llmrec.text.search.index_folder.{step}", fails)
        with pytest.raises(KeyboardInterrupt):
            add_products(folder, new)
        assert SimilarProducts.load(folder).search(["mouse"], 20) == before
    add_products(folder, new)
    assert SimilarProducts.load(folder).search(["mouse"], 20) != before
    assert len(list((folder / "index").iterdir())) == 3  # record, main, changes: no leftovers


def test_a_build_that_fails_leaves_the_old_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: object) -> None:
        raise OSError("killed")

    folder, queries = with_vectors(folder, 1_000, "ivf", monkeypatch)
    before = read_index(open_embeddings(folder)).index.search(queries, 5)
    monkeypatch.setattr(store, "write_structure", fails)
    with pytest.raises(OSError, match="killed"):
        build_for_folder(folder, "ivf")
    for one, other in zip(read_index(open_embeddings(folder)).index.search(queries, 5), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_template_that_changed_is_refused(folder: Path, tmp_path: Path) -> None:
    rewrite(folder / "manifest.json", {"template": {"sha256": "e" * 64}})
    with pytest.raises(ConfigError, match="has changed since the vectors were made"):
        add_products(folder, products_file(tmp_path / "new.parquet", ("UK", "N1", "mouse")))


def test_settings_that_cannot_be_are_one_line(folder: Path) -> None:
    for kind, memory, recall in (("auto", -1, 0.9), ("flat", None, 0.9), ("auto", None, 2)):
        with pytest.raises(LlmrecError):
            build_for_folder(folder, kind, memory, recall)


def test_adding_the_same_file_again_changes_nothing(folder: Path, tmp_path: Path) -> None:
    new = products_file(tmp_path / "new.parquet", ("UK", "X3", "Coffee grinder"), ("NL", "N1", "Koffiemolen"))
    add_products(folder, new)
    before = {path: path.read_bytes() for path in (folder / "index").rglob("*") if path.is_file()}
    assert add_products(folder, new) == 0  # a run that died after the change counted makes no dead rows
    assert {path: path.read_bytes() for path in (folder / "index").rglob("*") if path.is_file()} == before
    more = products_file(tmp_path / "more.parquet", ("UK", "X3", "Coffee grinder"), ("NL", "N1", "Molen"))
    assert add_products(folder, more) == 1


def test_an_index_that_is_a_link_is_changed_in_its_real_place(folder: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    (folder / "index").rename(real)
    (folder / "index").symlink_to(real)
    for mine in ("notes", "main", "changes-of-mine"):
        (real / mine).mkdir()
    add_products(folder, products_file(tmp_path / "new.parquet", ("UK", "N1", "Coffee grinder")))
    build_for_folder(folder)
    assert (folder / "index").is_symlink()
    assert {"notes", "main", "changes-of-mine", "index.json"} < {path.name for path in real.iterdir()}
    assert SimilarProducts.load(folder).search(["Coffee grinder"], 1)[0][0].id == "N1"
    np.save(folder / "vectors.npy", -np.load(folder / "vectors.npy"))
    rewrite(folder / "manifest.json", {}, without=("files",))
    with pytest.raises(StoreError, match=f"index: a link to {real}, which is not of these vectors; remove it"):
        build_for_folder(folder)


def test_what_a_killed_build_left_goes_with_the_next(folder: Path, tmp_path: Path) -> None:
    (folder / "index" / "main-0123abcd").mkdir()
    (folder / "index" / ".changes-0123abcd.0123abcd.llmrec.tmp").mkdir()
    add_products(folder, products_file(tmp_path / "new.parquet", ("UK", "N1", "Coffee grinder")))
    assert len(list((folder / "index").iterdir())) == 3


def test_nobody_changes_an_index_while_another_does(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from llmrec.output import claimed\n"
        "with claimed((Path(sys.argv[1]), 'place')): print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        new = products_file(tmp_path / "new.parquet", ("UK", "N1", "Coffee grinder"))
        for change in (build_for_folder, lambda place: add_products(place, new)):
            with pytest.raises(DiskError, match=f"another process .*pid {other.pid}.* is writing it"):
                change(folder)
        other.kill()
    assert add_products(folder, new) == 1
