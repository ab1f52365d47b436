"""docs/extending.md does what it says: its files are made on a copy of the package, and its commands run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.data.store import Store
from llmrec.testing.ranker_contract import ITEMS, products
from tests.places import ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
TASKS = re.split(r"^## (?=\d)", PAGE, flags=re.MULTILINE)[1:]
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def added(text: str, diff: str) -> str:
    """A text changed by a diff: `` ``: go on to this line; ``+``: add it behind; ``-``: take the one here out."""
    lines, place = text.splitlines(), -1
    for row in diff.splitlines():
        sign, line = row[:1], row[1:]
        if sign == "+":
            place += 1
            lines.insert(place, line)
        elif sign == "-" and place >= 0 and lines[place] == line:
            del lines[place]
            place -= 1
        else:
            place = lines.index(line, max(0, place - 1 if sign == "-" else place + 1))
            if sign == "-":
                del lines[place]
                place -= 1
    return "\n".join(lines) + "\n"


@pytest.fixture
def shop(tmp_path: Path, tiny_store: Store) -> Path:
    """The files that the commands name: a ring of products, each followed by the next."""
    folder = tmp_path / "shop"
    folder.mkdir()
    rows = [[ITEMS[(start + step) % 24] for step in range(2 + start % 3)] for start in range(96)]
    targets = [ITEMS[(ITEMS.index(items[-1]) + 1) % 24] for items in rows]
    locales = ["DE", "FR"] * 48
    table = pa.table({"prev_items": rows, "next_item": targets, "locale": locales})
    pq.write_table(table.slice(0, 72), folder / "train.parquet")
    held = [[row[-1], row[-1]] for row in rows[72:]]  # an item twice: no training session is like it
    sessions = pa.table({"prev_items": held, "locale": locales[72:]})
    pq.write_table(sessions, folder / "sessions.parquet")
    pq.write_table(table.slice(72).select(["next_item", "locale"]), folder / "targets.parquet")
    pq.write_table(products(24), folder / "products.parquet")
    shutil.copytree(tiny_store.path, folder / "stores" / "shop")
    store = folder / "stores" / "shop" / "sessions_development.parquet"
    dutch = pq.read_table(store)
    named = ["NL" if number == 3 else locale for number, locale in enumerate(dutch["locale"].to_pylist())]
    pq.write_table(dutch.set_column(dutch.schema.get_field_index("locale"), "locale", pa.array(named)), store)
    bought = pq.read_table(store.with_name("products.parquet"))
    other = bought.filter(pa.compute.equal(bought["locale"], "UK"))
    as_dutch = other.set_column(1, "locale", pa.array(["NL"] * len(other)))
    pq.write_table(pa.concat_tables([bought, as_dutch]), store.with_name("products.parquet"))
    return folder


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.splitlines()[0])
def test_a_task_of_the_page_works_as_it_is_written(task: str, shop: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name in ("llmrec", "prompts", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    blocks = BLOCK.findall(task)
    files = [path for kind, path, _ in blocks if path]
    assert 1 <= len(files) <= 3
    for kind, path, content in blocks:
        if not path:
            continue
        target = (shop if "/" not in path else copy) / path
        if kind == "diff":
            target.write_text(added(target.read_text(encoding="utf-8"), content), encoding="utf-8")
        else:
            assert not target.exists(), "a new file is no file that is there"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, encoding="utf-8")
    printed = "".join(run(content, shop, copy) for kind, _, content in blocks if kind == "bash")
    for kind, _, content in blocks:
        if kind == "output":
            assert content.strip() in printed


def run(commands: str, shop: Path, copy: Path) -> str:
    """Run the commands of a block with the copied package; what they printed."""
    llmrec = shop / "llmrec"
    llmrec.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from llmrec.cli import main; main()" "$@"\n', "utf-8")
    llmrec.chmod(0o755)
    path = f"{shop}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(copy), "PATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    printed = ""
    for command in commands.replace("\\\n", " ").strip().splitlines():
        place = copy if "pytest" in command else shop
        done = subprocess.run(["sh", "-c", command], cwd=place, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        printed += done.stdout
    return printed


def test_what_a_program_adds_runs(tmp_path: Path) -> None:
    code = re.search(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert code
    done = subprocess.run([sys.executable, "-c", code[1]], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "first_page@100" in done.stdout
