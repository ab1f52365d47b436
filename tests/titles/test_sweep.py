"""A sweep as a user sees it: every cell once, also when it was stopped, and the best one as a recipe."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState

import llmrec.cli
import llmrec.titles.sweep
from llmrec.data.store import Store
from llmrec.errors import ConfigError, LlmrecError
from llmrec.settings import load_recipe, resolve
from llmrec.titles.settings import GenerateConfig, SweepJob
from llmrec.titles.sweep import GRIDS, load_grid, run_sweep
from llmrec.training.search import names_in

RECIPE = """
kind: titles
summary: A model of a second.
settings: {base_model: tiny, tiny_width: 32, tiny_layers: 1, tiny_vocab: 400, k: 1, epochs: 2, batch_size: 12,
           max_source_tokens: 48, max_target_tokens: 12, learning_rate: 1e-3}
"""
GRID = "grid: {learning_rate: [1e-9, 2e-2], num_beams: [1, 3]}"


# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")


@pytest.fixture
def job(tmp_path: Path, tiny_store: Store) -> SweepJob:
    (tmp_path / "mine.yaml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "grid.yaml").write_text(GRID, encoding="utf-8")
    return SweepJob(
        recipe=str(tmp_path / "mine.yaml"),
        data=tiny_store.path,
        out=tmp_path / "sweep",
        grid=str(tmp_path / "grid.yaml"),
        settings={"seed": "3"},
        log_to="none",
    )


def counted(monkeypatch: pytest.MonkeyPatch, fail_at: int | None = None) -> list[Sequence[str]]:
    """The commands that a sweep runs: the first as it is, the others in this process, which saves their start.

    One of them can be killed before it has done anything.
    """
    seen: list[Sequence[str]] = []
    run: Callable[..., Any] = subprocess.run

    def watch(command: Sequence[str], **kwargs: Any) -> Any:
        if "llmrec.cli" not in command:
            return run(command, **kwargs)
        seen.append(command)
        if len(seen) == fail_at:
            return subprocess.CompletedProcess(command, 1)
        if fail_at and len(seen) == 1:
            return run(command, **kwargs)
        AcceleratorState._reset_state(reset_partial_state=True)
        flags = list(command[command.index("llmrec.cli") + 1 :])
        return subprocess.CompletedProcess(command, llmrec.cli.status_of(flags))

    monkeypatch.setattr(llmrec.titles.sweep.subprocess, "run", watch)
    return seen


def test_a_stopped_sweep_goes_on_and_ends_with_the_best_setting_as_a_recipe(
    job: SweepJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        first = counted(patch, fail_at=3)
        with pytest.raises(LlmrecError, match=r"rate 0\.02, num_beams 1 stopped with status 1.*goes on with it"):
            run_sweep(job)
    assert len(first) == 3
    with monkeypatch.context() as patch:
        rest = counted(patch)
        cells = run_sweep(job)
        assert len(rest) == 2, "the two finished cells are not run again"
        assert run_sweep(job) == cells
        assert len(rest) == 2
    trainings = [command for command in (*first[:2], *rest) if "--model" not in command]
    assert len(trainings) == 2, "beams share a training"
    assert all(command[command.index("--seed") + 1] == "3" for command in trainings)
    assert all(command[command.index("--log-to") + 1] == "none" for command in trainings)
    assert not list(job.out.rglob("events.out.*"))
    assert len({str(cell.setting) for cell in cells}) == len(cells) == 4
    by_rate = {(cell.setting["learning_rate"], cell.setting["num_beams"]): cell for cell in cells}
    assert by_rate[2e-2, 1].loss == by_rate[2e-2, 3].loss < by_rate[1e-9, 1].loss
    assert cells[0].bleu == max(cell.bleu for cell in cells)
    assert cells[0].last_title_bleu == cells[-1].last_title_bleu
    best = resolve(GenerateConfig, {}, load_recipe(str(job.out / "best.yaml")))
    assert best.log_to == "tensorboard", "the recipe's own, not the sweep's"
    assert (best.learning_rate, best.num_beams, best.seed) == (*cells[0].setting.values(), 3)
    assert [cell["bleu"] for cell in json.loads((job.out / "cells.json").read_text())] == [cell.bleu for cell in cells]
    assert all((cell.model / "model.safetensors").is_file() for cell in cells)
    (job.out / "trials.jsonl").unlink()  # a sweep from before there were trials on disk
    with monkeypatch.context() as patch:
        rest = counted(patch)
        assert run_sweep(job) == cells
        assert not rest
    changed = SweepJob(**{**vars(job), "settings": {"seed": "4"}})
    with pytest.raises(ConfigError, match="holds a sweep with another settings; give another --out"):
        run_sweep(changed)


def test_the_papers_grid_is_that_of_its_appendix() -> None:
    assert load_grid("mt5") == {"learning_rate": [2e-5, 2e-4], "weight_decay": [0.0, 1e-8], "num_beams": [1, 5]}


@pytest.mark.parametrize("name", names_in(GRIDS))
def test_every_grid_loads(name: str) -> None:
    assert load_grid(name)


@pytest.mark.parametrize("name", ["mt5_small_k1", "mt5_small_k2", "mt5_small_k3", "mt5_base_k1"])
def test_the_papers_recipes_cite_every_setting_and_are_in_its_grid(name: str) -> None:
    recipe = load_recipe(name)
    assert set(recipe.paper) == set(recipe.settings)
    config = resolve(GenerateConfig, {}, recipe)
    assert (config.batch_size, config.epochs) == (12, 10)
    assert all(getattr(config, key) in values for key, values in load_grid("mt5").items())
    assert f"k{config.k}" in name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grid: {learning_rte: [1]}", "unknown key 'learning_rte'; did you mean 'learning_rate'"),
        ("grid: {learning_rate: [fast]}", "'learning_rate' must be a number; got 'fast'"),
        ("grid: {learning_rate: 1}", "a grid is a mapping with 'grid'"),
        ("grid: {model: [a]}", "'model' is set by the sweep itself"),
        ("grid: {allow_overlap: [true, false]}", "'allow_overlap' changes no score"),
        ("grid: {select: [true, false]}", "'select' is set by the sweep itself"),
        ("- 1", "a grid is a mapping with 'grid'"),
    ],
)
def test_a_wrong_grid_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"grid\.yaml") as caught:
        load_grid(str(file))
    assert message in str(caught.value)


def test_an_unknown_grid_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no grid 'mt6'; did you mean 'mt5'"):
        load_grid("mt6")
