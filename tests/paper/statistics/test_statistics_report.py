"""What ``llmrec stats`` writes: files that hold the numbers, and a page that a real browser shows with its plots."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import matplotlib.image
import pytest

from llmrec.cli import main
from llmrec.data.store import Store
from llmrec.errors import DataError
from llmrec.paper.statistics.describe import run_statistics_job
from llmrec.paper.statistics.job import StatisticsJob
from tests.browser import needs_chromium, open_page, svg_marks

FIGURES = ["figure_2a", "figure_2b", "figure_2c", "figure_2d", "figure_2e", "figure_2f", "figure_4", "figure_5"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The statistics of the smallest synthetic data set, straight from its CSV files."""
    from llmrec.synth import synthesize

    folder = tmp_path_factory.mktemp("stats")
    synthesize(folder / "raw", size="tiny", seed=0)
    run_statistics_job(StatisticsJob(data=folder / "raw", out=folder / "out", sknn_sample=300))
    return folder / "out"


def test_every_figure_is_there_as_numbers_and_as_pictures(written: Path) -> None:
    for name in FIGURES:
        with (written / f"{name}.csv").open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        assert len(rows) > 1
        picture = matplotlib.image.imread(written / f"{name}.png")
        assert picture.shape[0] > 300
        assert (picture[..., :3] < 0.9).any(axis=-1).mean() > 0.005  # not an empty white field
        assert sum(svg_marks((written / f"{name}.svg").read_text(encoding="utf-8"))) > 20


def test_the_tables_agree_with_each_other(written: Path) -> None:
    record = json.loads((written / "statistics.json").read_text(encoding="utf-8"))
    train = {row["locale"]: row for row in record["table_2"] if row["split"] == "train"}
    locales = [name for name in train if name != "all"]
    assert record["counted"] == ["train"]
    assert record["table_1"]["train_sessions"] == sum(train[name]["num_sessions"] for name in locales)
    assert record["provenance"]["seconds"] > 0
    with (written / "figure_2c.csv").open(encoding="utf-8", newline="") as handle:
        counted = [row for row in csv.DictReader(handle) if row["locale"] == "all"]
    items = sum(int(row["length"]) * int(row["num_sessions"]) for row in counted)
    assert items == train["all"]["num_interactions"]


@needs_chromium
def test_a_real_browser_shows_the_page_and_its_plots(written: Path, tmp_path: Path) -> None:
    page = open_page(written / "report.html", tmp_path, height=6000)
    assert page.console == []
    marks = svg_marks(page.document)
    assert len(marks) == len(FIGURES)
    assert min(marks) > 20
    assert len(re.findall(r'role="img" aria-label="[^"]{60,}"', page.document)) == len(FIGURES)
    picture = matplotlib.image.imread(page.png)
    assert (picture[..., :3].max(axis=-1) - picture[..., :3].min(axis=-1) > 0.2).mean() > 0.01  # coloured marks


def test_the_page_needs_nothing_from_elsewhere(written: Path) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', text.replace("xmlns", ""))


def test_the_terminal_ends_with_the_next_command(
    tiny_store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for extra, following in (
        ([], "next: llmrec stats"),
        (["--out", str(tmp_path / "out"), "--sknn-sample", "0"], "next: llmrec rank popularity"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["stats", str(tiny_store.path), *extra])
        assert stop.value.code == 0
        shown = capfd.readouterr()
        assert "2d: with a repeated product" in " ".join(shown.out.replace("│", " ").split())
        assert shown.err.splitlines()[-1].startswith(following)
    assert not (tmp_path / "out" / "figure_2f.csv").exists()
    with pytest.raises(SystemExit) as stop:
        main(["stats", str(tmp_path / "nowhere")])
    assert stop.value.code == 2
    assert "no such folder" in capfd.readouterr().err


def test_one_shop_with_one_locale_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "sessions.csv"
    file.write_text("prev_items,locale\n\"['a' 'b']\",US\n\"['c' 'd']\",US\n", encoding="utf-8")
    run_statistics_job(StatisticsJob(data=file, out=tmp_path / "out"))
    # no session repeats anything, so there is no Figure 2e and no Figure 5
    written = sorted(path.stem for path in (tmp_path / "out").glob("*.csv"))
    assert written == [
        *("figure_2a", "figure_2b", "figure_2c", "figure_2d", "figure_2f", "figure_4"),
        *("table_1", "table_2"),
    ]


def test_sessions_without_items_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "sessions.csv"
    for text in ("prev_items,locale\n", "prev_items,locale\n[],US\n"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=r"no item in its sessions \(sessions\); nothing to count"):
            run_statistics_job(StatisticsJob(data=file, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
