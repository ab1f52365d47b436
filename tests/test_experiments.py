"""The log of experiments: every entry is whole, the index is what the entries give, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docsite.experiments import (
    LOG,
    anchor,
    faults,
    machines_of,
    pages_of,
    read_entries,
    read_log,
    render_index,
    with_index,
)

PAGES = [LOG, *sorted(LOG.with_suffix("").glob("*.md"))]
ENTRY = """## {question}

- **Date:** {date}
- **Answer:** Yes: 0.4
  and more.
- **Command:** {command}
- **Commit:** {commit}
- **Machine:** {machine}
- **Status:** {status}

Why.
"""
GOOD = {
    "question": "Does it help?",
    "date": "2026-11-29",
    "command": "`llmrec demo`",
    "commit": "`c6802ee`",
    "machine": "B, one thread",
    "status": "current",
}
OLD = GOOD | {"question": "Did it help?", "date": "2026-11-01", "status": "superseded by [that](#does-it-help)"}


def faults_of(*entries: dict[str, str]) -> list[str]:
    text = "# Topic\n\n" + "\n".join(ENTRY.format(**entry) for entry in entries)
    return faults(read_entries(text, "topic.md"), ["A", "B"])


def test_the_log_is_whole_and_its_index_current() -> None:
    log, entries = read_log()
    assert faults(entries, machines_of(log)) == []
    assert log == with_index(log, render_index(entries)), "write it again: python scripts/experiments_index.py"
    assert [f"{name}.md" for name in sorted(path.stem for path in PAGES[1:])] == sorted(pages_of(log))


def test_entries_are_on_the_pages_of_topics_alone() -> None:
    headings = re.findall(r"^## (.+)$", without_blocks(LOG), re.MULTILINE)
    assert headings == ["How to read it", "How to add an entry", "Machines", "Index"]


def test_a_whole_entry_and_the_one_it_supersedes_have_no_fault() -> None:
    assert faults_of(GOOD, OLD) == []


def test_a_value_goes_on_in_an_indented_line_and_shows_in_the_index() -> None:
    index = render_index(read_entries("# Topic\n\n" + ENTRY.format(**GOOD), "topic.md"))
    assert "| 2026-11-29 | [Does it help?](experiments/topic.md#does-it-help) | Yes: 0.4 and more. | current |" in index


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"question": "It helps"}, "no question"),
        ({"date": "29 November"}, "not year-month-day"),
        ({"command": "the usual one"}, "neither `code`"),
        ({"command": "below"}, "neither `code`"),  # there is no block
        ({"commit": "HEAD"}, "seven hexadecimal digits"),
        ({"machine": "my laptop"}, "not one of A, B"),
        ({"status": "done"}, "neither 'current' nor"),
        ({"status": "superseded by [that](#nothing)"}, "which is no entry"),
        ({"status": "superseded by [that](#did-it-help)"}, "older or itself superseded"),
    ],
)
def test_a_fault_is_found(change: dict[str, str], fault: str) -> None:
    (found,) = faults_of(GOOD | change, OLD | {"status": "current"})
    assert fault in found


def test_a_field_that_is_missing_or_a_newer_entry_below_is_found() -> None:
    text = "# Topic\n\n" + ENTRY.format(**GOOD).replace("- **Commit:** `c6802ee`\n", "")
    (found,) = faults(read_entries(text, "topic.md"), ["B"])
    assert "its head has Date, Answer, Command, Machine, Status" in found
    (found,) = faults_of(OLD | {"status": "current"}, GOOD)
    assert "the newest comes first" in found


def without_blocks(path: Path) -> str:
    """The text without blocks of code."""
    return re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_figures_have_leading_zeros(path: Path) -> None:
    prose = re.sub(r"`[^`]*`|\]\([^)]*\)", "", without_blocks(path))
    assert re.findall(r"(?<![\w.])\.\d+", prose) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_between_entries_lead_to_one(path: Path) -> None:
    prose = re.sub(r"`[^`]*#[^`]*`", "", without_blocks(path))
    for file, name in re.findall(r"\]\(([^)#:]*)#([\w-]+)\)", prose):
        target = path.parent / file if file else path
        headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        assert name in map(anchor, headings), f"{path.name}: {file}#{name}"
