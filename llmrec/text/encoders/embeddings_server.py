"""Embeddings of any server that speaks OpenAI's protocol: ``openai:MODEL@URL``.

Its key comes from the environment, as that of chat servers. A saved encoder remembers which model it was and one vector
of it, but not whom to ask: a folder may come from anybody, and it must not choose who is sent queries and a key.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Self

import msgspec
import numpy as np

from llmrec.arrays import Floats, checked
from llmrec.errors import ConfigError, ModelError, shown
from llmrec.hub.methods import OnHub
from llmrec.servers.openai_server import Failure, OpenAIServer
from llmrec.text.encoders.base import ENCODER, content_fingerprint, encode_texts, unit_rows
from llmrec.text.encoders.text_prefixes import prefixes_of

__all__ = ["KIND", "URL", "EmbeddingsServer", "ServerEncoder"]

KIND: Final = "openai"
URL: Final = "LLMREC_EMBEDDINGS_URL"
PROBE: Final = "USB-C cable 2 m, black"  # any text: its vector tells models apart
SAME: Final = 0.95  # least cosine of two vectors of it by one model, however its numbers are rounded
MOST_CHARACTERS: Final = 8_192  # of a text
TIMEOUT_S: Final = 120.0
RETRIES: Final = 5
_PATIENCE: Final = (30.0, 2)  # the same for queries, for which somebody waits
_NAME: Final = re.compile(rf"{KIND}:(?P<model>.+?)@(?P<url>https?://\S+)")


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the record holds: models of documents and queries, their prefixes, the vectors' width, the server."""

    models: tuple[str, str]
    prefixes: tuple[str, str]
    dim: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
    asked_dim: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] | None
    url: str


@dataclass
class EmbeddingsServer(OpenAIServer):
    """A server of embeddings, asked from several threads at once."""

    WAYS: ClassVar[Mapping[str, str]] = {
        "404": "check MODEL and URL of --encoder; the latter mostly ends in /v1",
        "429": "lower --concurrency or wait for more quota, then run the same command again: it goes on",
        "again": "see to the server, then run the same command again: it goes on",
        "refused": "--encoder must name a model of embeddings that reads texts as long; or lower --batch-size",
    }
    LARGEST: ClassVar[int] = 64 << 20

    timeout_s: float = TIMEOUT_S
    retries: int = RETRIES

    def embed(self, model: str, texts: list[str], dim: int | None = None) -> Floats:
        """Vectors of some texts, shape ``(len(texts), D)``, as the server gives them.

        Args:
            model: Its name on the server.
            texts: One request's.
            dim: Width to ask for; the model's own where None.

        Raises:
            ModelError: as `OpenAIServer.call`.
        """
        wanted: dict[str, Any] = {} if dim is None else {"dimensions": dim}

        def create(client: Any) -> Any:
            return client.embeddings.with_raw_response.create(
                model=model, input=texts, encoding_format="float", **wanted
            )

        return self.call(create, lambda body, _: self._read(body, len(texts)))

    def _read(self, body: str, num: int) -> Floats:
        try:
            data = json.loads(body)["data"]
            found = {one.get("index", place): _numbers(one["embedding"]) for place, one in enumerate(data)}
            if set(found) != set(range(num)):
                raise Failure(f"{len(data)} vectors for {num} texts", again=True)
            rows = [found[place] for place in range(num)]
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, binascii.Error):
            raise self.unreadable(body) from None
        if len({len(row) for row in rows}) > 1 or not len(rows[0]):
            raise Failure("vectors of several widths", again=True)
        vectors = np.stack(rows)
        if not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
            raise Failure("a vector that is 0, or holds NaN or infinite numbers", again=False)
        return vectors


def _numbers(given: Any) -> Floats:
    """A vector from a list of numbers, or from float32 in base64."""
    if isinstance(given, str):
        return np.frombuffer(base64.b64decode(given, validate=True), dtype="<f4").astype(np.float32)
    if not isinstance(given, list) or not all(type(one) in (int, float) for one in given):
        raise ValueError
    with np.errstate(over="ignore"):
        return np.array(given, dtype=np.float64).astype(np.float32)


