"""``llmrec app``: what it refuses, and the made-up shop that grows while it is looked at."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from llmrec.errors import ConfigError, LlmrecError
from llmrec.serving.held import Held, Limits
from llmrec.serving.loaded import Places
from llmrec.serving.page.app import AppJob, app
from llmrec.serving.page.demo_shop import Shop
from tests.selection.shop import write_store


def test_a_demo_takes_no_other_shop() -> None:
    with pytest.raises(ConfigError, match="leave --ranker"):
        app(AppJob(demo=True, ranker=Path("models/covisit")))
    with pytest.raises(ConfigError, match="leave --workers"):
        app(AppJob(demo=True, workers=2))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"sessions": [Path("nope.parquet")]}, "nope.parquet"),
        ({"sessions": [Path("targets.csv")]}, "targets.csv: no column 'prev_items'"),
        ({"compare": [Path("nope")]}, "nope: no ranker here"),
        ({"runs": Path("nope")}, "runs nope: there is no such folder"),
    ],
)
def test_what_cannot_be_shown_is_told_before_anything_is_loaded(
    asked: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("targets.csv").write_text("next_item,locale\na,UK\n", encoding="utf-8")
    with pytest.raises(LlmrecError, match=told):
        app(AppJob(ranker=Path("models/covisit"), **asked))


def test_a_demo_starts_with_a_ranker_and_grows(tmp_path: Path) -> None:
    write_store(tmp_path / "store")
    shop = Shop(tmp_path)
    planted = shop.planted()
    assert planted["ranker"].name == "covisit"
    assert planted["titles"] is planted["index"] is None

    async def grow() -> list[str]:
        held = Held(places=Places(ranker=planted["ranker"], products=planted["products"]), limits=Limits())
        served: list[str] = []
        async with held.running(), asyncio.timeout(120):
            await held.settled.wait()
            shop.grow(held)
            while not served or shop.growing:
                await asyncio.sleep(0.05)
                kinds = [] if held.service is None else [one.kind for one in held.service.models()]
                served += [name for name in kinds if name not in served]
        return served

    assert asyncio.run(grow()) == ["ranker", "index", "titles"]
    again = Shop(tmp_path).planted()  # all of it is there, and is used again
    assert again["ranker"].name == "fusion"
    assert Path(again["titles"]).is_dir()
    assert again["index"].is_dir()
    assert [file.name for file in sorted((tmp_path / "ranked").glob("*.result.json"))] == [
        "covisit.result.json",
        "fusion.result.json",
        "popularity.result.json",
    ]
