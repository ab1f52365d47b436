"""Recipes of tables: they load, hold what the paper prints, and name commands that exist."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from llmrec.cli import app
from llmrec.errors import ConfigError
from llmrec.paper.reproduction.recipe import FOLDER, Row, TableRecipe, load_band, load_table, settings_of, table_names
from llmrec.paper.reproduction.templates import fill
from llmrec.settings import RECIPES, load_recipe
from tests.places import ROOT

PAPER = ROOT.parent / "shared" / "paper" / "amazon-m2.txt"
TABLES = [f"table{number}" for number in range(1, 13)]
FIGURES = [f"figure{number}" for number in range(2, 6)]
SESSIONS = {  # Table 2, training
    "UK": 1_182_181,
    "DE": 1_111_416,
    "JP": 979_119,
    "ES": 89_047,
    "FR": 117_561,
    "IT": 126_925,
}
ROWS = [(name, row) for name in table_names() for row in load_table(name).rows.values()]


def test_every_table_and_figure_of_the_paper_has_a_recipe() -> None:
    assert set(TABLES + FIGURES) <= set(table_names())
    assert table_names()[: len(TABLES)] == TABLES


@pytest.mark.parametrize("name", table_names())
def test_every_recipe_loads_and_says_where_it_is_in_the_paper(name: str) -> None:
    recipe = load_table(name)
    assert recipe.title
    assert recipe.place
    for row in recipe.rows.values():
        settings_of(row.method)
        assert all(load_band(band) for band in (row.method.band, row.method.again, *recipe.bands.values()))
        assert set(recipe.bands) <= set(row.columns)
        assert all(protocol.get for protocol in row.protocols)


def printed(number: int) -> list[str]:
    """Numbers of a table as the paper prints them, in reading order."""
    lines = PAPER.read_text(encoding="utf-8").splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith(f"Table {number}:")) + 2
    rows = []
    for line in lines[start:]:
        if not line.strip():
            break
        rows.append(line.split("\t"))
    if number == 1:
        rows = [row for row in rows if "Amazon-M2" in row[0]]
    cells = [cell.strip().replace(",", "") for row in rows for cell in row]
    return [cell for cell in cells if re.fullmatch(r"\d+(\.\d+)?", cell)]


@pytest.mark.skipif(not PAPER.is_file(), reason=f"the paper's text is not at {PAPER}")
@pytest.mark.parametrize("number", range(1, 13))
def test_published_values_are_the_papers_to_the_digit(number: int) -> None:
    recipe = load_table(f"table{number}")
    typed = [value for row in recipe.rows.values() for value in row.published]
    assert typed == [float(cell) for cell in printed(number)]


@pytest.mark.skipif(not PAPER.is_file(), reason=f"the paper's text is not at {PAPER}")
def test_published_examples_are_figure_3s() -> None:
    text = PAPER.read_text(encoding="utf-8")
    examples = load_table("figure3").examples
    assert len(examples) == 4
    assert all(f"{generated}\t{truth}" in text for generated, truth in examples)


def weighted(row: Row, metric: str) -> tuple[float | None, float]:
    """What the overall column is judged by, and the mean of the locales by their sessions."""
    by_locale = {column.partition("/")[2]: row.paper_value(column) for column in row.columns if metric in column}
    by_locale.pop("overall")
    total = sum(SESSIONS[name] for name in by_locale)
    mean = sum((value or 0) * SESSIONS[name] for name, value in by_locale.items()) / total
    return row.aim(f"{metric}/overall"), mean


@pytest.mark.parametrize("name", ["table3", "table4", "table5", "table7", "table8", "table9", "table10", "table11"])
def test_overall_is_between_the_locales_or_doubted(name: str) -> None:
    for row in load_table(name).rows.values():
        for metric in {column.partition("/")[0] for column in row.columns}:
            overall, mean = weighted(row, metric)
            if overall is None:
                assert row.doubts
            else:
                assert overall == pytest.approx(mean, abs=0.004), row.name


def test_ndcg_is_at_least_mrr_or_doubted() -> None:
    reciprocal, gain = load_table("table3").rows, load_table("table7").rows
    for name, row in gain.items():
        aim = row.aim("ndcg@100/overall")
        below = (row.paper_value("ndcg@100/overall") or 0) < (reciprocal[name].paper_value("mrr@100/overall") or 0)
        assert (aim is None) == below  # 1/log2(rank + 1) is never below 1/rank


def test_table_2_adds_up_once_its_slip_is_mended() -> None:
    rows = dict(load_table("table2").rows)
    total = rows.pop("Total")
    for column in ("train_sessions", "train_interactions", "test_sessions", "test_interactions"):
        assert sum(row.paper_value(column) or 0 for row in rows.values()) == total.aim(column)
    assert load_table("table1").rows["amazon_m2"].aim("test_sessions") == total.aim("test_sessions")


@pytest.mark.parametrize("space", sorted((RECIPES / "search").glob("*.yaml")), ids=lambda path: path.stem)
def test_settings_lie_in_the_ranges_of_appendix_a(space: Path) -> None:
    if space.stem == "covisit":
        return  # ours
    ranges = yaml.safe_load(space.read_text(encoding="utf-8"))["search"]
    settings = load_recipe(f"{space.stem}_stock").settings
    for name, values in ranges.items():
        if name in settings:
            assert settings[name] in values, name


def parse(words: list[str]) -> None:
    scripts = {"scripts/gen.py": "generate", "scripts/rank.py": "rank"}
    if words[0] in scripts:
        assert (ROOT / words[0]).is_file()
        words = ["llmrec", scripts[words[0]], *words[1:]]
    assert words.pop(0) == "llmrec"
    group = app
    while hasattr(group, "commands"):
        group = group.commands[words.pop(0)]
    group.make_context("llmrec", words)


@pytest.mark.parametrize(("table", "row"), ROWS, ids=[f"{table}-{row.name}" for table, row in ROWS])
def test_every_command_of_a_row_parses(table: str, row: Row) -> None:
    for protocol in row.protocols:
        places = dict.fromkeys(("data", "work", "run", "model", "method", "row", *protocol.either), "x") | {
            "row": row.name
        }
        values = {**protocol.values, **places, "resume": (), "overwrite": ()}
        for step in (*protocol.prepare, *row.method.steps):
            parse(fill(step, values))


def changed(tmp_path: Path, file: str, old: str, new: str) -> Path:
    folder = tmp_path / "paper"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("measured"))
    text = (folder / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("table3.yaml", "0.4047, ", "", "row 'popularity': 'published' must have 8 values"),
        ("table3.yaml", "0.4047, ", "high, ", "'published' must be a number; got 'high'"),
        ("table3.yaml", "method: popularity", "method: popularty", "did you mean 'popularity'"),
        ("table3.yaml", "[task1_validation]", "[task1_validaton]", "did you mean 'task1_validation'"),
        ("table3.yaml", "title:", "titel:", "unknown key 'titel'; did you mean 'title'"),
        ("table3.yaml", "{recall@100/overall: null}", "{recall@10/overall: null}", "did you mean 'recall@100/overall'"),
        ("methods.yaml", "band: heuristic", "band: heuristik", "did you mean 'heuristic'"),
        ("methods.yaml", "{count}", "{counts}", "'{counts}' in '{counts}' is not known; did you mean 'count'"),
        ("methods.yaml", "--out {run} --seen keep --transductive", "--out x", "its last step must write {run}"),
        ("protocols.yaml", "  place: App. A (90/10), §2.2 (locales)\n", "", "'place' is missing"),
        ("table3.yaml", "rows:", "rows: [", "not YAML"),
    ],
)
def test_a_malformed_recipe_is_one_line_that_names_the_place(
    tmp_path: Path, file: str, old: str, new: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_table("table3", changed(tmp_path, file, old, new))
    assert message in str(caught.value)
    assert file in str(caught.value) or "table3.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_table_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no table or figure 'tabel3'; did you mean 'table3'"):
        load_table("tabel3")


def test_a_recipe_is_plain_data() -> None:
    assert isinstance(load_table("table3"), TableRecipe)
    assert not list(FOLDER.glob("*.py"))
