import pytest

from llmrec.data.sources import find_source
from llmrec.data.sources import test_split as split_of
from llmrec.errors import ConfigError, DataError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    ("stem", "split"),
    [
        ("sessions_test", "test"),
        ("sessions_test_task1", "test_task1"),
        ("sessions_test_task3_phase2", "test_task3_phase2"),
        ("task2_phase1", "test_task2_phase1"),
        ("task3_phase1_sessions", "test_task3_phase1"),
        ("sessions_test_spring", "test_spring"),
        ("sessions_train", None),
        ("products_train", None),
        ("task4_phase1", None),
    ],
)
def test_a_file_name_gives_the_split(stem, split):
    assert split_of(stem) == split


def test_official_names_with_targets_beside_them(tmp_path):
    test = "sessions_test_task1_phase1.csv"
    touch(tmp_path, "products_train.csv", "sessions_train.csv", test, f"targets/{test}", "submission.csv")
    source = find_source(tmp_path)
    assert (source.products, source.train) == (tmp_path / "products_train.csv", tmp_path / "sessions_train.csv")
    assert [(one.split, one.targets) for one in source.tests] == [("test_task1_phase1", tmp_path / "targets" / test)]
    assert source.unused == (tmp_path / "submission.csv",)


def test_the_authors_repository_in_a_sub_folder(tmp_path):
    touch(
        tmp_path,
        "Amazon-M2/task1/public_test/sessions_test.parquet",
        "Amazon-M2/task1/public_test/DONT_SHARE_gt_test.parquet",
        "Amazon-M2/task2/private_test/sessions_test.parquet",
        "Amazon-M2/task3/test/phrase2_sessions_test.parquet",
        "Amazon-M2/task3/test_labels/phrase2_DONT_SHARE_gt_products.parquet",
    )
    found = {one.split: (one.targets is not None, one.titles) for one in find_source(tmp_path).tests}
    assert found == {
        "test_task1_phase1": (True, False),
        "test_task2_phase2": (False, False),
        "test_task3_phase2": (True, True),
    }


@pytest.mark.parametrize(
    ("names", "kind", "message"),
    [
        (["products_train.csv"], DataError, "no sessions found; looked for sessions_train.csv"),
        (["sessions_train.csv", "sessions_train.parquet"], DataError, "both give sessions_train; keep one"),
        (["a/sessions_train.csv", "b/sessions_train.csv"], DataError, r"several sub-folders hold sessions \(a, b\)"),
        (["manifest.json", "products.parquet", "sessions_test.parquet"], ConfigError, "a store already"),
    ],
)
def test_a_folder_that_is_no_clear_source_says_why(tmp_path, names, kind, message):
    touch(tmp_path, *names)
    with pytest.raises(kind, match=message):
        find_source(tmp_path)


def test_a_missing_folder_is_a_setting(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        find_source(tmp_path / "nowhere")
