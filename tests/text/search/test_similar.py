"""Similar products by title, product and session, and titles grounded in the catalogue."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.data.store import Store
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.runs import read_run, write_run
from llmrec.text.encoders.embed import EmbedJob, run_embed_job
from llmrec.text.products.ground import ground_run
from llmrec.text.search.build import build_for_folder
from llmrec.text.search.similar import SimilarProducts
from tests.text.search.indexed import indexed_titles


@pytest.fixture
def folder(tiny_store: Store, tmp_path: Path) -> Path:
    return indexed_titles(tiny_store, tmp_path / "titles")


@pytest.fixture
def products(folder: Path) -> SimilarProducts:
    return SimilarProducts.load(folder)


def embedded(tmp_path: Path, *rows: tuple[str, str, str]) -> SimilarProducts:
    columns = dict(zip(("locale", "id", "title"), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "own.parquet")
    run_embed_job(EmbedJob(products=tmp_path / "own.parquet", out=tmp_path / "own", dim=16))
    build_for_folder(tmp_path / "own")
    return SimilarProducts.load(tmp_path / "own")


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from llmrec.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_title_finds_its_product_first(products: SimilarProducts) -> None:
    lists = products.search(["Kettle 1.7 L", "電気ケトル 1.7L", "Große Süß"], 3)
    assert [(one[0].locale, one[0].title) for one in lists] == [
        ("UK", "Kettle 1.7 L"),
        ("JP", "電気ケトル 1.7L"),
        ("DE", "Große Süß"),
    ]
    assert [hit.rank for hit in lists[0]] == [1, 2, 3]
    assert lists[0][0].score == pytest.approx(1, abs=1e-5)
    assert all(one.score >= two.score for one, two in zip(lists[0], lists[0][1:], strict=False))


def test_a_search_loads_no_database_no_tables_and_no_model(folder: Path) -> None:
    code = (
        f"import sys, llmrec; llmrec.SimilarProducts.load({str(folder)!r}).search(['kettle'])\n"
        "print({'duckdb', 'ibis', 'matplotlib', 'pandas', 'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_only_the_locale_that_was_asked_for(products: SimilarProducts) -> None:
    hits = products.search(["USB-C cable"], 50, "DE")[0]
    assert {hit.locale for hit in hits} == {"DE"}
    assert len(hits) == 5  # the untitled sixth is like nothing


def test_without_a_locale_an_id_and_a_title_appear_once(tmp_path: Path) -> None:
    own = embedded(
        tmp_path,
        ("UK", "A", "black kettle"),
        ("US", "A", "black kettle, steel"),
        ("UK", "B", "Black  KETTLE"),
        ("UK", "C", "white kettle"),
    )
    assert [hit.id for hit in own.search(["black kettle"], 4)[0]] == ["A", "C"]
    assert [hit.id for hit in own.search(["black kettle"], 4, "UK")[0]] == ["A", "C"]
    assert [hit.id for hit in own.search(["black kettle"], 4, "US")[0]] == ["A"]


def test_many_twins_do_not_crowd_out_the_others(tmp_path: Path) -> None:
    rows = [("UK", f"T{number}", "black kettle") for number in range(200)]
    own = embedded(tmp_path, *rows, ("UK", "Z1", "white kettle"), ("UK", "Z2", "garden hose"))
    assert [hit.id for hit in own.search(["black kettle"], 3)[0]] == ["T0", "Z1", "Z2"]


def test_a_product_is_not_in_its_own_list(products: SimilarProducts) -> None:
    hits = products.by_product(["X0"], 20)[0]
    assert "X0" not in [hit.id for hit in hits]
    german = products.by_product(["X0"], 20, "DE")[0]
    assert {hit.locale for hit in german} == {"DE"}
    with pytest.raises(DataError, match="no product 'nothing'"):
        products.by_product(["nothing"])
    with pytest.raises(DataError, match="no product 'X5' with a text"):  # untitled in every locale
        products.by_product(["X5"])


def test_a_session_weighs_its_last_items_most_and_leaves_them_out(tmp_path: Path) -> None:
    own = embedded(
        tmp_path,
        ("UK", "K", "steel kettle 1.7 L"),
        ("UK", "H", "garden hose 15 m"),
        ("UK", "K2", "steel kettle 1.5 L"),
        ("UK", "H2", "garden hose 25 m"),
    )
    assert [hit.id for hit in own.by_session(["K", "H"], 2, recency=0.3)] == ["H2", "K2"]
    assert [hit.id for hit in own.by_session(["H", "K"], 2, recency=0.3)] == ["K2", "H2"]
    assert [hit.id for hit in own.by_session(["H", "gone", "K", "H", "H"], 2, recency=0.3)] == ["H2", "K2"]
    with pytest.raises(DataError, match="none of the session's 2 items"):
        own.by_session(["gone", "away"])
    with pytest.raises(ConfigError, match="recency must be above 0"):
        own.by_session(["K"], recency=0)


@pytest.mark.parametrize("title", ["{{ 7 * 7 }} <b>Mouse</b> {% raw %}", "🎧 ☕ наушники 電気", "x" * 100_000, "\0 a"])
def test_odd_titles_are_text(products: SimilarProducts, title: str) -> None:
    lists = products.search([title, "Kettle 1.7 L"], 3)
    assert lists[1][0].title == "Kettle 1.7 L"
    assert len(lists[0]) in (0, 3)


def test_wrong_questions_are_one_clear_error(products: SimilarProducts) -> None:
    for blank in ("", " \t\n", "\u3000"):
        with pytest.raises(DataError, match="title 2: empty"):
            products.search(["a", blank])
    with pytest.raises(ConfigError, match="no products of locale 'XX' in the index; known: DE, ES, FR, IT, JP, UK"):
        products.search(["a"], locale="XX")
    with pytest.raises(ConfigError, match="k must be at least 1"):
        products.search(["a"], 0)
    assert len(products.search(["USB-C cable"], 10_000)[0]) > 0
    assert products.search([], 3) == []


def test_the_verb_prints_a_table_or_json(folder: Path) -> None:
    shown = cli("similar", str(folder), "Kettle || 1.7 L", "--k", "2", "--locale", "US")
    assert shown.returncode == 0
    assert "Kettle || 1.7 L" in shown.stdout
    done = cli("similar", str(folder), "ライト【新】", "--k", "1", "--json")
    hits = json.loads(done.stdout)["result"]
    assert [(hit["rank"], hit["locale"], hit["title"]) for hit in hits] == [(1, "JP", "ライト【新】")]
    assert len(json.loads(cli("similar", str(folder), "--product", "X0", "--k", "3", "--json").stdout)["result"]) == 3
    assert (
        len(json.loads(cli("similar", str(folder), "--session", "X0 X1", "--k", "3", "--json").stdout)["result"]) == 3
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["  "], "title: empty"),
        (["mouse", "--locale", "XX"], "known: DE"),
        (["mouse", "--product", "X0"], "give one of a title, --product ID and --session"),
        ([], "give one of a title, --product ID and --session"),
    ],
)
def test_wrong_input_of_the_verb_is_one_line_and_status_2(folder: Path, arguments: list[str], message: str) -> None:
    done = cli("similar", str(folder), *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


RUN_TITLES = ["Wireless Mouse, Silent", "電気ケトル", "", "Wireless Mouse, Silent", "Kettle"]
RUN_LOCALES = ["UK", "JP", "ES", "US", "UK"]


def test_titles_become_products_of_their_locale(folder: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "titles.parquet", RUN_LOCALES, RUN_TITLES, {"recipe": "demo"})
    done = cli("ground", str(tmp_path / "titles.parquet"), "--index", str(folder), "--out", str(tmp_path / "g.parquet"))
    assert done.returncode == 0, done.stderr
    run = read_run(tmp_path / "g.parquet")
    assert run.kind == "ranking"
    assert not run.partial
    assert run.locales.to_pylist() == RUN_LOCALES
    lists = run.predictions.to_pylist()
    assert [one[:1] for one in lists] == [["X1"], ["X3"], [], ["X1"], ["X3"]]
    assert sorted(lists[0]) == ["X0", "X1", "X2", "X3", "X4"]  # each of the locale once, the untitled one not
    assert run.provenance["titles"] == {"recipe": "demo"}


def test_seen_items_can_be_left_out_and_a_partial_run_stays_partial(folder: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "titles.parquet", RUN_LOCALES, RUN_TITLES, {}, partial=True)
    sessions = pa.table(
        {
            "prev_items": [["X1", "X9", "X1"], ["X0"], ["X2", "X1"], [], ["X3", "X0", "X1", "X2", "X4"], ["X1"]],
            "locale": [*RUN_LOCALES, "UK"],
        }
    )
    pq.write_table(sessions, tmp_path / "sessions.parquet")
    ground_run(tmp_path / "titles.parquet", folder, tmp_path / "g.parquet", 3, tmp_path / "sessions.parquet")
    run = read_run(tmp_path / "g.parquet")
    lists = run.predictions.to_pylist()
    assert run.partial
    assert "X1" not in lists[0]
    assert [len(one) for one in lists] == [3, 3, 0, 3, 0]
    assert lists[3][0] == "X1"


def test_a_title_held_to_the_catalogue_becomes_the_products_that_have_it(tmp_path: Path) -> None:
    rows = [("UK", "A", "Red Mug"), ("UK", "B", "red mug"), ("UK", "C", "RED mug"), ("UK", "D", "red mug")]
    products = embedded(tmp_path, *rows, ("DE", "E", "red mug"), ("UK", "F", "kettle"))
    assert products.search(["red mug"], 1, "UK")[0][0].id == "A", "the encoder does not see case; the title says it"
    write_run(tmp_path / "t.parquet", ["UK", "UK", "UK", "DE"], ["RED mug", "red mug", "mug", "red mug"], {})
    ground_run(tmp_path / "t.parquet", tmp_path / "own", tmp_path / "g.parquet", 5)
    lists = read_run(tmp_path / "g.parquet").predictions.to_pylist()
    assert lists[0][0] == "C"
    assert lists[1][:2] == ["B", "D"]
    assert [len(set(one)) for one in lists] == [5, 5, 5, 1]
    assert lists[3] == ["E"]


def test_ground_refuses_what_does_not_fit(folder: Path, tmp_path: Path) -> None:
    titles = tmp_path / "titles.parquet"
    write_run(titles, ["UK", "XX"], ["a", "b"], {})
    with pytest.raises(DataError, match=r"row 2: no products of locale 'XX'"):
        ground_run(titles, folder, tmp_path / "g.parquet")
    write_run(titles, ["UK"], [["X1"]], {})
    with pytest.raises(ConfigError, match="holds ranked lists already"):
        ground_run(titles, folder, tmp_path / "g.parquet")
    write_run(titles, ["UK"], ["a"], {})
    with pytest.raises(ConfigError, match="--k must be from 1 to 100"):
        ground_run(titles, folder, tmp_path / "g.parquet", 101)
    for locales, message in ((["UK", "UK"], "2 sessions"), (["DE"], "row 1: another locale")):
        pq.write_table(pa.table({"prev_items": [["X1"]] * len(locales), "locale": locales}), tmp_path / "s.parquet")
        with pytest.raises(DataError, match=message):
            ground_run(titles, folder, tmp_path / "g.parquet", 10, tmp_path / "s.parquet")
    assert not (tmp_path / "g.parquet").exists()
