"""What users add: a package that is really installed, and names that are taken, broken or of another kind."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import llmrec
from llmrec.errors import ConfigError
from llmrec.evaluation import metrics
from llmrec.plugins import named
from llmrec.plugins.named import Named
from llmrec.rankers import registry
from llmrec.rankers.counting.popularity import GlobalPopularity, GlobalPopularitySettings
from llmrec.testing import training_sessions
from llmrec.text.encoders import registry as encoders
from tests.places import ROOT


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for one in (registry._ADDED, registry._SOURCES, metrics._ADDED, encoders._ADDED):
        monkeypatch.setattr(one, "_registered", {})


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the package of ``tests/plugin``."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(ROOT / "tests" / "plugin", folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", folder / "site", folder / "source"], check=True, capture_output=True)
    return folder / "site"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    sequences = training_sessions(count=200)
    rows = [
        {"prev_items": items[:-1], "next_item": items[-1], "locale": locale}
        for items, locale in zip(sequences.sequences.to_pylist(), sequences.locales.to_pylist(), strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows[:160]), folder / "train.parquet")
    pq.write_table(pa.Table.from_pylist(rows[160:]), folder / "asked.parquet")
    return folder


def commands(site: Path, folder: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """Run commands in one process, until one fails."""
    code = "import sys; from llmrec.cli import status_of; sys.exit(any(status_of(one.split()) for one in sys.argv[1:]))"
    called = [sys.executable, "-c", code, *lines]
    return subprocess.run(called, cwd=folder, env=environment(site), capture_output=True, text=True, check=False)


def environment(site: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{site}:{ROOT}", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def test_an_installed_packages_ranker_and_metric_work_everywhere(installed: Path, shop: Path) -> None:
    (shop / "data").mkdir()
    for file, place in (("train", "sessions_development"), ("asked", "sessions_validation"), ("asked", "products")):
        shutil.copy(shop / f"{file}.parquet", shop / "data" / f"{place}.parquet")
    (shop / "space.yaml").write_text("search: {weight: [0.5, 1.0]}\n", encoding="utf-8")
    (shop / "late.yaml").write_text(TABLE, encoding="utf-8")
    done = commands(
        installed,
        shop,
        "rank evening --train train.parquet --sessions asked.parquet --out evening.parquet --save evening "
        "--set weight=2",
        "rank evening --load evening --sessions asked.parquet --out again.parquet",
        "evaluate evening.parquet --targets asked.parquet --json result.json",
        "tune evening --train train.parquet --space space.yaml --trials 2 --out best.yaml",
        "rank fusion --train train.parquet --sessions asked.parquet --out fused.parquet --save fused "
        "--set sources=[evening,covisit] --set scorers=[] --set rounds=3",
        "rank fusion --load fused --sessions asked.parquet --out fused_again.parquet",
        "reproduce late.yaml --data data --out reproduced --recorded none",
    )
    assert done.returncode == 0, done.stderr
    for first, second in (("evening", "again"), ("fused", "fused_again")):
        assert pq.read_table(shop / f"{first}.parquet").equals(pq.read_table(shop / f"{second}.parquet"))
    scores = json.loads((shop / "result.json").read_text(encoding="utf-8"))["overall"]["metrics"]
    assert 0 < scores["first_page@100"] <= scores["recall@100"]
    measured = json.loads((shop / "reproduced/records/late/evening.task3_validation.json").read_text(encoding="utf-8"))
    assert measured["cells"]["mrr@100/overall"]["value"] == pytest.approx(scores["mrr@100"])
    (answer,) = served(installed, shop, *["serve", "--ranker", "evening", "--port", "0", "--no-access-log"])
    ranked = pq.read_table(shop / "evening.parquet")["next_item_prediction"][0].as_py()
    assert [one["id"] for one in answer["items"]] == ranked[: len(answer["items"])]


TABLE = """
title: What is late
place: ours
protocols: [task3_validation]
columns: [mrr@100/overall]
methods:
  evening:
    kind: ranking
    band: heuristic
    again: repeated
    steps:
      - >-
        llmrec rank evening --train {data}/sessions_development.parquet
        --sessions {data}/sessions_validation.parquet --out {run} --set weight=2
rows:
  evening: {label: Evening}
