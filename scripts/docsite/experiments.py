"""The log of experiments: entries in ``docs/experiments/``, what is wrong with them, and their index."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

__all__ = [
    "LOG",
    "Entry",
    "anchor",
    "faults",
    "machines_of",
    "pages_of",
    "read_entries",
    "read_log",
    "render_index",
    "with_index",
]

LOG: Final = Path(__file__).resolve().parents[2] / "docs" / "experiments.md"
FIELDS: Final = ("Date", "Answer", "Command", "Commit", "Machine", "Status")
BEGIN: Final = "<!-- The index: written by scripts/experiments_index.py, not by hand. -->\n"
END: Final = "<!-- End of the index. -->"
UNKNOWN: Final = "not recorded"
_SUPERSEDED: Final = re.compile(r"superseded by \[[^]]+\]\(([\w.-]*)#([\w-]+)\)")


@dataclass(frozen=True)
class Entry:
    """One question of a topic's page.

    ``file`` is the page's name, ``topic`` its title, ``fields`` the head's names and values, ``body`` what follows it.
    """

    file: str
    topic: str
    question: str
    fields: dict[str, str]
    body: str

    @property
    def place(self) -> tuple[str, str]:
        """Where the entry is: file and anchor."""
        return self.file, anchor(self.question)


def anchor(heading: str) -> str:
    """The anchor that GitHub and MkDocs give a heading."""
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def read_entries(text: str, file: str) -> list[Entry]:
    """The entries of a topic's page, in its order: a heading of level 2 each, then the head as a list."""
    introduction, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    topic = introduction.split("\n", 1)[0].removeprefix("# ")
    return [_entry(part, file, topic) for part in parts]


def _entry(part: str, file: str, topic: str) -> Entry:
    question, _, rest = part.partition("\n")
    head = re.match(r"\s*((?:(?:- |  ).+\n?)*)", rest)
    lines = re.sub(r"\n  ", " ", head[1] if head else "")  # a value may go on in an indented line
    fields = dict(re.findall(r"^- \*\*(\w+):\*\* (.+)$", lines, re.MULTILINE))
    return Entry(file, topic, question.strip(), fields, rest[head.end() if head else 0 :])


def faults(entries: Sequence[Entry], machines: Sequence[str]) -> list[str]:
    """What is wrong with the entries, a line each: fields, machines, commits, order, links of the status."""
    known = {entry.place: entry for entry in entries}
    found = [
        f"{entry.file}: {entry.question}: {fault}" for entry in entries for fault in _faults(entry, machines, known)
    ]
    if len(known) < len(entries):
        found.append("two entries of a page have the same question")
    for newer, older in pairwise(entries):
        if newer.file == older.file and newer.fields.get("Date", "") < older.fields.get("Date", ""):
            found.append(f"{older.file}: {older.question}: newer than the entry above it; the newest comes first")
    return found


def _faults(entry: Entry, machines: Sequence[str], known: dict[tuple[str, str], Entry]) -> list[str]:
    fields, found = entry.fields, []
    if tuple(fields) != FIELDS:
        return [f"its head has {', '.join(fields) or 'nothing'}; it takes {', '.join(FIELDS)}"]
    if not entry.question.endswith("?"):
        found.append("the heading is no question")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", fields["Date"]):
        found.append(f"the date {fields['Date']} is not year-month-day")
    if "|" in fields["Answer"] or "](" in fields["Answer"]:
        found.append("the answer holds a bar or a link, which the index cannot repeat")
    if not (re.search(r"`[^`]+`", fields["Command"]) or fields["Command"].startswith(UNKNOWN)) and not (
        fields["Command"].startswith("below") and "```" in entry.body
    ):
        found.append(f"the command is neither `code`, nor 'below' with a block, nor '{UNKNOWN}'")
    if not re.search(r"`[0-9a-f]{7}`", fields["Commit"]) and not fields["Commit"].startswith(UNKNOWN):
        found.append(f"the commit is neither seven hexadecimal digits as code nor '{UNKNOWN}'")
    if not any(re.match(rf"{re.escape(name)}\b", fields["Machine"]) for name in (*machines, UNKNOWN)):
        found.append(f"the machine {fields['Machine']} is not one of {', '.join(machines)}, nor '{UNKNOWN}'")
    return found + _faults_of_status(entry, known)


def _faults_of_status(entry: Entry, known: dict[tuple[str, str], Entry]) -> list[str]:
    status = entry.fields["Status"]
    if status == "current":
        return []
    if not (found := _SUPERSEDED.fullmatch(status)):
        return [f"the status '{status}' is neither 'current' nor 'superseded by [question](page.md#anchor)'"]
    if not (by := known.get((found[1] or entry.file, found[2]))):
        return [f"superseded by {found[1]}#{found[2]}, which is no entry"]
    if by.fields.get("Status") != "current" or by.fields.get("Date", "") < entry.fields["Date"]:
        return [f"superseded by '{by.question}', which is older or itself superseded; link the newest"]
    return []


def render_index(entries: Sequence[Entry]) -> str:
    """The index in Markdown: a table for each topic, in the order of the pages and their entries."""
    old = sum(entry.fields["Status"] != "current" for entry in entries)
    parts = [f"{len(entries)} questions; {old} of the answers are superseded."]
    for topic, file in dict.fromkeys((entry.topic, entry.file) for entry in entries):
        rows = [_row(entry) for entry in entries if entry.file == file]
        head = ["| date | question | answer | status |", "|---|---|---|---|"]
        parts += [f"### [{topic}](experiments/{file})", "\n".join(head + rows)]
    return "\n\n".join(parts) + "\n"


def _row(entry: Entry) -> str:
    file, name = entry.place
    question = f"[{entry.question}](experiments/{file}#{name})"
    by = _SUPERSEDED.fullmatch(entry.fields["Status"])
    status = f"[superseded](experiments/{by[1] or file}#{by[2]})" if by else "current"
    return f"| {entry.fields['Date']} | {question} | {entry.fields['Answer']} | {status} |"


def machines_of(log: str) -> list[str]:
    """The names of machines: the first column of the log's table of them."""
    table = log.partition("## Machines\n")[2].partition("\n## ")[0]
    return [name for name in re.findall(r"^\| (\w+) \|", table, re.MULTILINE) if name != "name"]


def pages_of(log: str) -> list[str]:
    """The topics' pages in the log's order: the names of files that its table of topics links."""
    return re.findall(r"^\| \[[^]]+\]\(experiments/([\w.-]+)\) \|", log, re.MULTILINE)


def with_index(log: str, index: str) -> str:
    """The log with the index between its two marks.

    Raises:
        ValueError: a mark is missing.
    """
    before, begin, rest = log.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("the log lacks the marks of its index")
    return f"{before}{BEGIN}\n{index}\n{END}{after}"


def read_log(path: Path = LOG) -> tuple[str, list[Entry]]:
    """The log's own text and the entries of its pages."""
    log = path.read_text(encoding="utf-8")
    pages = [path.with_suffix("") / name for name in pages_of(log)]
    return log, [entry for page in pages for entry in read_entries(page.read_text(encoding="utf-8"), page.name)]
