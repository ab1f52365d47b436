from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.console import table
from llmrec.data.importing import import_dataset
from llmrec.errors import ConfigError, DataError
from llmrec.languages import known_languages
from llmrec.schema import LOCALES, PRODUCT_COLUMNS
from llmrec.synth import Figure, is_current, measure_synthetic, render_report, synthesize, write_report
from llmrec.synth.build import read_settings
from llmrec.synth.csv_rows import printed_lists, write_rows
from llmrec.synth.product_lines import build_catalogue, distinct_share
from llmrec.synth.products import product_ids
from llmrec.synth.sizes import FULL, plan
from llmrec.synth.walks import draw_lengths
from llmrec.synth.words import load_lexicon
from tests.rewriting import rewrite


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("synth") / "tiny", "tiny", seed=0)


@pytest.fixture(scope="module")
def figures(tiny: Path) -> dict[str, Figure]:
    return {figure.name: figure for figure in measure_synthetic(tiny)}


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def items_of(frame: pd.DataFrame) -> list[list[str]]:
    return [re.findall(r"[0-9A-Z]{10}", text) for text in frame["prev_items"]]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_full_is_the_papers_table_2() -> None:
    # Table 2: 3,606,249 sessions; product rows 500,180 + 518,327 + 395,009 + 42,503 + 44,577 + 50,461
    assert sum(one.sessions for one in FULL.values()) == 3_606_249
    assert sum(one.products for one in FULL.values()) == 1_551_057
    sizes = {
        (task, phase): sum(t.sessions for one in FULL.values() for t in one.tests if (t.task, t.phase) == (task, phase))
        for task in (1, 2, 3)
        for phase in (1, 2)
    }
    assert sizes == {(1, 1): 316_971, (1, 2): 316_972, (2, 1): 34_688, (2, 2): 34_690, (3, 1): 56_421, (3, 2): 56_422}


def test_every_figure_of_tiny_is_as_it_should_be(figures: dict[str, Figure], tmp_path: Path) -> None:
    other = measure_synthetic(synthesize(tmp_path / "other", "tiny", seed=1))
    assert [figure for figure in [*figures.values(), *other] if not figure.ok] == []
    assert len(figures) > 40


@pytest.mark.slow
@pytest.mark.parametrize(("size", "seeds"), [("tiny", range(2, 10)), ("small", range(5))])
def test_every_figure_is_as_it_should_be_whatever_the_seed(size: str, seeds: range, tmp_path: Path) -> None:
    for seed in seeds:
        figures = measure_synthetic(synthesize(tmp_path / "data", size, seed))
        assert [(seed, figure) for figure in figures if not figure.ok] == []


def test_the_share_of_distinct_ids_follows_the_locales_sizes() -> None:
    # of each 100 products of ES 48 are of earlier locales' lines (.20 + .20 + .08), of UK none
    uk, es = (replace(FULL[locale], products=products) for locale, products in (("UK", 300), ("ES", 100)))
    assert distinct_share([uk]) == 1
    assert distinct_share([uk, es]) == pytest.approx((300 + 52) / 400)
    assert distinct_share(FULL.values()) == pytest.approx(1_410_675 / 1_551_057, abs=0.002)  # Table 2


@pytest.mark.parametrize("seed", range(3))
def test_locales_share_as_many_products_as_planned(seed: int) -> None:
    catalogue = build_catalogue(plan("small"), load_lexicon(), np.random.default_rng(seed))
    planned = distinct_share(plan("small")) * sum(one.products for one in plan("small"))
    assert catalogue.num_products == pytest.approx(planned, abs=10)


def test_a_small_catalogue_has_related_lines_in_every_family_that_it_sells() -> None:
    lexicon = load_lexicon()
    for seed in range(3):
        catalogue = build_catalogue(plan("tiny"), lexicon, np.random.default_rng(seed))
        sold = np.unique(catalogue.lines.family)
        assert len(sold) == 16  # two families of each of eight departments
        assert {lexicon.families[number].accessory for number in sold} == {True, False}
        assert lexicon.books in {lexicon.families[number].department for number in sold}
    whole = build_catalogue(plan("small"), lexicon, np.random.default_rng(0))
    assert len(np.unique(whole.lines.family)) == len(lexicon.families)


