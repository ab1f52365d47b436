"""Verbs on data whose locales, ids, titles, brands and places hold what a terminal or a page would take for more."""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from llmrec.cli import main
from llmrec.schema import PRODUCT_COLUMNS
from tests.hostile import HOSTILE, UNSAFE

LOCALES = ("[/]", "$\\frac{$", "=HYPERLINK(1)")
TITLES = [*(text for text in HOSTILE[:-1] if text != "\ud800"), "x" * 100_000]
IDS = [
    f"{number}{text[:30]}" for number, text in enumerate(TITLES) if text.isprintable() and not {*text} & {*"\\ ,\"'"}
]


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Status and words of a command: nothing in them moves or colours a terminal, and there is no traceback."""
    with pytest.raises(SystemExit) as stopped:
        main([str(one) for one in arguments])
    text = "".join(capsys.readouterr())
    assert not set(text) & set(UNSAFE)
    assert "Traceback" not in text
    return int(stopped.value.code or 0), text


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("any") / "[red]it's\x1b[31m\u202e"
    draw, raw = random.Random(0), folder / "raw"
    raw.mkdir(parents=True)
    with (raw / "products_train.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(PRODUCT_COLUMNS)
        for locale in LOCALES:
            for item, title in zip(IDS, draw.sample(TITLES, len(IDS)), strict=True):
                row = {"id": item, "locale": locale, "title": title, "price": 1.5, "brand": title[:40]}
                rows.writerow([row.get(column, "") for column in PRODUCT_COLUMNS])
    with (raw / "sessions_train.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["prev_items", "next_item", "locale"])
        for locale in LOCALES * 40:
            *items, target = draw.sample(IDS, 4)
            rows.writerow([f"[{' '.join(map(repr, items))}]", target, locale])
    with pytest.raises(SystemExit) as stopped:
        main(["data", "import", str(raw), str(folder / "store")])
    assert not stopped.value.code
    return folder


def test_runs_and_their_scores(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, held = place / "store", place / "held"
    sessions, run, result = held / "sessions.parquet", place / "[b]run.parquet", place / "r.json"
    assert told(capsys, "data", "import", place / "raw", place / "again")[0] == 0
    status, text = told(capsys, "data", "holdout", store / "sessions_development.parquet", held)
    assert status == 0
    assert "it's\\x1b[31m\\u202e" in text
    assert told(capsys, "data", "pick", sessions, place / "p.parquet", "--locale", "[/]")[0] == 0
    rank = ("rank", "covisit", "--train", held / "train.parquet", "--sessions", sessions)
    assert told(capsys, *rank, "--out", run)[0] == 0
    status, text = told(
        capsys, "evaluate", run, "--targets", held / "targets.parquet", "--json", result, "--by", "locale"
    )
    assert status == 0
    assert "| [/] |" in text
    assert "| $\\\\frac{$ |" in text
    status, text = told(capsys, "results", f"a|b `c` <b>[x](http://x.example)={result}", "--out", place / "t.md")
    assert status == 0
    assert "| a\\|b \\`c\\` &lt;b>[x]\\(http://x.example) |" in text
    assert told(capsys, "blend", run, run, "--out", place / "b.parquet")[0] == 0
    assert told(capsys, "last-title", store, "--out", place / "l.parquet")[0] == 0
    status, text = told(capsys, "data", "pick", sessions, place / "q.parquet", "--locale", "no\x1b[31m\u202e")
    assert status == 2
    assert "no\\x1b[31m\\u202e" in text


def test_statistics_and_their_files(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "stats", place / "store", "--out", place / "stats")[0] == 0
    page = (place / "stats" / "report.html").read_text(encoding="utf-8")
    assert not set(page) & set(UNSAFE)
    assert "$\\frac{$" in page
    with (place / "stats" / "table_2.csv").open(encoding="utf-8", newline="") as file:
        cells = {row["locale"] for row in csv.DictReader(file)}
    assert {"'=HYPERLINK(1)", "[/]", "$\\frac{$"} <= cells
    assert not [cell for cell in cells if cell.startswith("=")]


def test_titles_and_their_neighbours(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vectors, products = place / "vectors", place / "store" / "products.parquet"
    assert told(capsys, "embed", products, "--out", vectors, "--dim", "8")[0] == 0
    status, text = told(capsys, "similar", vectors, "[/] \x1b[31m日本語", "--locale", "[/]")
    assert status == 0
    assert text.count("[/]") >= 10
    assert told(capsys, "similar", vectors, "x", "--json")[0] == 0
    assert told(capsys, "evaluate-alignment", vectors, "--plot", place / "a.svg", "--json", place / "a.json")[0] == 0
    assert told(capsys, "impute", vectors, "--products", products)[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--no\x1b[31m",),
        ("no\x1b[2J",),
        ("data", "no\u202e"),
        ("similar", "/no/[/]\x1b[31m", "x"),
        ("similar", "x", "y", "--k", "\x1b[31m"),
        ("evaluate", "no\x1b]0;x\x07.parquet", "--targets", "[/red]"),
        ("rank", "[/red]\x1b[31m", "--train", "a", "--sessions", "b", "--out", "c"),
        ("prompts", "render", "[/]\x1b.yaml", "--data", "x", "--session", "0"),
        ("plan", "--recipe", "no\x1b[31m" + "x" * 100_000),
    ],
)
def test_a_wrong_word_is_one_line(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, text = told(capsys, *arguments)
    assert status == 2
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    assert len(text) < 5_000


@pytest.mark.parametrize("changes", ["LC_ALL=C PYTHONCOERCECLOCALE=0 PYTHONUTF8=0", "PYTHONIOENCODING=cp1252"])
def test_help_in_any_encoding(changes: str) -> None:
    env = os.environ | dict(one.split("=") for one in changes.split())
    for words in (["--help"], ["rank", "--help"], ["prompts", "list"]):
        code = f"from llmrec.cli import main; main({words!r})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=False, cwd=Path.cwd())
        assert done.returncode == 0, done.stderr
