"""The paper index and the page of measurements: every file exists, every command parses, every number is a record's."""

from __future__ import annotations

import re
import shlex

import pytest

from llmrec.cli import app
from llmrec.cli.flags import command_of
from llmrec.paper.reproduction.board import shown_cell, shown_number
from llmrec.paper.reproduction.docs import render_docs_page
from llmrec.paper.reproduction.recipe import load_table, table_names
from llmrec.paper.reproduction.records import RECORDED, read_folder
from llmrec.titles.settings import GenerateConfig
from tests.places import ROOT

INDEX = (ROOT / "docs" / "paper_index.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"`((?:llmrec|accelerate launch) [^`]+)`", INDEX)) - {"llmrec data import"})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_index_parses(command: str) -> None:
    words = shlex.split(command)
    if "scripts/gen.py" in words:
        configs = [word for word in words if word.startswith("accelerate_configs/")]
        assert all((ROOT / config).is_file() for config in configs)
        command_of(GenerateConfig, lambda _: None, None)(
            args=words[words.index("scripts/gen.py") + 1 :], standalone_mode=False
        )
        return
    group, words = app, words[1:]
    while hasattr(group, "commands"):
        implied = getattr(group, "DEFAULT", None)
        group = group.commands[words.pop(0) if words[0] in group.commands else implied]
    context = group.make_context("llmrec", words)
    for name in context.params.get("tables") or ():
        assert name == "all" or name in table_names()


def test_every_file_of_the_index_exists() -> None:
    paths = re.findall(r"\]\((?!http)([^)#]+)\)", INDEX)
    assert len(paths) > 30
    for path in paths:
        assert (ROOT / "docs" / path).exists(), path


@pytest.mark.parametrize(
    "part", [f"§{one}" for one in ("2.1", "2.2", "3", "4.1", "4.2", "4.3", "5")] + ["App. A", "B."]
)
def test_every_section_with_something_to_run_is_in_the_index(part: str) -> None:
    assert re.search(rf"^\| [^|]*{re.escape(part)}", INDEX, re.MULTILINE)


def test_every_table_and_figure_is_in_the_index() -> None:
    papers = [name for name in table_names() if name.startswith(("table", "figure"))]
    assert len(papers) == 16
    for name in papers:
        assert f"({f'../llmrec/paper/recipes/{name}.yaml'})" in INDEX
        assert re.search(rf"`llmrec reproduce [^`]*\b{name}\b", INDEX), name


def test_the_leaderboard_shows_the_records_and_what_others_published() -> None:
    page = (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8")
    recipe, records = load_table("minionerec"), read_folder(RECORDED)
    shown = ("recall@10/overall", "ndcg@10/overall")
    for (table, row, protocol), one in records.items():
        if (table, protocol) == ("minionerec", "minionerec_last"):
            cells = [shown_cell(one.cells[column]) for column in shown]
            assert f"| {' | '.join([recipe.rows[row].label, *cells])} |" in page
    for others in recipe.others:
        for label in others.rows:
            assert f"| {' | '.join(shown_number(others.value(label, column)) for column in shown)} |" in page


def test_the_page_of_measurements_is_what_the_records_give() -> None:
    page = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
    assert page == render_docs_page(RECORDED), "write it again: llmrec reproduce --write-docs docs/reproduction.md"


def test_every_record_is_of_a_whole_committed_measurement() -> None:
    records = read_folder(RECORDED)
    assert records
    for (table, row, protocol), one in records.items():
        recipe = load_table(table).rows[row]
        assert protocol in {known.name for known in recipe.protocols}
        assert set(one.cells) <= set(recipe.columns)
        assert one.cells
        assert one.commit
        assert not one.commit.endswith("-dirty"), f"{table} {row}: measured with changes that were not committed"
        assert one.device["cpu"]
        assert all(command.startswith(("llmrec ", "accelerate launch ")) for command in one.commands)
        assert not any(re.search(r"(?<!\S)/", command) for command in one.commands), "a path of one machine"
