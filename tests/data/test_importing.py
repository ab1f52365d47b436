import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from llmrec.data.findings import render_summary
from llmrec.data.importing import import_dataset
from llmrec.data.store import Store
from llmrec.errors import ConfigError, DataError, StoreError
from llmrec.schema import PRODUCT_COLUMNS
from tests.places import ROOT

# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

PRODUCTS = (
    ",".join(PRODUCT_COLUMNS) + "\n"
    "001,UK,Red box,40000000.07,NA,nan,,,,,\n"
    "001,DE,Rote Kiste,3.5,,,,,,,\n"
    "B2,UK,,9,,,,,,,\n"
    "B2,UK,again,9,,,,,,,\n"
    ",UK,no id,9,,,,,,,\n"
    "B3,US,Blue box,9,,,,,,,\n"
)
TRAIN = (
    "prev_items,next_item,locale\n"
    "['001' 'B2'],001,UK\n"  # the next item was seen
    "\"['001'\n '001']\",GONE,DE\n"  # no product row
    "[],B2,UK\n"
    "['B2'],,UK\n"
    "[' 001 '],B2,UK \n"
    "['B3'],B3x,US\n"
)
TEST = "prev_items,locale\n['001'],DE\n[],DE\n['B2' 'B3'],UK\n"


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "raw"
    (folder / "targets").mkdir(parents=True)
    (folder / "products_train.csv").write_text(PRODUCTS)
    (folder / "sessions_train.csv").write_text(TRAIN)
    (folder / "sessions_test_task1_phase1.csv").write_text(TEST)
    targets = "prev_items,next_item,locale\n['001'],001,DE\n[],B2,DE\n['B2' 'B3'],GONE,UK\n"
    (folder / "targets" / "sessions_test_task1_phase1.csv").write_text(targets)
    return folder


def rows(path):
    return pq.read_table(path).to_pylist()


def snapshot(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_store_holds_what_was_kept_in_source_order(source, tmp_path):
    import_dataset(source, tmp_path / "store", validation_share=0.5)
    store = Store.load(tmp_path / "store")
    products = [(row["id"], row["locale"], row["title"], row["price"], row["brand"]) for row in rows(store.products)]
    assert products == [
        ("001", "UK", "Red box", None, "NA"),
        ("001", "DE", "Rote Kiste", 3.5, None),
        ("B2", "UK", "", 9.0, None),
        ("B3", "US", "Blue box", 9.0, None),
    ]
    split = [rows(store.labelled(name).files[0]) for name in ("development", "validation")]
    assert sorted(row["session_id"] for part in split for row in part) == [0, 1, 4, 5]
    assert [len(part) for part in split] == [1, 3]  # halves of UK 2, DE 1 and US 1, a half rounded up
    assert {row["session_id"]: row["prev_items"] for part in split for row in part}[4] == ["001"]
    assert rows(store.test("test_task1_phase1").file) == [
        {"session_id": 0, "prev_items": ["001"], "locale": "DE"},
        {"session_id": 2, "prev_items": ["B2", "B3"], "locale": "UK"},
    ]
    assert rows(store.targets("test_task1_phase1").file) == [
        {"session_id": 0, "locale": "DE", "next_item": "001", "next_title": "Rote Kiste"},
        {"session_id": 2, "locale": "UK", "next_item": "GONE", "next_title": None},
    ]
    assert sorted(file.name for file in store.path.iterdir()) == [
        "manifest.json",
        "products.parquet",
        "sessions_development.parquet",
        "sessions_test_task1_phase1.parquet",
        "sessions_validation.parquet",
        "targets_test_task1_phase1.parquet",
    ]
    with pytest.raises(StoreError, match="no training split"):
        store.labelled("test_task1_phase1")


def test_every_repair_and_refusal_is_counted(source, tmp_path):
    summary = import_dataset(source, tmp_path / "store")
    counts = {(one.kind, one.file.split("_")[1].split(".")[0], one.what): one.count for one in summary.findings}
    assert counts == {
        ("repaired", "train", "price sentinel, now null"): 1,
        ("repaired", "train", "empty title, kept as empty text"): 1,
        ("refused", "train", "product without id or locale"): 1,
        ("refused", "train", "second row of the same (locale, id); the first is kept"): 1,
        ("noted", "train", "products of locale US, outside the paper's six"): 1,
        ("repaired", "train", "blanks, empty or nan ids in a session's ids or locale"): 1,
        ("refused", "train", "session without items"): 1,
        ("refused", "train", "training session without next_item"): 1,
        ("noted", "train", "next_item is in prev_items"): 1,
        ("noted", "train", "sessions of locale US, outside the paper's six"): 1,
        ("noted", "train", "distinct items without a product row in their locale"): 2,  # GONE in DE, B3x in US
        ("noted", "train", "sessions that hold such an item"): 2,
        ("refused", "test", "session without items"): 1,
        ("noted", "test", "next_item is in prev_items"): 1,  # 001 after 001 in DE
        ("noted", "test", "distinct items without a product row in their locale"): 1,  # B3 in UK
        ("noted", "test", "sessions that hold such an item"): 1,
    }
    manifest = json.loads((tmp_path / "store" / "manifest.json").read_text())
    assert len(manifest["summary"]["findings"]) == len(counts)
    assert manifest["tables"]["products"]["rows"] == 4
    assert (manifest["source"], manifest["fingerprint"]) == ("raw", summary.fingerprint)
    console = Console(width=80, record=True)
    console.print(render_summary(summary))
    shown = console.export_text()
    assert "sessions_test_task1_phase1" in shown
    assert "price sentinel, now null" in shown


def test_the_fingerprint_follows_the_content_alone(source, tmp_path):
    first = import_dataset(source, tmp_path / "a").fingerprint
    assert import_dataset(source, tmp_path / "b").fingerprint == first
    (source / "sessions_train.csv").write_text(TRAIN.replace("GONE", "GONF"))
    assert import_dataset(source, tmp_path / "c").fingerprint != first


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("sessions_train.csv", TRAIN + "['B0A' 'B0,B1,UK\n", "row 7: prev_items is not a list"),
        ("sessions_train.csv", TRAIN[:-4], "row 6: 2 columns where the header has 3"),
        ("products_train.csv", PRODUCTS.replace("title", "name", 1), "no column 'title'"),
        ("targets/sessions_test_task1_phase1.csv", "next_item\nB2\n", "1 rows, sessions_test_task1_phase1.csv has 3"),
        ("targets/sessions_test_task1_phase1.csv", "next_item,locale\nA,DE\nB,DE\nC,DE\n", "row 3: another locale"),
        (
            "targets/sessions_test_task1_phase1.csv",
            "prev_items,next_item,locale\n['B2'],A,DE\n[],B,DE\n['B2' 'B3'],C,UK\n",
            "row 1: another prev_items",
        ),
    ],
)
def test_bad_input_leaves_the_previous_store_as_it_was(source, tmp_path, name, text, message):
    store = tmp_path / "store"
    import_dataset(source, store)
    before = snapshot(store)
    (source / name).write_text(text)
    with pytest.raises(DataError, match=message):
        import_dataset(source, store)
    assert snapshot(store) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw", "store"]


