"""What a reproduction will take, told before it is run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmrec.cli import main
from llmrec.paper.reproduction.job import ReproduceJob
from llmrec.paper.reproduction.plan import RATES, Estimate, make_plan, render_plan
from llmrec.paper.reproduction.recipe import load_table
from llmrec.paper.reproduction.sizes import Size, Sizes, flag_values


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    rows = [f"\"['B{row % 7}' 'B{row % 5}']\",B{row % 3},US" for row in range(40)]
    (folder / "sessions_train.csv").write_text("\n".join(["prev_items,next_item,locale", *rows]) + "\n")
    (folder / "products_train.csv").write_text("id,locale,title,price,brand,color,size,model,material,author,desc\n")
    return folder


def job(shop: Path, *only: str, resume: bool = False) -> ReproduceJob:
    out = shop.parent / "out"
    return ReproduceJob(tables=("industrial",), data=shop, out=out, only=only, resume=resume)


def test_sizes_are_those_of_files_that_are_not_there_yet(shop: Path) -> None:
    (one,) = make_plan(job(shop, "covisit"))
    assert (one.learnt, one.ranked) == (36, 4)  # a tenth of forty is held out
    assert one.seconds == pytest.approx(5 + 36 * RATES["*"].session_s + 4 * RATES["*"].ranked_s)
    assert one.source.endswith("speed.md")
    assert not (shop.parent / "out").exists()


def test_the_commands_of_a_protocol_say_what_they_will_make(shop: Path) -> None:
    protocol = load_table("industrial").rows["covisit"].protocols[0]
    sizes = Sizes(protocol, {**protocol.values, "data": str(shop), "work": "nowhere"})
    assert sizes.of(["nowhere/holdout/train.parquet", "nowhere/holdout/sessions.parquet"]) == Size(40, 7)
    assert sizes.of(["nowhere/other.parquet"]) is None


def test_flags_take_what_stands_behind_them() -> None:
    words = ["llmrec", "rank", "covisit", "--train", "a", "b", "--transductive", "--locale", "UK", "--locale", "DE"]
    assert flag_values(words, "--train") == ["a", "b"]
    assert flag_values(words, "--locale") == ["UK", "DE"]
    assert flag_values(words, "--sessions") == []


def test_what_is_finished_or_cannot_be_told_is_said(shop: Path) -> None:
    record = shop.parent / "out" / "records" / "industrial" / "covisit.industrial_cold.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    done, titles = make_plan(job(shop, "covisit", "tiny_mt5_k1", resume=True))
    assert (done.seconds, done.source) == (0.0, "finished; it is kept")
    assert (titles.seconds, titles.source) == (None, "scripts/gen.py: llmrec plan demo tells what it needs")
    assert "1 of 2 rows" in render_plan([done, titles])
    known = Estimate("llm", "select", "p", None, None, 61.0, None, "its record")
    assert "one after the other, memory not recorded" in render_plan([known])


def test_long_times_and_large_memory_are_readable() -> None:
    rows = [Estimate("table7", "core", "p", 1, 1, seconds, 1e5, "x") for seconds in (40.0, 600.0, 7200.0, 1e6)]
    shown = render_plan(rows)
    assert all(f"| {time} |" in shown for time in ("40 s", "10 min", "2.0 h", "12 days"))
    assert "more than is free here" in shown


def test_the_command_prints_it_and_runs_nothing(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["reproduce", "industrial", "--data", str(shop), "--only", "covisit", "--plan", "--json"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--out", str(shop.parent / "out")])
    assert ended.value.code == 0
    document = json.loads(capsys.readouterr().out)
    assert document["result"][0]["row"] == "covisit"
    assert document["result"][0]["learnt"] == 36
    assert not (shop.parent / "out").exists()