@dataclass(frozen=True)
class ServerEncoder(OnHub):
    """A model of embeddings behind a server.

    Attributes:
        models: Its names on the server, for documents and for queries.
        prefixes: What is put before documents and before queries.
        dim: Width ``D`` of the vectors.
        probe: Vector of `PROBE` as a document, of length 1, shape ``(D,)``.
        url: Of the server, with what logs in; empty for a saved one, which the environment says.
        shown: The same without secrets.
        asked_dim: Width that the server is asked for.
        batch_size: Texts of a request.
        concurrency: Most requests under way at once.
    """

    models: tuple[str, str]
    prefixes: tuple[str, str]
    dim: int
    probe: Floats
    url: str = field(repr=False)
    shown: str
    asked_dim: int | None = None
    batch_size: int = 32
    concurrency: int = 4

    @classmethod
    def open(cls, name: str, dim: int | None = None, batch_size: int = 32, concurrency: int = 4) -> Self:
        """Ask a server for a first vector.

        Args:
            name: ``openai:MODEL@URL``. Where the server has one name for documents and another for queries and puts
                the prefixes itself, ``openai:MODEL,MODEL@URL``.
            dim: Width to ask for; the model's own where None.
            batch_size: Texts of a request.
            concurrency: Most requests under way at once.

        Raises:
            ConfigError: ``name`` is of another form, or the vectors have another width.
            ModelError: the server cannot be asked.
        """
        found = _NAME.fullmatch(name)
        if found is None:
            example = "openai:bge-m3@http://localhost:11434/v1"
            raise ConfigError(f"--encoder {shown(name)}: no MODEL@URL behind openai:, as in {example}")
        first, comma, second = found["model"].partition(",")
        query, document = ("", "") if comma else prefixes_of(first, {})
        server = EmbeddingsServer(found["url"])
        probe = server.embed(first, [f"{document}{PROBE}"], dim)
        if dim is not None and probe.shape[1] != dim:
            raise ConfigError(f"--dim {dim}: the vectors of '{first}' have {probe.shape[1]} numbers; leave --dim out")
        models, unit = (first, second or first), unit_rows(probe)[0]
        return cls(models, (document, query), len(unit), unit, found["url"], server.name, dim, batch_size, concurrency)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The encoder that `save` wrote; whom to ask says `URL` in the environment, when something is asked.

        Raises:
            ModelError: the record is damaged.
        """
        record = ENCODER.read(folder)
        arrays = ENCODER.read_arrays(folder, record)
        with ENCODER.understood(folder):
            made = msgspec.convert(record.settings, ServerSettings)
            probe = checked(arrays, "probe", "float32", (made.dim,))
            encoder = cls(made.models, made.prefixes, made.dim, probe, "", made.url, made.asked_dim)
            if encoder.fingerprint() != record.fingerprint:
                raise ValueError("its fingerprint is not its record's")
        return encoder

    @property
    def name(self) -> str:
        """What ``--encoder`` calls it, without secrets."""
        return f"{KIND}:{','.join(dict.fromkeys(self.models))}@{self.shown}"

    @property
    def chunk(self) -> int:
        """Texts that are asked for before any are written: what is lost where a server breaks off."""
        return self.batch_size * self.concurrency

    def encode_documents(self, texts: Sequence[str]) -> Floats:
        """Vectors of products' texts, shape ``(N, D)``, each of length 1; 0 for a text of only blanks."""
        return encode_texts(texts, self.dim, lambda filled: self._encode(filled, 0))

    def encode_queries(self, texts: Sequence[str]) -> Floats:
        """Vectors of what is looked for, by the model and prefix of queries."""
        return encode_texts(texts, self.dim, lambda filled: self._encode(filled, 1))

    def fingerprint(self) -> str:
        """Hash of the models' names, prefixes and width: which server runs them is no part of it."""
        return content_fingerprint(KIND, {"models": self.models, "prefixes": self.prefixes, "dim": self.dim}, {})

    def save(self, folder: Path) -> None:
        """Write which model it is, and a vector of it, into ``folder``; its key is written nowhere."""
        made = ServerSettings(self.models, self.prefixes, self.dim, self.asked_dim, self.shown)
        fields = {"kind": KIND, "settings": msgspec.structs.asdict(made), "fingerprint": self.fingerprint()}
        ENCODER.write(folder, fields, {"probe": self.probe})

    @cached_property
    def _server(self) -> EmbeddingsServer:
        if self.url:
            return EmbeddingsServer(self.url)
        url = os.environ.get(URL, "").strip()
        if not url:
            raise ModelError(
                f"texts for this folder are encoded by '{self.models[1]}' on a server ({self.shown}), and no folder "
                f"chooses whom llmrec asks; set {URL} in the environment to the server's URL"
            )
        server = EmbeddingsServer(url, *_PATIENCE)
        now = unit_rows(server.embed(self.models[0], [f"{self.prefixes[0]}{PROBE}"], self.asked_dim))[0]
        if now.shape != self.probe.shape or float(now @ self.probe) < SAME:
            raise ModelError(
                f"{server.name}: its '{self.models[0]}' gives other vectors than the model that made this folder; set "
                f"{URL} to a server of that model, or {ENCODER.again}"
            )
        return server

    def _encode(self, texts: list[str], place: int) -> Floats:
        prefix, model, server = self.prefixes[place], self.models[place], self._server
        clean = [prefix + text[:MOST_CHARACTERS].encode("utf-8", "replace").decode() for text in texts]
        parts = [clean[start : start + self.batch_size] for start in range(0, len(clean), self.batch_size)]
        with ThreadPoolExecutor(max_workers=self.concurrency) as pool:
            asked = [pool.submit(server.embed, model, part, self.asked_dim) for part in parts]
            try:
                vectors = np.concatenate([one.result() for one in asked])
            except BaseException:
                vars(self).pop("_server", None)  # one that was stopped repeats nothing any more
                server.stop()
                pool.shutdown(cancel_futures=True)
                raise
        if vectors.shape[1] != self.dim:
            raise ModelError(f"{server.name}: vectors of {vectors.shape[1]} numbers, where the first had {self.dim}")
        return vectors