def test_a_table_that_is_not_the_imported_one_is_refused(source, tmp_path):
    import_dataset(source, tmp_path / "store")
    file = tmp_path / "store" / "products.parquet"
    whole = file.read_bytes()
    for content, message in ((whole[:-1], "bytes are there"), (whole[:20] + b"x" + whole[21:], "checksum")):
        file.write_bytes(content)
        with pytest.raises(StoreError, match=rf"products\.parquet: .*{message}.*import again"):
            Store.load(tmp_path / "store")


def test_a_folder_that_is_no_store_is_left_alone(source, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="exists and is no store"):
        import_dataset(source, tmp_path / "mine")
    (tmp_path / "mine" / "manifest.json").write_text("{}")  # other artefacts have a manifest too
    with pytest.raises(ConfigError, match="exists and is no store"):
        import_dataset(source, tmp_path / "mine")
    with pytest.raises(ConfigError, match="above 0 and below 1; got 1"):
        import_dataset(source, tmp_path / "store", validation_share=1)
    assert snapshot(tmp_path / "mine") == {"letter.txt": b"dear", "manifest.json": b"{}"}


def test_the_authors_repository(tmp_path):
    sessions = pa.table({"prev_items": [["a"], ["b", "b"]], "locale": ["ES", "IT"]})
    for place, targets in (
        ("task2/public_test/{}sessions_test", pa.table({"gt": ["x", "y"], "locale": ["ES", "IT"]})),
        ("task3/test/phrase2_{}sessions_test", pa.table({"whatever": ["Una caja", "Scatola"]})),
    ):
        path = tmp_path / "repo" / f"{place.format('')}.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(sessions, path)
        truth = {
            "task2": "repo/task2/public_test/DONT_SHARE_gt_test.parquet",
            "task3": "repo/task3/test_labels/phrase2_DONT_SHARE_gt_products.parquet",
        }[place[:5]]
        (tmp_path / truth).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(targets, tmp_path / truth)
    import_dataset(tmp_path, tmp_path / "store")
    store = Store.load(tmp_path / "store")
    assert store.test_splits == ["test_task2_phase1", "test_task3_phase2"]
    assert [row["next_item"] for row in rows(store.targets("test_task2_phase1").file)] == ["x", "y"]
    assert [row["next_title"] for row in rows(store.targets("test_task3_phase2").file)] == ["Una caja", "Scatola"]
    assert pq.read_table(store.products).num_rows == 0


def test_a_full_disk_is_one_line_and_leaves_nothing(source, tmp_path):
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here, so no small disk to fill")
    (tmp_path / "disk").mkdir()
    lines = [f"['{os.urandom(400).hex()}'],x,UK\n" for _ in range(4000)]
    (source / "sessions_train.csv").write_text("prev_items,next_item,locale\n" + "".join(lines))
    script = (
        "import sys; from pathlib import Path; from llmrec.data.importing import import_dataset\n"
        "from llmrec.errors import DiskError\n"
        "try: import_dataset(Path(sys.argv[1]), Path(sys.argv[2]) / 'store')\n"
        "except DiskError as error: print(error, list(Path(sys.argv[2]).iterdir()))\n"
    )
    mounted = f'mount -t tmpfs -o size=1m none "$2" && exec "{sys.executable}" -c "$3" "$1" "$2"'
    command = ["unshare", "-Urm", "sh", "-c", mounted, "sh", str(source), str(tmp_path / "disk"), script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "the disk is full; free some space" in done.stdout
    assert done.stdout.strip().endswith("[]")
