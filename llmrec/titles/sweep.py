"""A grid of settings, each trained and scored on validation by ``gen.py`` in a folder of its own."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmrec.console import notice
from llmrec.data.store import Store
from llmrec.errors import ConfigError, LlmrecError, require
from llmrec.evaluation.results import read_result
from llmrec.output import check, disk_errors, write_text
from llmrec.settings import RECIPES, Recipe, claiming, decided_by, load_recipe, resolve
from llmrec.titles.settings import GenerateConfig, SweepJob
from llmrec.training.history import read_history
from llmrec.training.search import Search, Space, print_trials, read_named, readable, write_recipe
from llmrec.training.trackers import tracker_names

__all__ = ["Scored", "load_grid", "run_sweep"]

GRIDS: Final = RECIPES / "grids"
WRITING: Final = decided_by(GenerateConfig, "titles", "validation")
RESULT: Final = "titles_validation.result.json"
FIXED: Final = frozenset(decided_by(GenerateConfig, None))  # no grid varies what no score depends on
OWN: Final = FIXED - {"allow_overlap", "checkpoint_every", "gradient_checkpointing", "log_to", "micro_batch_size"}
Setting = Mapping[str, Any]


@dataclass(frozen=True)
class Scored:
    """A finished cell.

    Attributes:
        setting: What the grid chose.
        folder: Its run and result.
        model: Its trained model.
        bleu: Corpus BLEU (0-100) on validation.
        last_title_bleu: Of Last Product Title there.
        loss: Best validation loss of its training, nats a token.
        seconds: Of the command that wrote its titles, which for the first of a training's cells holds the training.
    """

    setting: Setting
    folder: Path
    model: Path
    bleu: float
    last_title_bleu: float
    loss: float
    seconds: float


def load_grid(name: str) -> dict[str, list[Any]]:
    """Load a grid by name or by path: values to try, by setting.

    Raises:
        ConfigError: there is none, it is malformed, or it varies what is no setting of a training.
    """
    form = "settings, each with a list of values"
    path, grid = read_named(name, GRIDS, "grid", "grid", form)
    if not all(isinstance(one, list) and one for one in grid.values()):
        raise ConfigError(f"{path}: a grid is a mapping with 'grid': {form}")
    checked: dict[str, list[Any]] = {}
    for key, values in grid.items():
        if key in FIXED:
            why = "is set by the sweep itself" if key in OWN else "changes no score"
            raise ConfigError(f"{path}: '{key}' {why}; leave it out")
        recipes = [Recipe(name=path.stem, path=path, kind="titles", settings={key: value}) for value in values]
        checked[key] = [getattr(resolve(GenerateConfig, {}, one), key) for one in recipes]
    return checked


@claiming
def run_sweep(job: SweepJob) -> list[Scored]:
    """Train and score every cell that is not done yet, and write the best setting as a recipe.

    Returns:
        All cells, the best on validation first.

    Raises:
        ConfigError: recipe, grid or a setting is wrong, or the folder holds another sweep.
        LlmrecError: a cell stopped; the same command goes on with it.
        StoreError: the store cannot be used.
    """
    for package in ("torch", "transformers", "accelerate", "datasets"):  # before the first cell, not in it
        require(package, "generate")
    for name in ("cells.json", "best.yaml"):
        check(job.out / name)
    recipe, grid = load_recipe(job.recipe), load_grid(job.grid)
    for key in job.settings:
        if key in OWN or key in grid:
            raise ConfigError(f"--set {key}: it is set by the sweep itself; leave it out")
    config = resolve(GenerateConfig, job.settings, recipe)
    tracker_names(job.log_to or config.log_to, job.out)
    decoding = [key for key in grid if key in set(WRITING) - set(decided_by(GenerateConfig, *config.weights_by))]
    space = Space({key: grid[key] for key in (*(key for key in grid if key not in decoding), *decoding)})
    search = Search.open(
        job.out, "sweep", space, _made_of(job, recipe, grid), what="sweep", flag="--out", record=job.out / "sweep.json"
    )
    cells = list(_cells(job.out, grid, decoding))

    def bleu_of(number: int) -> float:
        setting, folder, trained = cells[number]
        if not (folder / RESULT).is_file():
            notice(f"cell {number + 1} of {len(cells)}: {readable(setting)}")
            _run(_command(job, config, setting, folder, trained), setting)
        return _scored(setting, folder, trained or folder).bleu

    gone = [number for number, (_, folder, _) in enumerate(cells) if not (folder / RESULT).is_file()]
    with disk_errors(job.out):
        search.run_grid(bleu_of, again=gone)
    scored = [_scored(setting, folder, trained or folder) for setting, folder, trained in cells]
    scored.sort(key=lambda cell: -cell.bleu)
    _publish(job, recipe, config, scored)
    return scored


def _made_of(job: SweepJob, recipe: Recipe, grid: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """What the folder is a sweep of, as JSON gives it back."""
    made_of = {
        "recipe": dict(recipe.settings),
        "grid": dict(grid),
        "settings": dict(job.settings),
        "data": Store.load(job.data).fingerprint,
    }
    return dict(json.loads(json.dumps(made_of, default=str)))


def _cells(
    out: Path, grid: Mapping[str, Sequence[Any]], decoding: Collection[str]
) -> Iterator[tuple[dict[str, Any], Path, Path | None]]:
    """Setting, folder and, where another cell's training is decoded, that cell's folder."""
    decoded = [key for key in grid if key in decoding]
    learnt = [key for key in grid if key not in decoding]
    for values in itertools.product(*(grid[key] for key in learnt)):
        training = dict(zip(learnt, values, strict=True))
        folder = out / (_name(training) or "training")
        for place, chosen in enumerate(itertools.product(*(grid[key] for key in decoded))):
            ways = dict(zip(decoded, chosen, strict=True))
            setting = {key: {**training, **ways}[key] for key in grid}
            yield setting, folder / _name(ways) if place else folder, folder if place else None


def _name(setting: Setting) -> str:
    return ",".join(f"{key}={value}" for key, value in setting.items())


def _command(job: SweepJob, config: GenerateConfig, setting: Setting, folder: Path, trained: Path | None) -> list[str]:
    """The call of ``gen.py`` for a cell: a training, or titles of the model that another cell has trained."""
    launcher = [sys.executable]
    if job.hardware is not None:
        launcher += ["-m", "accelerate.commands.launch", "--config_file", str(job.hardware)]
    fixed = {key: getattr(config, key) for key in job.settings}
    flags = {"recipe": job.recipe, "data": job.data, "output_dir": folder, "split": "validation", "resume": True}
    named = {"model": trained / "model"} if trained else {}
    words = [*launcher, "-m", "llmrec.cli", "generate"]
    for key, value in {"log_to": job.log_to, **fixed, **flags, **named, **setting}.items():
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            words += [f"--{flag}", str(value)]
    return words


def _run(command: Sequence[str], setting: Setting) -> None:
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # its scores stand in its result file
    if done.returncode:
        raise LlmrecError(
            f"the cell with {readable(setting)} stopped with status {done.returncode}, for the reason above; "
            "the same command goes on with it"
        )


def _scored(setting: Setting, folder: Path, trained: Path) -> Scored:
    result = read_result(folder / RESULT)
    losses = [loss for entry in read_history(trained) if (loss := entry.get("validation_loss")) is not None]
    if result.kind != "titles" or not losses:
        raise LlmrecError(f"{folder}: no cell of a sweep; remove it and give the same command again")
    return Scored(
        setting=setting,
        folder=folder,
        model=trained / "model",
        bleu=result.overall.metrics["bleu"],
        last_title_bleu=result.comparison.scores["overall"] if result.comparison else float("nan"),
        loss=min(losses),
        seconds=float(result.provenance.get("seconds", float("nan"))),
    )


def _publish(job: SweepJob, recipe: Recipe, config: GenerateConfig, scored: Sequence[Scored]) -> None:
    best = scored[0]
    rows = [
        (*map(str, cell.setting.values()), f"{cell.loss:.4f}", f"{cell.bleu:.2f}", f"{cell.seconds:.0f}")
        for cell in scored
    ]
    columns = (*best.setting, "validation loss", "BLEU", "seconds")
    title = f"Validation; Last Product Title has BLEU {best.last_title_bleu:.2f}"
    print_trials(title, columns, rows)
    fixed = {key: getattr(config, key) for key in job.settings}
    content = {
        "kind": "titles",
        "summary": f"{recipe.name} with the best of {len(scored)} settings on validation, by llmrec sweep",
        "settings": {**recipe.settings, **fixed, **best.setting},
        "paper": dict(recipe.paper),
        "scores": {
            "validation bleu": round(best.bleu, 4),
            "last title": round(best.last_title_bleu, 4),
            "protocol": "chosen among the settings on the same validation sessions, so its score there is optimistic",
            "settings": len(scored),
        },
    }
    cells = [
        {
            **dataclasses.asdict(cell),
            **{key: str(getattr(cell, key).relative_to(job.out)) for key in ("folder", "model")},
        }
        for cell in scored
    ]
    with disk_errors(job.out):
        write_text(job.out / "cells.json", json.dumps(cells, indent=2) + "\n")
        write_recipe(job.out / "best.yaml", content)
    notice(f"best: {readable(best.setting)}; wrote {job.out / 'best.yaml'}")
    decoding = "".join(f" --{key.replace('_', '-')} {best.setting[key]}" for key in WRITING if key in best.setting)
    command = f"llmrec generate --data {job.data} --model {best.model}{decoding} --split test"
    notice(f"next: {command}")