def test_data_of_another_version_size_or_seed_is_not_current(tmp_path: Path) -> None:
    out = synthesize(tmp_path / "out", "tiny", seed=4)
    assert is_current(out, "tiny", 4)
    assert not is_current(out, "tiny", 5)
    assert not is_current(out, "small", 4)
    assert not is_current(tmp_path, "tiny", 4)
    rewrite(out / "synth.json", {"version": read_settings(out).version - 1})
    assert not is_current(out, "tiny", 4)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_ones(tiny: Path, tmp_path: Path) -> None:
    assert files_of(synthesize(tmp_path / "again", "tiny", seed=0)) == files_of(tiny)
    other = files_of(synthesize(tmp_path / "other", "tiny", seed=1))
    assert other["sessions_train.csv"] != files_of(tiny)["sessions_train.csv"]


def test_prev_items_are_printed_as_numpy_prints_them(tiny: Path) -> None:
    train = read(tiny / "sessions_train.csv")
    for text, items in zip(train["prev_items"], items_of(train), strict=True):
        assert text == str(np.array(items, dtype=object))


def test_files_are_quoted_as_pandas_quotes(tiny: Path) -> None:
    for name in ("products_train.csv", "sessions_train.csv"):
        assert read(tiny / name).to_csv(index=False).encode() == (tiny / name).read_bytes()


def test_products_have_the_quirks_of_the_release(tiny: Path) -> None:
    products = read(tiny / "products_train.csv")
    assert list(products) == list(PRODUCT_COLUMNS)
    assert not products.duplicated(["id", "locale"]).any()
    assert products["id"].str.match(r"^0\d{8}[\dX]$").any()
    assert {"NA", "nan", "null"} & set(products["material"])
    assert (products["price"] == "40000000.07").any()
    assert (products["title"] == "").any()
    assert (products["author"] != "").any()
    assert set(products["locale"]) == set(LOCALES)


def test_a_shared_product_has_a_title_in_each_language(tiny: Path) -> None:
    products = read(tiny / "products_train.csv")
    shared = products[products["title"] != ""].groupby("id").filter(lambda rows: len(rows) > 1)
    differ = shared.groupby("id")["title"].nunique() > 1
    assert differ.mean() > 0.9  # a short title may read the same in two languages
    pair = shared.groupby("id")["brand"].nunique() <= 1
    assert pair.all()


def test_a_test_target_stands_beside_its_session(tiny: Path) -> None:
    known = set(read(tiny / "products_train.csv")[["id", "locale"]].itertuples(index=False, name=None))
    for task, locales in ((1, {"UK", "DE", "JP"}), (2, {"ES", "FR", "IT"}), (3, set(LOCALES))):
        for phase in (1, 2):
            name = f"sessions_test_task{task}_phase{phase}.csv"
            test, targets = read(tiny / name), read(tiny / "targets" / name)
            assert list(test) == ["prev_items", "locale"]
            assert test.equals(targets[["prev_items", "locale"]])
            assert set(test["locale"]) == locales
            assert set(targets[["next_item", "locale"]].itertuples(index=False, name=None)) <= known


def test_task_3_targets_are_new_and_no_target_is_in_its_session(tiny: Path) -> None:
    train = read(tiny / "sessions_train.csv")
    seen = {item for items in items_of(train) for item in items} | set(train["next_item"])
    for path in [tiny / "sessions_train.csv", *(tiny / "targets").iterdir()]:
        frame = read(path)
        assert all(target not in items for target, items in zip(frame["next_item"], items_of(frame), strict=True))
        if "task3" in path.name:
            assert not seen & set(frame["next_item"])


def test_the_importer_reads_it(tiny: Path, tmp_path: Path) -> None:
    summary = import_dataset(tiny, tmp_path / "store", seed=0, validation_share=0.1)
    rows = {one.name: one.rows for one in summary.tables}
    wanted = sum(one.sessions for one in plan("tiny"))
    assert rows["sessions_development"] + rows["sessions_validation"] == wanted
    assert rows["targets_test_task3_phase2"] == rows["sessions_test_task3_phase2"]


def test_recurring_pairs_can_be_learned(tiny: Path) -> None:
    train = read(tiny / "sessions_train.csv")
    pairs = pd.Series(
        [f"{items[-1]} {target}" for items, target in zip(items_of(train), train["next_item"], strict=True)]
    )
    # about 1,500 products: 3,700 pairs drawn evenly from 1,500 ** 2 would hardly ever recur
    assert pairs.duplicated(keep=False).mean() > 0.2


