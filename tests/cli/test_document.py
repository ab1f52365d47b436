"""``--json`` and ``--quiet`` of every verb, ``doctor`` and ``schema``: for programs, and for editors."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from llmrec.cli import doctor, status_of
from llmrec.cli.document import CODES, OTHER_CODES, STATUSES, Asked, asked_for, documented, plain
from llmrec.cli.flags import EPILOG
from llmrec.cli.runs import EvaluateJob, ResultsJob
from llmrec.cli.schemas import prompt_schema, recipe_schema
from llmrec.cli.verbs import PANELS
from llmrec.console import recap
from llmrec.data.store import Store
from llmrec.settings import RECIPES
from tests.places import ROOT

KEYS = ["schema", "llmrec", "verb", "status", "inputs", "settings", "artefacts", "result", "notices", "error"]


def called(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[dict[str, Any], str]:
    """The document of a command, and what stood on stderr; nothing else may stand on stdout."""
    capsys.readouterr()
    status = status_of([*map(str, words), "--json"])
    printed = capsys.readouterr()
    document: dict[str, Any] = json.loads(printed.out)
    assert list(document) == KEYS
    assert document["status"] == status
    return document, printed.err


def test_a_verb_says_what_it_read_wrote_and_found(
    tiny_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, asked = (tiny_store.path / f"sessions_{split}.parquet" for split in ("development", "validation"))
    run = tmp_path / "run.parquet"
    flags = ("--sessions", asked, "--out", run, "--k", "9", "--seen", "drop")
    ranked, told = called(capsys, "rank", "popularity", "--train", train, *flags)
    assert ranked["verb"] == "rank"
    assert ranked["inputs"] == {"train": [str(train)], "sessions": str(asked)}
    assert ranked["artefacts"] == {"out": str(run)}
    assert (ranked["settings"]["k"], ranked["settings"]["seen"]) == (9, "drop")
    assert (ranked["result"], ranked["error"]) == (None, None)
    assert ranked["notices"][-1] in told
    scored, _ = called(capsys, "evaluate", run, "--targets", asked)
    assert scored["result"]["overall"]["metrics"]["mrr@100"] > 0
    listed, _ = called(capsys, "prompts", "list")
    assert "next_title/plain_v1" in listed["result"]


def test_a_file_of_its_own_stays_one_and_the_document_stands_without_it(
    tiny_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tiny_store.path / "sessions_validation.parquet"
    run, result = tmp_path / "run.parquet", tmp_path / "result.json"
    assert status_of(["last-title", str(tiny_store.path), "--out", str(run)]) == 0
    words = ["evaluate", str(run), "--targets", str(asked), "--products", str(tiny_store.products)]
    assert status_of([*words, "--json", str(result), "--quiet"]) == 0
    printed = capsys.readouterr()
    assert "BLEU" in printed.out
    assert json.loads(result.read_text(encoding="utf-8"))["kind"] == "titles"
    document, _ = called(capsys, *words, "--json", result)
    assert document["artefacts"] == {"json": str(result)}


def test_a_verb_that_a_group_implies_has_them_too(
    tiny_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document, _ = called(capsys, "embed", tiny_store.products, "--out", tmp_path / "titles", "--quiet")
    assert (document["verb"], document["status"]) == ("embed products", 0)


def test_quiet_leaves_out_what_is_told_but_no_error(
    tiny_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["last-title", str(tiny_store.path), "--out", str(tmp_path / "run.parquet")]
    assert status_of(words) == 0
    assert "titles in" in capsys.readouterr().err
    assert status_of([*words, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    recap("a table")
    assert capsys.readouterr().out == "a table\n"
    with documented("generate", Asked([], quiet=True)):
        recap("a table")
    assert capsys.readouterr().out == ""
    assert status_of(["last-title", "nowhere", "--out", "x", "--quiet"]) == 2
    assert capsys.readouterr().err.startswith("error: nowhere: no store here")


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (["rank", "covisitt", "--train", "x", "--save", "y"], "config", 2),
        (["evaluate", "nowhere", "--targets", "x"], "data", 2),
        (["data", "pick", "nowhere", "x", "--locale", "UK"], "data", 2),
        (["last-title", "nowhere", "--out", "x"], "store", 2),
        (["merge-adapter", "nowhere", "--out", "x"], "config", 2),
        (["rank", "popularity", "--nonsense"], "usage", 2),
        (["evaluate", "run"], "usage", 2),
    ],
)
def test_an_error_has_a_code(words: Sequence[str], code: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    document, told = called(capsys, *words)
    assert (document["error"]["code"], document["status"]) == (code, status)
    assert document["error"]["message"] in " ".join(told.split())


def test_only_the_flags_of_all_are_taken_out() -> None:
    def left(typed: str, job: type[Any] = EvaluateJob) -> tuple[str, bool, bool]:
        asked = asked_for(typed.split(), lambda: job)
        return " ".join(asked.words), asked.document, asked.quiet

    assert left("evaluate run --json --targets x") == ("evaluate run --targets x", True, False)
    assert left("evaluate run --json out.json --quiet") == ("evaluate run --json out.json", False, True)
    assert left("evaluate run --json -") == ("evaluate run --json -", False, False)
    assert left("results a --json b", ResultsJob) == ("results a b", True, False)
    assert left("results --json -- --json", ResultsJob) == ("results -- --json", True, False)


def test_values_are_plain() -> None:
    assert plain({("a", "b"): float("nan"), "path": Path("x"), "many": (1, {2})}) == {
        "a b": None,
        "path": "x",
        "many": [1, [2]],
    }


def test_every_help_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    for verbs in PANELS.values():
        status_of([*verbs[0].words.split(), "--help"])
        assert EPILOG.split("--json")[1].split()[0] in capsys.readouterr().out


def test_the_documents_tables_are_the_codes() -> None:
    page = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    statuses = dict(re.findall(r"^\| (\d+) \| (.+) \|$", page, re.MULTILINE))
    assert statuses == {str(number): words for number, words in STATUSES.items()}
    codes = page.partition("## Error codes")[2].partition("## Editors")[0]
    assert re.findall(r"^\| `(\w+)` \|", codes, re.MULTILINE) == [*CODES.values(), *OTHER_CODES]
    keys = page.partition("## For programs")[2].partition("## Exit")[0]
    assert [
        key for row in re.findall(r"^\| (`.+?`) \|", keys, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)
    ] == KEYS


def test_doctor_tells_what_is_missing_and_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(capsys, "doctor")[0]["result"]["machine"]["cores"] >= 1
    versions = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "" if name in ("faiss-cpu", "openai") else versions(name))
    document, _ = called(capsys, "doctor")
    found = {verb["verb"]: verb for verb in document["result"]["verbs"]}
    assert set(found) == {verb.words for verbs in PANELS.values() for verb in verbs}
    assert found["similar"] == {"verb": "similar", "can_run": "no", "to_mend": "pip install 'llmrec[search]'"}
    assert found["prompts compare"]["can_run"] == "yes, but for --server"
    assert found["rank"]["to_mend"] == "pip install 'llmrec[text]'"
    assert found["evaluate"]["can_run"] == "yes"
    assert document["result"]["extras"]["text"]["missing"] == ["faiss-cpu"]


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_fits_its_schema(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, value in content["settings"].items():  # editors read YAML 1.2, in which 2e-4 is a number
        if isinstance(value, str) and re.fullmatch(r"[\d.]+e-?\d+", value):
            content["settings"][name] = float(value)
    jsonschema.validate(content, recipe_schema())


@pytest.mark.parametrize("path", sorted((ROOT / "prompts").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_prompt_fits_its_schema(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), prompt_schema())


@pytest.mark.parametrize(
    "recipe",
    [
        {"kind": "ranker", "ranker": "covisit", "settings": {"historyy": 3}},
        {"kind": "ranker", "ranker": "covisit", "settings": {"history": 0}},
        {"kind": "titles", "settings": {"k": "three"}},
        {"kind": "title", "settings": {}},
        {"settings": {}},
    ],
)
def test_what_a_recipe_may_not_hold_does_not_fit(recipe: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(recipe, recipe_schema())


def test_schemas_are_printed_or_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["schema", "prompt"]) == 0
    assert json.loads(capsys.readouterr().out) == prompt_schema()
    assert status_of(["schema", "recipe", "--out", str(tmp_path / "recipe.json")]) == 0
    assert json.loads((tmp_path / "recipe.json").read_text(encoding="utf-8")) == recipe_schema()