"""


def served(site: Path, folder: Path, *words: str) -> Iterator[Any]:
    """What a service answers for the first session of ``asked.parquet``."""
    called = [sys.executable, "-m", "llmrec.cli", *words]
    with subprocess.Popen(called, cwd=folder, env=environment(site), stderr=subprocess.PIPE, text=True) as server:
        try:
            told = next(line for line in server.stderr or () if "listens at" in line)
            session = pq.read_table(folder / "asked.parquet").slice(0, 1).to_pylist()[0]
            asked = json.dumps({"items": session["prev_items"], "locale": session["locale"]}).encode()
            url = re.findall(r"http://[\d.:]+", told)[0] + "/v1/recommend"
            with urllib.request.urlopen(urllib.request.Request(url, asked), timeout=30) as answer:
                yield json.load(answer)
        finally:
            server.terminate()


def test_without_the_package_its_ranker_is_unknown(shop: Path, tmp_path: Path) -> None:
    done = commands(tmp_path, shop, "rank evening --train train.parquet --save x")
    assert (done.returncode, done.stderr[:24]) == (1, "error: no ranker 'evening'"[:24])


class Offered:
    """An entry point as packages have it."""

    class dist:  # noqa: N801 - as importlib.metadata calls it
        name = "some-package"

    def __init__(self, thing: Any) -> None:
        self.value, self._thing = "some_package:thing", thing

    def load(self) -> Any:
        if isinstance(self._thing, Exception):
            raise self._thing
        return self._thing


@pytest.mark.parametrize(
    ("name", "thing", "line"),
    [
        (
            "own",
            ImportError("no module x"),
            "ranker 'own' of package some-package cannot be loaded (ImportError: no mod",
        ),
        ("own", dict, "package some-package: ranker 'own': a subclass of llmrec.Ranker is wanted; got the class dict"),
        ("own", GlobalPopularity, "its class calls itself 'global_popularity'; give both one name"),
    ],
)
def test_a_package_whose_ranker_is_broken_is_one_line(
    name: str, thing: Any, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named, "_entry_points", lambda _: {name: Offered(thing)})
    with pytest.raises(ConfigError) as raised:
        registry.ranker_class(name)
    assert line in str(raised.value)


def test_a_package_cannot_take_a_name_that_the_package_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(named, "_entry_points", lambda _: {"covisit": Offered(GlobalPopularity)})
    assert registry.ranker_class("covisit").name == "covisit"
    with pytest.raises(ConfigError, match="no ranker 'covisitt'; did you mean 'covisit'"):
        registry.ranker_class("covisitt")
    assert "some-package offers a ranker 'covisit', a name that is taken; it is not used" in capsys.readouterr().err


def test_sources_metrics_and_encoders_are_registered_by_a_call(tmp_path: Path) -> None:
    llmrec.register_candidate_source("hits", lambda: GlobalPopularity(GlobalPopularitySettings()))
    rows = training_sessions(count=300)
    settings: dict[str, Any] = {"sources": ("hits", "covisit"), "scorers": (), "rounds": 3}
    fused = llmrec.fit("fusion", rows, **settings)
    assert list(fused.context.sources) == ["hits", "covisit"]  # type: ignore[union-attr]
    llmrec.register_metric("top", lambda ranks, k: float(((ranks == 1) & (k > 0)).mean()))
    assert llmrec.evaluate([["a", "b"], ["b"]], ["a", "a"], samples=10).overall.metrics["top@100"] == 0.5

    class Lengths:
        name, dim = "lengths", 2

        def encode_documents(self, texts: list[str]) -> Any:
            return encoders_base().encode_texts(texts, 2, lambda some: np.array([[len(one), 1] for one in some]))

        encode_queries = encode_documents

        def fingerprint(self) -> str:
            return encoders_base().content_fingerprint("lengths", {}, {})

        def save(self, folder: Path) -> None:
            encoders_base().write_encoder(folder, "lengths", {}, {"dim": np.array([2])})

        @classmethod
        def load(cls, _: Path) -> Any:
            return cls()

    llmrec.register_encoder("lengths", Lengths)  # type: ignore[arg-type]
    made = encoders.load_encoder("lengths")
    made.save(tmp_path / "encoder")
    assert isinstance(encoders.load_encoder(str(tmp_path / "encoder")), Lengths)
    with pytest.raises(ConfigError, match="--dim 3: the vectors of 'lengths' have 2 numbers"):
        encoders.load_encoder("lengths", dim=3)


def encoders_base() -> Any:
    from llmrec.text.encoders import base

    return base


@pytest.mark.parametrize(
    ("register", "line"),
    [
        (lambda: llmrec.register_metric("mrr", lambda *_: 0.0), "there is a metric 'mrr' already"),
        (lambda: llmrec.register_metric("My metric", lambda *_: 0.0), "metric 'My metric': a function of ranks and k"),
        (lambda: llmrec.register_encoder("own", dict), "encoder 'own': a class with encode_documents"),
        (lambda: llmrec.register_encoder("static", dict), "encoder 'static': a class with"),
        (lambda: llmrec.register_candidate_source("covisit", GlobalPopularity), "a candidate source 'covisit' already"),
        (lambda: llmrec.register_candidate_source("own", 3), "make must be a function or a subclass of Ranker; got 3"),  # type: ignore[arg-type]
        (lambda: llmrec.register_ranker(dict), "ranker '': a subclass of llmrec.Ranker is wanted"),  # type: ignore[type-var]
    ],
)
def test_what_cannot_be_registered_is_one_line(register: Any, line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        register()
    assert line in str(raised.value)


def test_named_finds_what_was_registered_before_it_asks_for_packages() -> None:
    things = Named("thing", "llmrec.nothing", ["taken"], lambda _, thing: thing)
    things.register("one", 1)
    things.register("one", 1)
    assert (things.find("one"), things.find("two"), things.names()) == (1, None, ["one"])
