"""A hub on this machine: as much of the Hugging Face hub's API as its client needs to share and to fetch.

Routes are those of `huggingface_hub` 2.4: create, validate-yaml, preupload, LFS batch and upload, commit, info,
tree, resolve with revisions. Commits are dictionaries of files, kept in memory.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from llmrec.hub.pull import shared_model

TOKEN = "hf_thetokenofthestandin"
LARGE = (".safetensors", ".parquet", ".npy")  # uploaded by LFS
API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree|preupload|commit)/([^/]+))?")
FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
BATCH = re.compile(r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch")


@dataclass
class Repository:
    """Commits by their ids, in order; ``lies`` are the sizes that a file's headers state instead of its own."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"0" * 40: {".gitattributes": b""}})
    lies: dict[str, int] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes]) -> str:
        name = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits[name] = files
        return name

    def named(self, revision: str) -> str | None:
        """Commit of a revision; None where there is none."""
        return list(self.commits)[-1] if revision == "main" else revision if revision in self.commits else None


@dataclass
class Hub:
    """The repositories by type and name, what was uploaded, and what was asked."""

    url: str
    repos: dict[tuple[str, str], Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def files(self, name: str, shelf: str = "models") -> dict[str, bytes]:
        return list(self.repos[shelf, name].commits.values())[-1]

    def add(self, name: str, files: dict[str, bytes], shelf: str = "models", **settings: Any) -> Repository:
        made = self.repos[shelf, name] = Repository(**settings)
        made.commit(files)
        return made


def meet(hub: Hub, patch: pytest.MonkeyPatch, cache: Path) -> None:
    """Make the stand-in the hub of this process, with a token and an empty cache."""
    shared_model.cache_clear()
    template = "/{repo_id}/resolve/{revision}/{filename}"
    patch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    patch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.url}{template}")
    patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    patch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    patch.setenv("HF_TOKEN", TOKEN)


@contextmanager
def serving() -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.hub = Hub(f"http://127.0.0.1:{server.server_address[1]}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.hub  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class RefusedError(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        self.status, self.code, self.message = status, code, message


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub  # type: ignore[attr-defined]

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if self.headers.get("Transfer-Encoding") != "chunked" else self.chunks()
        self.place = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {self.place}")
        try:
            self.route()
        except RefusedError as refused:
            headers = {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
            self.reply(json.dumps({"error": refused.message}).encode(), refused.status, headers)

    do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815

    def chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def route(self) -> None:
        given = self.headers.get("Authorization")
        if given and given != f"Bearer {TOKEN}":
            raise RefusedError(401, message="Invalid credentials in Authorization header")
        if self.place == "/api/validate-yaml":
            self.validate()
        elif self.place == "/api/repos/create":
            self.create()
        elif self.place.startswith("/lfs/"):
            self.hub.blobs[self.place[5:]] = self.body
            self.reply(b"")
        elif found := BATCH.fullmatch(self.place):
            self.batch()
        elif found := API.fullmatch(self.place):
            self.api(*found.groups())
        elif found := FILE.fullmatch(self.place):
            self.file("datasets" if found[1] else "models", found[2], found[3], found[4])
        else:
            raise RefusedError(404)

    def reply(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, content: Any, status: int = 200) -> None:
        self.reply(json.dumps(content).encode(), status, {"Content-Type": "application/json"})

    def validate(self) -> None:
        """The hub's rules for a card's header, those that a wrong card would break."""
        _, header, _ = json.loads(self.body)["content"].split("---\n", 2)
        card = yaml.safe_load(header)
        wrong = [key for key in ("license", "pipeline_tag", "base_model") if not isinstance(card.get(key, ""), str)]
        wrong += [f"language {one}" for one in card.get("language", []) if not re.fullmatch("[a-z]{2,3}", one)]
        for entry in card.get("model-index", []):
            for result in entry["results"]:
                told = (entry["name"], result["task"]["type"], result["dataset"]["type"], result["dataset"]["name"])
                wrong += [] if all(told) else ["model-index"]
                wrong += [one["type"] for one in result["metrics"] if not isinstance(one["value"], float)]
        for config in card.get("configs", []):
            wrong += [one["split"] for one in config["data_files"] if not re.fullmatch(r"\w+", one["split"])]
        self.json({"errors": [{"message": one} for one in wrong], "warnings": []}, 400 if wrong else 200)

    def create(self) -> None:
        if "Authorization" not in self.headers:
            raise RefusedError(401, message="Invalid username or password.")
        asked = json.loads(self.body)
        if asked["organization"] == "others":
            raise RefusedError(403, message="You don't have the rights to create a model under this namespace")
        key = f"{asked['type']}s", f"{asked['organization']}/{asked['name']}"
        if key in self.hub.repos:
            self.json({"url": f"{self.hub.url}/{key[1]}"}, 409)
            return
        self.hub.repos[key] = Repository(asked.get("visibility") == "private")
        self.json({"url": f"{self.hub.url}/{'datasets/' if key[0] == 'datasets' else ''}{key[1]}"})

    def batch(self) -> None:
        objects = json.loads(self.body)["objects"]
        there = [one for one in objects if one["oid"] in self.hub.blobs]
        made = [{**one, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}}} for one in objects]
        self.json(
            {
                "transfer": "basic",
                "objects": [old if old in there else new for old, new in zip(objects, made, strict=True)],
            }
        )

    def repo(self, shelf: str, name: str) -> Repository:
        found = self.hub.repos.get((shelf, name))
        if found is None or (found.private and "Authorization" not in self.headers):
            raise RefusedError(404 if "Authorization" in self.headers else 401, "RepoNotFound", "Repository not found")
        return found

    def api(self, shelf: str, name: str, deed: str | None, revision: str | None) -> None:
        repo = self.repo(shelf, name)
        commit = repo.named(revision or "main")
        if commit is None:
            raise RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = repo.commits[commit]
        if deed == "preupload":
            asked = json.loads(self.body)["files"]
            modes = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for one in asked
            ]
            self.json({"files": modes})
        elif deed == "commit":
            self.take(repo, dict(files))
        elif deed == "tree":
            self.json(
                [
                    {"type": "file", "path": path, "size": len(content), "oid": sha1(content)}
                    for path, content in files.items()
                ]
            )
        else:
            known = [
                {"rfilename": path, "size": repo.lies.get(f"listed {path}", len(content)), "blobId": sha1(content)}
                for path, content in files.items()
            ]
            self.json(
                {"id": name, "sha": commit, "private": repo.private, "siblings": known, "cardData": card_of(files)}
            )

    def take(self, repo: Repository, files: dict[str, bytes]) -> None:
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        made = repo.commit(files)
        self.json({"commitUrl": f"{self.hub.url}/me/x/commit/{made}", "commitOid": made})

    def file(self, shelf: str, name: str, revision: str, path: str) -> None:
        repo = self.repo(shelf, name)
        commit = repo.named(revision)
        if commit is None:
            raise RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        content = repo.commits[commit].get(path)
        if content is None:
            raise RefusedError(404, "EntryNotFound", "Entry not found")
        size = repo.lies.get(path, len(content))
        self.reply(content, 200, {"ETag": f'"{sha1(content)}"', "X-Repo-Commit": commit, "Content-Length": str(size)})


def sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def card_of(files: dict[str, bytes]) -> Any:
    parts = files.get("README.md", b"").decode().split("---\n", 2)
    return yaml.safe_load(parts[1]) if len(parts) == 3 else {}
