"""What README and results claim: figures of rankers are the records', and the README's Python runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import yaml

from tests.places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
PUBLIC, _, SHOP = RESULTS.partition("## Another shop")


def rows_of(text: str) -> list[tuple[str, str, str, str]]:
    """Ranker, MRR@100, Recall@100 and seconds of each row of a table."""
    return re.findall(r"^\| `(\w+)`[^|]*\| (\S+ \[.+?\]) \| (\S+ \[.+?\]) \| ([\d,]+) \|$", text, re.MULTILINE)


def test_the_tables_have_rows() -> None:
    assert [len(rows_of(text)) for text in (README, PUBLIC, SHOP)] == [5, 13, 3]


@pytest.mark.parametrize(
    ("place", "sessions", "name", "mrr", "recall", "seconds"),
    [("public/{}.task2_public", 3469, *row) for row in rows_of(README) + rows_of(PUBLIC)]
    + [("industrial/{}.industrial_cold", 452, *row) for row in rows_of(SHOP)],
)
def test_a_row_is_what_was_recorded(place: str, sessions: int, name: str, mrr: str, recall: str, seconds: str) -> None:
    record = json.loads((ROOT / f"docs/measured/{place.format(name)}.json").read_text(encoding="utf-8"))
    for shown, metric in ((mrr, "mrr@100"), (recall, "recall@100")):
        cell = record["cells"][f"{metric}/overall"]
        assert shown == f"{cell['value']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}]"
        assert cell["n"] == sessions
    assert seconds == f"{record['seconds']:,.0f}"


def test_a_figure_of_the_prose_is_what_was_recorded() -> None:
    """Rounded as it is written; the table has its own test."""
    recorded = json.loads((ROOT / "docs/measured/public/covisit.task2_public.json").read_text(encoding="utf-8"))
    learnt = re.findall(r"Learnt from ([\d,]+) labelled", recorded["differs"][0])[0]
    paper = yaml.safe_load((ROOT / "llmrec/paper/recipes/table1.yaml").read_text(encoding="utf-8"))
    sessions, _, products = paper["rows"]["amazon_m2"]["published"]
    log = (ROOT / "docs/experiments/speed.md").read_text(encoding="utf-8").partition("3.6 million sessions take?")[2]
    fit, one = re.findall(r"fitted in ([\d.]+) s .* one session in ([\d.]+) ms", log)[0]
    expected = [
        "2023",
        f"{sessions / 1e6:.1f} M",
        f"{products / 1e6:.1f} M",
        f"{recorded['cells']['mrr@100/overall']['n']:,}",
        "95 %",
        learnt,
        f"{sessions / 1e6:.1f} M",
        f"{float(fit):.0f} s",
        f"{float(one):.1f} ms",
    ]
    no_prose = r"```.*?```|`[^`]*`|^\|[^\n]*|\]\(.*?\)|Amazon-M2|Apache-2.0|(Task|phase) \d"
    prose = re.sub(no_prose, "", README, flags=re.S | re.M)
    assert re.findall(r"\d[\d,.]*\d(?: [Msm%]+\b| %)?|\d", prose) == expected


def test_the_picture_is_there_and_small() -> None:
    for path in re.findall(r"!\[.+?\]\((.+?)\)", README):
        assert (ROOT / path).stat().st_size < 200_000


def test_its_lines_of_python_run(tmp_path, monkeypatch, tiny_store) -> None:
    """The first block of Python, on a store of the tests'."""
    code = next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "open_store" in block)
    (tmp_path / "stores").mkdir()
    (tmp_path / "stores" / "demo").symlink_to(tiny_store.path)
    monkeypatch.chdir(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint(len(lists))"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 0
