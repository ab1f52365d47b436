"""Flags made of a dataclass: spelling, several values, choices, what is shown and what is said of a wrong value."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

import pytest

from llmrec.cli import data, runs, text
from llmrec.cli.flags import command_of, spread
from llmrec.cli.verbs import PANELS
from llmrec.data.holdout import hold_out
from llmrec.data.importing import import_dataset
from llmrec.data.pick import pick_locales
from llmrec.errors import ConfigError, DiskError
from llmrec.evaluation.blend import blend_runs
from llmrec.evaluation.evaluate import evaluate_run
from llmrec.evaluation.runs import write_run
from llmrec.rankers.fusion.explain import explain_file
from llmrec.settings import claiming, option, resolve
from llmrec.synth import synthesize
from llmrec.text.products.ground import ground_run
from llmrec.titles.settings import GenerateConfig


@dataclass(frozen=True, kw_only=True)
class Job:
    name: str = option(..., "A name.", argument=True)
    train: Sequence[Path] = option((), "Files.", several=True)
    batch_size: int = option(32, "Rows at once.", minimum=1)
    seen: Literal["drop", "keep"] = option("drop", "What becomes of them.")
    resume: bool = option(False, "Go on.")
    transductive: bool = option(False, "Learn from more.", flag="--transductive/--inductive")
    source: str | None = option(None, "Where from.", flag="--from")
    settings: Mapping[str, Any] = option({}, "A setting.", flag="--set")


def called(*words: str) -> Job:
    seen: list[Job] = []
    command_of(Job, seen.append, "Help.")(spread(words, ["--train"]), standalone_mode=False)
    return seen[0]


def test_what_is_not_given_has_its_default() -> None:
    assert called("x") == Job(name="x")


def test_every_field_is_a_flag() -> None:
    flags = "--batch-size 3 --seen keep --resume --transductive --from here --set a=1 --set b=c=d --train p q"
    assert called("x", *flags.split()) == Job(
        name="x",
        train=(Path("p"), Path("q")),
        batch_size=3,
        seen="keep",
        resume=True,
        transductive=True,
        source="here",
        settings={"a": "1", "b": "c=d"},
    )


@pytest.mark.parametrize("words", ["--batch_size 3 --no-resume", "--batch-size 3 --inductive"])
def test_other_spellings_are_understood_and_not_shown(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("x", *words.split()) == Job(name="x", batch_size=3)
    command_of(Job, print, "Help.")(["--help"], standalone_mode=False)
    text = capsys.readouterr().out
    assert not re.search(r"--batch_size|--no-resume", text)
    assert re.search(r"--transductive\s+--inductive", text)


def test_help_shows_choices_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    command_of(Job, print, "Help.")(["--help"], standalone_mode=False)
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for shown in ("drop|keep", "[default: drop]", "[default: 32]", "[default: inductive]", "[required]"):
        assert shown in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--seen never", "--seen must be one of drop, keep; got 'never'"),
        ("--batch-size 0", "--batch-size must be at least 1; got 0"),
        ("--set history", "--set takes name=value, for instance --set history=5; got 'history'"),
    ],
)
def test_a_wrong_value_is_named_with_its_flag(flags: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        called("x", *flags.split())


def test_only_some_flags_take_several_values() -> None:
    assert spread(["a", "--train", "b", "c", "--k", "3", "d"], ["--train"]) == [
        *("a", "--train", "b", "--train", "c", "--k", "3", "d")
    ]


@pytest.mark.parametrize(
    ("job", "function", "own"),
    [
        (data.HoldoutJob, hold_out, set()),
        (data.ImportJob, import_dataset, set()),
        (data.PickJob, pick_locales, set()),
        (data.SynthJob, synthesize, {"report"}),
        (runs.BlendJob, blend_runs, set()),
        (runs.EvaluateJob, evaluate_run, {"json"}),
        (runs.ExplainJob, explain_file, set()),
        (text.GroundJob, ground_run, set()),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_verb_has_the_defaults_of_the_function_that_it_calls(job: Any, function: Any, own: set[str]) -> None:
    parameters = inspect.signature(function).parameters
    for field in fields(job):
        if field.name not in own and parameters[field.name].default is not inspect.Parameter.empty:
            assert field.default == parameters[field.name].default, field.name


JOBS = [verb.job() for panel in PANELS.values() for verb in panel]


@pytest.mark.parametrize("job", JOBS, ids=lambda one: one.__name__)
def test_counts_and_seeds_below_zero_are_refused_before_anything_starts(job: Any) -> None:
    for field in fields(job):
        if field.name in {"seed", "limit", "queries", "samples"}:
            with pytest.raises(ConfigError, match=f"^--{field.name} must be at least [01]; got -1"):
                resolve(job, {field.name: -1})


WRITTEN = {"out", "output_dir", "json", "plot", "save", "last_title", "atomic", "write_docs", "checkpoints", "items"}
WRITTEN |= {"storage"}
ELSEWHERE = {  # checked by what the verb runs: the place is not always written, or several processes may share it
    *(("GetJob", "out"), ("TuneJob", "out"), ("TuneJob", "storage"), ("GenerateConfig", "output_dir")),
    ("PlanJob", "items"),  # a number
}
JOBS = [verb.job() for verbs in PANELS.values() for verb in verbs] + [GenerateConfig]
OUTPUTS = [
    (job, field.name, field.metadata["output"]) for job in JOBS for field in fields(job) if field.metadata.get("output")
]


def test_every_path_that_is_written_says_so() -> None:
    named = {(job, name) for job, name, _ in OUTPUTS}
    assert {
        (job.__name__, field.name)
        for job in JOBS
        for field in fields(job)
        if field.name in WRITTEN and (job, field.name) not in named
    } == ELSEWHERE


@pytest.mark.parametrize(("job", "name", "kind"), OUTPUTS, ids=lambda one: getattr(one, "__name__", one))
def test_an_output_is_checked_and_locked_before_the_work(job: type[Any], name: str, kind: str, tmp_path: Path) -> None:
    place = tmp_path / "there"
    place.write_text("") if kind in ("folder", "place") else place.mkdir()
    hints = get_type_hints(job)
    given = {field.name: "x" if hints[field.name] is str else tmp_path / "x" for field in fields(job)}
    given = {one.name: given[one.name] for one in fields(job) if one.default is MISSING and one.name in given}
    given |= {one: [value] for one, value in given.items() if get_origin(hints[one]) is Sequence}
    given |= {"session": 0} if "session" in given else {}

    def worked(_: Any) -> None:
        assert (tmp_path / ".fine.llmrec.lock").is_file()

    with pytest.raises(DiskError, match=r"there: is a (file|folder); name a"):
        claiming(worked)(job(**given | {name: place}))
    claiming(worked)(job(**given | {name: tmp_path / "fine"}))
    assert list(tmp_path.iterdir()) == [place]


def test_json_goes_to_the_standard_output_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, targets = tmp_path / "run.parquet", tmp_path / "targets.csv"
    write_run(run, ["UK"], [["a"]], {})
    targets.write_text("next_item,locale\na,UK\n")
    runs.evaluate(runs.EvaluateJob(run=run, targets=targets, json=Path("-"), samples=2))
    said = capsys.readouterr()
    assert json.loads(said.out)["overall"]["metrics"]["mrr@100"] == 1
    assert "MRR" in said.err
