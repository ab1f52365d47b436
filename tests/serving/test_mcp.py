"""Language models' clients: the SDK's own client, over stdio and over HTTP, gets the service's answers."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import llmrec
from llmrec.errors import ConfigError
from llmrec.serving.loaded import Places
from llmrec.serving.run import ServeJob
from llmrec.serving.run import serve as serve_job
from tests.selection.shop import sessions
from tests.serving.conftest import Client, Shop, until

mcp = pytest.importorskip("mcp")
TOOLS = ["recommend", "explain", "similar", "predict_title", "evaluate"]
SESSION = {"items": ["I00"], "locale": "US", "k": 3}
HELLO = {
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}


def talk(server: Any, work: Callable[[Any], Awaitable[None]], mode: str = "auto") -> None:
    async def run() -> None:
        async with asyncio.timeout(60), mcp.Client(server, mode=mode) as client:
            await work(client)

    asyncio.run(run())


@pytest.fixture(scope="module")
def command(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A client's command: it serves a ranker that is quick to load."""
    folder = tmp_path_factory.mktemp("mcp") / "covisit"
    llmrec.fit("covisit", shop.store.training(), shop.store).save(folder)
    return [sys.executable, "-m", "llmrec.cli", "serve", "--ranker", str(folder), "--mcp"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_every_tool_gives_over_http_what_its_route_gives(client: Client, mode: str) -> None:
    asked = {
        "recommend": ("/v1/recommend", SESSION | {"explain": True}),
        "explain": ("/v1/explain", SESSION | {"product": "I01"}),
        "similar": ("/v1/similar", {"title": "steel bolt kind 3", "k": 2}),
        "predict_title": ("/v1/title", {"items": ["I00", "I01"], "locale": "US"}),
        "evaluate": ("/v1/evaluate", {"sessions": [{"items": ["I00"], "next_item": "I01", "locale": "US"}]}),
    }

    async def work(model: Any) -> None:
        listed = (await model.list_tools()).tools
        assert [tool.name for tool in listed] == TOOLS
        assert all(tool.input_schema["type"] == "object" and tool.description for tool in listed)
        for name, (route, arguments) in asked.items():
            given = await model.call_tool(name, arguments)
            assert not given.is_error
            assert given.structured_content == client.ask(route, arguments).json
            assert json.loads(given.content[0].text) == given.structured_content

    talk(f"http://127.0.0.1:{client.port}/mcp", work, mode)


def test_what_is_wrong_is_an_error_of_the_tool_with_the_way_out(shop: Shop, serve: Callable[..., Client]) -> None:
    client = serve(Places(ranker=shop.places.ranker))

    async def work(model: Any) -> None:
        async def told(name: str, arguments: dict[str, Any]) -> str:
            given = await model.call_tool(name, arguments)
            assert given.is_error
            return str(given.content[0].text)

        assert [tool.name for tool in (await model.list_tools()).tools] == ["recommend", "explain", "evaluate"]
        assert await told("recommend", {"items": ["x"], "locale": "USA"}) == (
            "locale: no locale 'USA'; did you mean 'US'?"
        )
        assert (await told("recommend", {"items": ["x" * 10_000], "locale": "US"})).startswith("items[0]: ")
        assert "k: " in await told("recommend", SESSION | {"k": 10**9})
        assert "`items`" in await told("recommend", {})
        assert "--index DIR" in await told("similar", {"title": "x"})
        assert "did you mean 'recommend'" in await told("recomend", {})
        labelled = {"items": [], "next_item": "x", "locale": "XX"}
        assert (await told("evaluate", {"sessions": [labelled]})).startswith("sessions[0].locale: ")

    talk(f"http://127.0.0.1:{client.port}/mcp", work)


def test_a_fault_is_told_to_the_model_without_its_insides(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> Any:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(client.held.service, "similar", broken)

    async def work(model: Any) -> None:
        given = await model.call_tool("similar", {"title": "x"})
        assert given.is_error
        assert "fault of the service" in given.content[0].text
        assert "secret" not in given.content[0].text

    talk(f"http://127.0.0.1:{client.port}/mcp", work)


def posted(client: Client, message: dict[str, Any], **headers: str) -> Any:
    accept = {"accept": "application/json, text/event-stream", "content_type": "application/json"}
    return client.ask("/mcp", {"jsonrpc": "2.0", "id": 1, **message}, **accept | headers)


def test_http_has_the_same_keys_limits_and_log(shop: Shop, serve: Callable[..., Client]) -> None:
    client = serve(Places(ranker=shop.places.ranker), keys={"shop": "k" * 20})
    assert posted(client, HELLO).status == 401
    key = {"x_api_key": "k" * 20}
    assert posted(client, HELLO, **key).json["result"]["serverInfo"]["name"] == "llmrec"
    call = {"method": "tools/call", "params": {"name": "recommend", "arguments": {"items": ["secret-item"]}}}
    assert posted(client, call, **key, x_request_id="mine-7").headers["x-request-id"] == "mine-7"
    assert posted(client, HELLO | {"x": "y" * (5 << 20)}, **key).status == 413
    until(lambda: any(line["request_id"] == "mine-7" for line in client.log))
    (line,) = (line for line in client.log if line["request_id"] == "mine-7")
    assert (line["route"], line["status"], line["key"]) == ("/mcp", 200, "shop")
    assert "secret-item" not in json.dumps(client.log)
    for method in ("GET", "DELETE"):  # no stream stays open, no session is kept
        assert client.ask("/mcp", method=method, **key).status == 405


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://evil.example", 403), ("http://[", 403), ("null", 403), ("http://localhost:6274", 200)],
)
def test_a_web_page_that_nobody_named_is_sent_away(client: Client, origin: str, status: int) -> None:
    answer = posted(client, HELLO, origin=origin)
    assert answer.status == status
    assert status == 200 or "--cors" in answer.json["error"]["message"]


def test_over_stdio_a_client_starts_the_command_and_ends_it(command: list[str]) -> None:
    server = mcp.StdioServerParameters(command=command[0], args=command[1:], env={"PYTHONPATH": str(Path.cwd())})
    (sequences, locales), ranker = sessions(20, seed=5), llmrec.load_ranker(command[5])
    wanted = ranker.rank([items[:-1] for items in sequences], 10, locale=locales).to_list()

    async def work(model: Any) -> None:
        assert [tool.name for tool in (await model.list_tools()).tools] == ["recommend", "explain", "evaluate"]
        for items, locale, listed in zip(sequences, locales, wanted, strict=True):
            given = await model.call_tool("recommend", {"items": items[:-1], "locale": locale})
            assert [one["id"] for one in given.structured_content["items"]] == listed
        assert (await model.call_tool("recommend", {"items": [], "k": "x"})).is_error

    talk(mcp.stdio_client(server), work)


def message(number: int, method: str, **params: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}) + "\n"