def test_an_earlier_data_set_is_replaced_and_anything_else_is_not(tmp_path: Path) -> None:
    out = synthesize(tmp_path / "out")
    synthesize(out, seed=3)
    assert json.loads((out / "synth.json").read_text())["seed"] == 3
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds no synthetic data"):
        synthesize(foreign)
    assert (foreign / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(("size", "seed", "message"), [("smal", 0, "did you mean 'small'"), ("tiny", -1, "below 0")])
def test_wrong_settings_are_one_line(tmp_path: Path, size: str, seed: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        synthesize(tmp_path / "out", size, seed)


def test_measuring_names_a_missing_file(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no synthetic data set"):
        measure_synthetic(tmp_path)
    (tmp_path / "synth.json").write_bytes((tiny / "synth.json").read_bytes())
    with pytest.raises(DataError, match=r"products_train\.csv: no such file"):
        measure_synthetic(tmp_path)


def test_report_marks_what_is_off(tmp_path: Path) -> None:
    figures = [Figure("a", 0.5, 0.4, 0.3, 0.6, "Fig. 1"), Figure("b", float("nan"), None, 0, 1, "Fig. 2")]
    shown = render_report(figures)
    assert shown.row_count == 2
    assert str(shown.title) == "2 figures, 1 off"
    assert [column.header for column in shown.columns] == [
        column.header for column in table("", ("figure", "measured", "paper", "accepted", "", "source"), []).columns
    ]
    rows = json.loads(write_report(figures, tmp_path).read_text())
    assert [(row["ok"], row["measured"]) for row in rows] == [(True, 0.5), (False, None)]


def test_vocabulary_speaks_six_languages_in_sixty_families() -> None:
    lexicon = load_lexicon()
    assert set(lexicon.languages) == set(known_languages())
    assert len(lexicon.families) >= 60
    words = [
        *lexicon.colours,
        *lexicon.packs,
        *lexicon.sentences,
        *lexicon.book_titles,
        *(size for sizes in lexicon.sizes.values() for size in sizes),
        *(family.noun for family in lexicon.families),
        *(text for family in lexicon.families for text in (*family.features, *family.materials)),
    ]
    assert all(len(word) == 6 and all(isinstance(one, str) and one for one in word) for word in words)
    assert len({latin for latin, _ in lexicon.names}) == len(lexicon.names)


def test_ids_are_distinct_and_an_isbn_has_its_check_digit() -> None:
    books = np.arange(3_000) % 3 == 0
    ids = product_ids(3_010, books).to_pylist()
    assert len(set(ids)) == 3_010
    for number in range(0, 3_000, 3):
        digits = [10 if digit == "X" else int(digit) for digit in ids[number]]
        assert sum(weight * digit for weight, digit in zip(range(10, 0, -1), digits, strict=True)) % 11 == 0
    assert all(re.fullmatch("B0[0-9A-Z]{8}", one) for number, one in enumerate(ids) if number % 3 or number >= 3_000)


@pytest.mark.parametrize("mean", [2.99, 3.5, 4.5])
def test_lengths_have_their_mean_and_a_long_tail(mean: float) -> None:
    lengths = draw_lengths(200_000, mean, np.random.default_rng(0))
    assert lengths.min() == 2
    assert lengths.mean() == pytest.approx(mean, rel=0.01)
    assert lengths.max() > 50


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_any_list_is_printed_as_numpy_prints_it(lengths: list[int]) -> None:
    ids = product_ids(50, np.zeros(50, dtype=bool))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = np.arange(offsets[-1]) * 7 % 50
    printed = printed_lists(ids, items, offsets).to_pylist()
    names = np.array(ids.to_pylist(), dtype=object)
    assert printed == [str(names[items[a:b]]) for a, b in pairwise(offsets)]


@given(st.lists(st.tuples(*[st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('",\n'))] * 2)))
def test_any_text_survives_the_csv(rows: list[tuple[str, str]]) -> None:
    handle = io.BytesIO()
    write_rows(handle, [pa.array([row[column] for row in rows], pa.string()) for column in (0, 1)])
    text = handle.getvalue().decode()
    assert [tuple(row) for row in csv.reader(io.StringIO(text, newline=""))] == rows
