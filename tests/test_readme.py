"""What the README claims: every figure of its table is the record's, and what it says of Python runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)`[^|]*\| (\S+ \[.+?\]) \| (\S+ \[.+?\]) \| ([\d,]+) \|$", README, re.MULTILINE)


def test_the_table_has_rows() -> None:
    assert len(ROWS) >= 5


@pytest.mark.parametrize(("name", "mrr", "recall", "seconds"), ROWS)
def test_a_row_is_what_was_recorded(name: str, mrr: str, recall: str, seconds: str) -> None:
    record = json.loads((ROOT / f"docs/measured/public/{name}.task2_public.json").read_text(encoding="utf-8"))
    for shown, metric in ((mrr, "mrr@100"), (recall, "recall@100")):
        cell = record["cells"][f"{metric}/overall"]
        assert shown == f"{cell['value']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}]"
        assert cell["n"] == 3469
    assert seconds == f"{record['seconds']:,.0f}"


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
