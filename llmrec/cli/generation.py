"""``llmrec plan``, ``sweep``, ``merge-adapter``: around the training of models that write titles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.flags import assignments
from llmrec.errors import require

__all__ = ["merge_adapter", "plan", "sweep"]


def plan(
    recipe: Annotated[str, typer.Argument(help="Recipe of scripts/gen.py, by name or path.")],
    gpus: Annotated[int, typer.Option(help="GPUs over all machines.", min=1)] = 1,
    memory_gb: Annotated[float, typer.Option(help="Memory of each, as its maker counts (GiB).", min=1)] = 48,
    gpus_per_node: Annotated[int, typer.Option(help="GPUs of a machine.", min=1)] = 8,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the recipe, as name=value; may be repeated.")
    ] = None,
) -> None:
    """Say what fits on some GPUs: weights, gradients, optimizer, activations; which batch, which ZeRO stage.

    Example: llmrec plan mt5_base_k1 --gpus 8 --memory-gb 48
    """
    for package in ("torch", "transformers"):
        require(package, "generate")
    from llmrec.titles.models.plan import run_plan

    run_plan(recipe, assignments(changes or []), gpus=gpus, memory_gib=memory_gb, per_node=gpus_per_node)


def sweep(
    recipe: Annotated[str, typer.Argument(help="Recipe of scripts/gen.py, by name or path.")],
    data: Annotated[Path, typer.Option(help="Store.")],
    out: Annotated[Path, typer.Option(help="Folder of the sweep.")],
    grid: Annotated[str, typer.Option(help="Grid by name or file: settings and the values to try.")] = "mt5",
    changes: Annotated[list[str] | None, typer.Option("--set", help="A fixed setting, as name=value.")] = None,
    hardware: Annotated[
        Path | None, typer.Option(help="A file of accelerate_configs/; one process if not given.")
    ] = None,
) -> None:
    """Train every setting of a grid (the paper's Appendix A), score it on validation, write the best as a recipe.

    A sweep that was stopped goes on: give the same command again.

    Example: llmrec sweep mt5_small_k1 --data stores/m2 --out runs/mt5_small_k1-sweep
    """
    for package in ("torch", "transformers", "accelerate", "datasets"):
        require(package, "generate")
    from llmrec.titles.sweep import SweepJob, run_sweep

    fixed = assignments(changes or [])
    run_sweep(SweepJob(recipe=recipe, data=data, out=out, grid=grid, settings=fixed, hardware=hardware))


def merge_adapter(
    adapter: Annotated[Path, typer.Argument(help="Model folder of a LoRA training.")],
    out: Annotated[Path, typer.Option(help="Folder for the merged model.")],
    base_model: Annotated[
        str | None, typer.Option(help="The adapter's base, where it is no longer where it was in training.")
    ] = None,
) -> None:
    """Write a LoRA adapter and its base as one plain model, for any program that loads models.

    Example: llmrec merge-adapter runs/lora_qwen/model --out runs/lora_qwen/merged
    """
    for package in ("torch", "transformers"):
        require(package, "generate")
    from llmrec.titles.models.lora import merge_adapter as merge

    merge(adapter, out, base_model)