def test_stdout_holds_nothing_but_the_protocol_and_a_signal_ends_it(command: list[str]) -> None:
    hello = json.dumps({"jsonrpc": "2.0", "id": 1, **HELLO}) + "\n"
    hostile = [hello, "no JSON\n", "[1, 2]\n", "\n", "x" * 50_000 + "\n", "[" * 9_000 + "\n", "\x00\ufffd\n"]
    call = message(2, "tools/call", name="recommend", arguments=SESSION)
    wrong = message(3, "tools/call", name="recommend", arguments={"items": 5})
    with subprocess.Popen([*command, "--max-body-mb", "0.01"], stdin=-1, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join([*hostile, call, wrong, message(4, "nothing/like/it")]))
        process.stdin.flush()
        answers = {(told := json.loads(process.stdout.readline()))["id"]: told for _ in range(4)}
        process.send_signal(signal.SIGTERM)  # while it waits for a message
        assert process.wait(20) == 0
        assert process.stdout.read() == ""
        told = process.stderr.read() if process.stderr else ""
    assert len(answers[2]["result"]["structuredContent"]["items"]) == 3
    assert answers[3]["result"]["isError"]
    assert answers[4]["error"]["code"] == -32601
    assert "passed over" in told
    assert "Traceback" not in told
    assert "Fatal" not in told


def test_what_cannot_be_served_over_stdio_is_one_line(tmp_path: Path) -> None:
    for wrong in ({"cors": ["http://a"]}, {"keys": tmp_path / "keys"}, {"workers": 2}, {"page": True}):
        with pytest.raises(ConfigError, match="at /mcp"):
            serve_job(ServeJob(mcp=True, ranker=tmp_path, **wrong))
    run = [sys.executable, "-m", "llmrec.cli", "serve", "--mcp", "--ranker", "nowhere"]
    done = subprocess.run(run, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60, stdin=-3)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere: no ranker here" in done.stderr.splitlines()[-1]
