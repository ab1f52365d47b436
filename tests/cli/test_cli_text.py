"""Text verbs end to end, on the built-in synthetic data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from llmrec.synth import synthesize


def llmrec(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from llmrec.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    synthesize(folder / "raw", size="tiny", seed=0)
    done = llmrec("embed", "raw/products_train.csv", "--out", "titles", "--dim", "32", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_alignment_is_printed_written_and_drawn(embedded: Path) -> None:
    flags = ("--json", "alignment.json", "--plot", "alignment.svg", "--queries", "20", "--metric", "hit@10")
    done = llmrec("evaluate-alignment", "titles", *flags, cwd=embedded)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("### ")] == [
        "### Hit@1",
        "### Hit@10",
        "### MRR",
        "### All pairs",
    ]
    record = json.loads((embedded / "alignment.json").read_text(encoding="utf-8"))
    assert len(record["pairs"]) == 30  # six locales
    assert all(0 <= pair["hit_at_1"] <= pair["mrr"] <= 1 and pair["num_queries"] <= 20 for pair in record["pairs"])
    drawn = (embedded / "alignment.svg").read_text(encoding="utf-8")
    assert all(f">{name}<" in drawn for name in ("UK", "JP", "locale that asks", "locale that answers"))


def test_alignments_of_two_encoders_are_compared_and_other_products_refused(embedded: Path) -> None:
    done = llmrec("evaluate-alignment", "titles", "--beside", "titles", "--queries", "5", cwd=embedded)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| titles |") == 2
    assert "+0.000 [+0.000, +0.000]" in done.stdout
    first = (embedded / "raw" / "products_train.csv").read_text(encoding="utf-8").splitlines(keepends=True)[:40]
    (embedded / "few.csv").write_text("".join(first), encoding="utf-8")
    assert llmrec("embed", "few.csv", "--out", "few", "--dim", "8", cwd=embedded).returncode == 0
    done = llmrec("evaluate-alignment", "titles", "--beside", "few", cwd=embedded)
    assert done.returncode == 2
    assert "few: other products than those of titles; embed the same file" in done.stderr


def test_attributes_are_measured_and_written(embedded: Path) -> None:
    flags = (
        "--products",
        "raw/products_train.csv",
        "--attribute",
        "brand",
        "--attribute",
        "colour",
        "--out",
        "a.parquet",
    )
    done = llmrec("impute", "titles", *flags, cwd=embedded)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| brand")]
    assert len(rows) == 6
    assert sum(float(row[4]) for row in rows) > sum(float(row[5]) for row in rows)  # better than the most frequent one
    values = pq.read_table(embedded / "a.parquet").to_pydict()
    assert set(values["attribute"]) <= {"brand", "color"}
    assert all(0 < share <= 1.0001 for share in values["confidence"])
    known = pq.read_table(embedded / "titles" / "products.parquet").num_rows
    assert 0 < len(values["id"]) < 2 * known


def test_wrong_input_is_one_line(embedded: Path) -> None:
    for arguments, message in (
        (
            ("impute", "titles", "--products", "raw/products_train.csv", "--attribute", "taste"),
            "--attribute must be one of",
        ),
        (("evaluate-alignment", "nowhere"), "nowhere: no embeddings here"),
        (("evaluate-alignment", "titles", "--plot", "plot.gif"), "plots are written as .png or .svg"),
    ):
        done = llmrec(*arguments, cwd=embedded)
        assert done.returncode == 2
        assert message in done.stderr.splitlines()[-1]
