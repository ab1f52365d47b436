"""Secrets planted in URLs, arguments and the environment, and looked for in all that commands write and say."""

from __future__ import annotations

import base64
import gzip
import json
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.data.store import Store
from tests import planted
from tests.planted import forms_of
from tests.titles.lab.chat_faults import ChatFaults, echo_header, serving, status

PASSWORD, PATH_KEY, QUERY = "hunter-Planted22", "3f8a9c7b2d1e4f60a1b2c3d4", "planted-query-77"
ENVIRONMENT = {
    "LLMREC_API_KEY": "sk-planted0llmrec0key0000",
    "OPENAI_API_KEY": "sk-planted0openai0key0000",
    "HF_TOKEN": "hf_plantedtokenplantedtoken",
    "WANDB_API_KEY": "planted4wandb4key4000000000000000000000",
    "MY_DB_PASSWORD": "planted db password",
}
SECRETS = (PASSWORD, PATH_KEY, QUERY, *ENVIRONMENT.values())
FORMS = forms_of(SECRETS)

RUN_ALL = """
import json, sys
from llmrec.cli import status_of
ended = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["llmrec", *words]
    ended.append(status_of())
print(json.dumps(ended))
"""


def commands(server: str, store: Path, out: Path) -> Iterator[tuple[list[str], int]]:
    """Command lines with a secret in every place that takes one, and how each ends."""
    chat = f"http://me:{PASSWORD}@{server}/{PATH_KEY}/v1"
    repository = f"http://me:{PASSWORD}@localhost:9/{PATH_KEY}/x.git?token={QUERY}"
    sessions = str(store / "sessions_development.parquet")
    asked = str(store / "sessions_validation.parquet")
    compare = ["prompts", "compare", "chat", "--data", str(store), "--model", "m", "--k", "1", "--sessions", "7"]
    yield [*compare, "--server", chat, "--out", str(out / "lab")], 0
    yield [*compare, "--server", f"{chat}?key={QUERY}", "--out", str(out / "no")], 2
    yield [*compare, "--server", chat.replace("http:", "ftp:"), "--out", str(out / "no")], 2
    yield ["data", "get", "--from", "authors", "--url", repository, "--out", str(out / "raw")], 2
    yield ["data", "get", "--from", repository, "--out", str(out / "raw")], 2
    yield ["embed", str(store / "products.parquet"), "--encoder", repository, "--out", str(out / "e")], 2
    yield ["rank", "covisit", "--train", repository, "--sessions", asked, "--out", str(out / "x.parquet")], 2
    rank = ["rank", "covisit", "--train", sessions, "--sessions", asked, "--allow-overlap"]
    yield [*rank, "--out", str(out / "run.parquet"), "--save", str(out / "ranker")], 0
    yield [*rank, "--out", str(out / "x.parquet"), "--set", f"api_key={PASSWORD}"], 2
    yield [*rank, "--out", str(out / "x.parquet"), "--api-key", PASSWORD], 2
    yield ["rank", "text_knn", *rank[2:], "--set", f"text={repository}", "--out", str(out / "x.parquet")], 2
    yield ["evaluate", str(out / "run.parquet"), "--targets", asked, "--json", str(out / "result.json")], 0


def test_no_secret_is_in_anything_that_commands_write_or_say(tiny_store: Store, tmp_path: Path) -> None:
    environment = {**os.environ, **ENVIRONMENT, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    faults = [status(500, f"no route {PATH_KEY}, {PASSWORD}"), echo_header]
    with serving(ChatFaults(faults, answer=lambda _: f"a key {ENVIRONMENT['LLMREC_API_KEY']}, {PATH_KEY}")) as server:
        place = f"127.0.0.1:{server.server_port}"
        typed = list(commands(place, tiny_store.path, tmp_path / "out"))
        done = subprocess.run(
            [sys.executable, "-c", RUN_ALL, json.dumps([words for words, _ in typed])],
            capture_output=True,
            check=False,
            env=environment,
            cwd=tmp_path,
        )
        assert server.requests
    told = done.stderr.decode() + done.stdout.decode()
    assert planted.found(told.encode(), FORMS) == [], told
    assert json.loads(done.stdout.splitlines()[-1]) == [status for _, status in typed], told
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    names = {"report.html", "comparison.json", "answers.parquet", "answers.sqlite", "run.json", "result.json"}
    assert names <= {path.name for path in written}
    for path in written:
        assert planted.found(path.read_bytes(), FORMS) == [], path
        assert planted.found(str(path).encode(), FORMS) == []


@pytest.mark.parametrize("before", ["", "x", "xy"])
def test_the_scan_finds_what_is_planted(before: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # not where the whole suite's scan looks
        scan_finds_all(before, Path(folder))


def scan_finds_all(before: str, folder: Path) -> None:
    secret = before + planted.ENVIRONMENT["HF_TOKEN"]
    (folder / "clean").write_bytes(zlib.compress(b"nothing"))
    assert planted.leaks(folder) == []
    (folder / "plain").write_text(secret)
    (folder / "base64").write_bytes(base64.b64encode(secret.encode()))
    (folder / "wide").write_text(secret, encoding="utf-16")
    (folder / "packed.gz").write_bytes(gzip.compress(secret.encode()))
    pq.write_table(pa.table({"id": [1, 2], "text": ["", secret]}), folder / "table.parquet", compression="zstd")
    (folder / f"named {secret}").touch()
    with (folder / "holes").open("wb") as handle:
        handle.seek(1 << 40)
        handle.write(secret.encode())
    told = {Path(line.split(": ")[0]).name for line in planted.leaks(folder)}
    assert told == {path.name for path in folder.iterdir()} - {"clean"}


@pytest.mark.parametrize("name", ["answers.sqlite", "answers.parquet"])
def test_answers_are_their_owners_alone(name: str, tiny_store: Store, tmp_path: Path) -> None:
    code = "import os; os.umask(0); from llmrec.cli import main; main()"
    with serving(ChatFaults()) as server:
        words = ["prompts", "compare", "chat", "--data", str(tiny_store.path), "--model", "m", "--k", "1"]
        words += ["--sessions", "7", "--server", server.url, "--out", str(tmp_path)]
        subprocess.run([sys.executable, "-c", code, *words], capture_output=True, check=True)
    assert (tmp_path / name).stat().st_mode & 0o077 == 0
