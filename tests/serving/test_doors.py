"""One answer, many doors: Python, the command line, HTTP and MCP give the same lists for the same sessions."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import llmrec
from llmrec.cli import status_of
from tests.selection.shop import sessions
from tests.serving.conftest import Client, Shop

mcp = pytest.importorskip("mcp")
K = 10


def test_the_same_lists_through_every_door_for_200_sessions(shop: Shop, client: Client, tmp_path: Path) -> None:
    sequences, locales = sessions(200, seed=77, noise=True)
    asked = [items[: 1 + row % 3] for row, items in enumerate(sequences)]  # some repeat an item
    asked[3].append("nobody")
    asked[5] = ["nobody"]
    bodies = [{"items": items, "locale": locale, "k": K} for items, locale in zip(asked, locales, strict=True)]

    in_python = llmrec.load_ranker(str(shop.places.ranker)).rank(asked, K, locale=locales)

    file, run = tmp_path / "sessions.parquet", tmp_path / "run.parquet"
    pq.write_table(pa.table({"prev_items": asked, "locale": locales}), file)
    words = ["rank", "fusion", "--load", shop.places.ranker, "--sessions", file, "--k", K, "--out", run]
    assert status_of([str(word) for word in words]) == 0
    on_the_command_line = pq.read_table(run)["next_item_prediction"].to_pylist()

    over_http = [client.ask("/v1/recommend", body).json["items"] for body in bodies]
    together = client.ask("/v1/recommend:batch", {"sessions": bodies}).json["results"]

    async def by_model() -> list[list[str]]:
        async with mcp.Client(f"http://127.0.0.1:{client.port}/mcp") as model:
            answers = [await model.call_tool("recommend", body) for body in bodies]
        return [[one["id"] for one in answer.structured_content["items"]] for answer in answers]

    wanted = in_python.to_list()
    assert on_the_command_line == wanted
    assert [[one["id"] for one in items] for items in over_http] == wanted
    assert [[one["id"] for one in answer["items"]] for answer in together] == wanted
    assert asyncio.run(by_model()) == wanted
    for row, items in enumerate(over_http):
        assert [one["score"] for one in items] == pytest.approx(in_python.scores[row].as_py(), abs=1e-5)
