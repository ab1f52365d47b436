"""Verbs on data whose locales, ids, titles, brands and places hold what a terminal or a page would take for more."""

from __future__ import annotations

import csv
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

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


def test_titles_and_their_neighbours(place: Path, vectors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    products = place / "store" / "products.parquet"
    status, text = told(capsys, "similar", vectors, "[/] \x1b[31m日本語", "--locale", "[/]")
    assert status == 0
    assert text.count("[/]") >= 10
    assert told(capsys, "similar", vectors, "x", "--json")[0] == 0
    assert told(capsys, "evaluate-alignment", vectors, "--plot", place / "a.svg", "--json", place / "a.json")[0] == 0
    assert told(capsys, "impute", vectors, "--products", products)[0] == 0


@pytest.fixture(scope="module")
def vectors(place: Path) -> Path:
    """Embeddings of the products."""
    folder = place / "[i]vectors"
    with pytest.raises(SystemExit) as stopped:
        main(["embed", str(place / "store" / "products.parquet"), "--out", str(folder), "--dim", "8"])
    assert not stopped.value.code
    return folder


def sets(*settings: str) -> list[str]:
    return [word for one in settings for word in ("--set", one)]


def test_an_index_that_is_built_and_changed(place: Path, vectors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more, products = place / "[b]m.csv", place / "raw" / "products_train.csv"
    with products.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    with more.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([rows[0], *([f"N{row[0]}", *row[1:]] for row in rows[1:6])])
    assert told(capsys, "index", vectors, "--kind", "exact")[0] == 0
    assert told(capsys, "index", vectors, "--add", more)[0] == 0
    assert told(capsys, "index", vectors, "--remove", more)[0] == 0


def test_a_search_of_settings_and_an_explained_list(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learn, space = place / "store" / "sessions_development.parquet", place / "[b]\x1b[1m.yaml"
    space.write_text("search:\n  neighbours: [20, 40]\n", encoding="utf-8")
    tuned = place / "[red].yaml"
    assert told(capsys, "tune", "covisit", "--train", learn, "--out", tuned, "--trials", "2", "--space", space)[0] == 0
    fused = sets("sources=[covisit_near]", "scorers=[]", "rounds=3", "min_leaf=3", "folds=2", "threads=1")
    assert told(capsys, "rank", "fusion", "--train", learn, "--save", place / "[b]fused", *fused)[0] == 0
    asked = place / "store" / "sessions_validation.parquet"
    explain = ("explain", place / "[b]fused", "--sessions", asked, "--limit", "3")
    assert told(capsys, *explain, "--out", place / "why[b].json")[0] == 0


def test_chosen_titles_and_the_products_that_they_name(
    place: Path, vectors: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = sets("sources=[covisit_near]", "folds=2", "rounds=3", "choice_rounds=3", "min_leaf=3", "threads=1")
    select = ("select", "--data", place / "store", "--split", "validation", "--out", place / "=s.parquet", *small)
    assert told(capsys, *select, "--save", place / "[b]selector")[0] == 0
    ground = ("ground", place / "=s.parquet", "--index", vectors, "--out", place / "$g.parquet", "--k", "5")
    assert told(capsys, *ground)[0] == 0


def test_the_paper_s_tables_of_such_data(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = told(capsys, "reproduce", "table1", "--data", place / "store", "--out", place / "[i]paper")
    assert status == 0
    assert not set((place / "[i]paper" / "report.html").read_text(encoding="utf-8")) & set(UNSAFE)


def test_title_models(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    tiny = ("--tiny-width", "32", "--tiny-layers", "1", "--tiny-vocab", "400", "--max-steps", "1", "--batch-size", "4")
    limits = ("--limit", "4", "--max-target-tokens", "8", "--max-source-tokens", "32", "--log-to", "none", "--k", "1")
    store, adapter = place / "store", place / "[b]lora"
    generate = ("generate", "--data", store, *limits)

    def ends_well(*words: object) -> str:
        AcceleratorState._reset_state(reset_partial_state=True)
        status, text = told(capsys, *words)
        assert status == 0, text
        return text

    ends_well(*generate, "--base-model", "tiny", *tiny, "--output-dir", place / "[b]work")
    model = place / "[b]work" / "model"
    lora = ("--lora-rank", "2", "--max-steps", "1", "--batch-size", "4")
    ends_well(*generate, "--base-model", model, *lora, "--output-dir", adapter)
    ends_well("merge-adapter", adapter / "model", "--out", place / "[b]merged")
    ends_well("trim", model, "--data", store, "--out", place / "[b]trimmed", "--frequent", "300")
    compare = ("prompts", "compare", "plain", "--data", store, "--model", model, "--k", "1", "--sessions", "4")
    ends_well(*compare, "--out", place / "[b]compared")
    assert not set((place / "[b]compared" / "report.html").read_text(encoding="utf-8")) & set(UNSAFE)
    ends_well("prompts", "export", "plain", "--data", store, "--split", "validation", "--out", place / "[b]prompts")


@pytest.mark.slow
def test_a_sweep(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, grid = place / "[b]r.yaml", place / "[red]g.yaml"
    recipe.write_text(
        "kind: titles\nsummary: '[/red]'\nsettings: {base_model: tiny, tiny_width: 32, tiny_layers: 1, "
        "tiny_vocab: 400, k: 1, max_steps: 1, batch_size: 4, limit: 4, max_source_tokens: 32, max_target_tokens: 8}\n",
        encoding="utf-8",
    )
    grid.write_text("grid: {learning_rate: [1e-3]}\n", encoding="utf-8")
    sweep = ("sweep", recipe, "--data", place / "store", "--out", place / "[b]sweep", "--grid", grid)
    status, text = told(capsys, *sweep, "--log-to", "none")
    assert status == 0, text


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
        ("explain", "no\x1b[31m[/]", "--sessions", "x", "--out", "y"),
        ("ground", "no\x1b[31m[/]", "--index", "x", "--out", "y"),
        ("rerank", "no\x1b[31m[/]", "--model", "x", "--sessions", "y", "--products", "z", "--out", "o"),
        ("index", "no\x1b[31m[/]"),
        ("select", "--load", "no\x1b[31m[/]", "--data", "x", "--out", "y"),
        ("tune", "[/]\x1b[31m", "--train", "x", "--out", "y.yaml"),
        ("merge-adapter", "no\x1b[31m[/]", "--out", "y"),
        ("trim", "no\x1b[31m[/]", "--data", "x", "--out", "y"),
        ("sweep", "no\x1b[31m[/]", "--data", "x", "--out", "y"),
        ("reproduce", "[/]\x1b[31m", "--data", "x", "--out", "y"),
        ("generate", "--data", "no\x1b[31m[/]", "--model", "x"),
        ("prompts", "compare", "[/]\x1b[31m", "--data", "x", "--model", "y", "--out", "z"),
        ("prompts", "export", "[/]\x1b[31m", "--data", "x", "--out", "z"),
        ("plan", "--recipe", "no\x1b[31m" + "x" * 100_000),
    ],
)
def test_a_wrong_word_is_one_line(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, text = told(capsys, *arguments)
    (line,) = [one for one in text.splitlines() if not re.search(r": \d+:\d\d:\d\d$", one)]  # slow ones tell
    assert status == 2
    assert line.startswith("error: ")
    assert len(text) < 5_000


@pytest.mark.parametrize("changes", ["LC_ALL=C PYTHONCOERCECLOCALE=0 PYTHONUTF8=0", "PYTHONIOENCODING=cp1252"])
def test_help_in_any_encoding(changes: str) -> None:
    env = os.environ | dict(one.split("=") for one in changes.split())
    for words in (["--help"], ["rank", "--help"], ["prompts", "list"]):
        code = f"from llmrec.cli import main; main({words!r})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=False, cwd=Path.cwd())
        assert done.returncode == 0, done.stderr
