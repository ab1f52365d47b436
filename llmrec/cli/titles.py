"""``llmrec prompts``, ``plan``, ``trim``, ``merge-adapter``, ``last-title``: around models that write titles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from llmrec.console import notice
from llmrec.console import out as out_console
from llmrec.errors import ConfigError, require
from llmrec.settings import option
from llmrec.titles.settings import GenerateConfig

__all__ = [
    "ExportJob",
    "GenerateConfig",
    "LastTitleJob",
    "ListJob",
    "MergeJob",
    "PlanJob",
    "RenderJob",
    "TrimJob",
    "export",
    "generate",
    "last_title",
    "list_prompts",
    "merge_adapter",
    "plan",
    "render",
    "trim",
]


def generate(config: GenerateConfig) -> Any:
    """Write titles; errors are those of `llmrec.titles.generate_titles`."""
    if config.engine == "spark":
        from llmrec.cluster.titles_on_executors import write_on_executors

        write_on_executors(config)
        return None
    from llmrec.selection.generated import generate_titles

    return generate_titles(config)


@dataclass(frozen=True, kw_only=True)
class ListJob:
    """Nothing to choose.

    Example: llmrec prompts list
    """


def list_prompts(_: ListJob) -> list[str]:
    """Print the table of prompts, and give their names."""
    from llmrec.text.prompts import prompt_names, prompt_table

    out_console.print(prompt_table())
    return prompt_names()


@dataclass(frozen=True, kw_only=True)
class RenderJob:
    """A prompt and a session.

    Example: llmrec prompts render instruct --data STORE --split test --session 12
    """

    name: str = option(..., "Prompt, by name or file.", argument=True)
    data: Path = option(..., "Store that `llmrec data import` wrote.")
    session: int = option(..., "Row of the session in its source file, from 0.")
    split: str = option("validation", "Split of the session.")
    k: int = option(3, "K: number of most recent titles.", minimum=1)
    shots: int = option(0, "Number of examples, for chat prompts.", minimum=0)
    seed: int = option(0, "Random seed for drawing examples.", minimum=0)


def render(job: RenderJob) -> str:
    """Print a prompt, and give it; errors are those of `llmrec.titles.prompting.recent_products.render_session`."""
    from llmrec.data.store import Store
    from llmrec.text.prompts import load_prompt
    from llmrec.titles.lab.messages import render_chat
    from llmrec.titles.prompting.recent_products import render_session

    prompt, store = load_prompt(job.name), Store.load(job.data)
    if prompt.system or job.shots:
        text = render_chat(prompt, store, job.split, job.session, k=job.k, shots=job.shots, seed=job.seed)
    else:
        text = render_session(prompt, store, job.split, job.session, job.k)
    out_console.print(text)
    return text


@dataclass(frozen=True, kw_only=True)
class ExportJob:
    """Prompt sessions to save.

    Example: llmrec prompts export plain --data STORE --split development --split validation --out prompts-k3
    """

    name: str = option(..., "Prompt, by name or file.", argument=True)
    data: Path = option(..., "Store that `llmrec data import` wrote.")
    out: Path = option(..., "Folder for the dataset.", output="folder")
    splits: Sequence[str] = option(..., "Split to export. Can be repeated.", flag="--split")
    k: int = option(3, "K: number of most recent titles.", minimum=1)


def export(job: ExportJob) -> None:
    """Save them; errors are those of `llmrec.titles.prompting.prompt_sessions.build_prompt_sessions`."""
    require("datasets", "generate")
    from tempfile import TemporaryDirectory

    from llmrec.data.store import Store
    from llmrec.text.prompts import load_prompt
    from llmrec.titles.prompting.prompt_export import export_prompt_sessions
    from llmrec.titles.prompting.prompt_sessions import build_prompt_sessions

    store, prompt = Store.load(job.data), load_prompt(job.name)
    with TemporaryDirectory(prefix="llmrec-") as cache:
        splits = {
            split: build_prompt_sessions(store, split, k=job.k, prompt=prompt, cache=Path(cache))
            for split in job.splits
        }
        export_prompt_sessions(splits, job.out, prompt=prompt, k=job.k, fingerprint=store.fingerprint)
    notice(f"next: python -c \"import datasets; print(datasets.load_dataset('{job.out}'))\"")


@dataclass(frozen=True, kw_only=True)
class PlanJob:
    """A training and the GPUs for it, or a shop and the Spark cluster for it.

    Example: llmrec plan mt5_base_k1 --gpus 8 --memory-gb 48

    Example: llmrec plan --sessions 2e9 --items 5e7 --hours 8
    """

    HELP_PANELS: ClassVar[Mapping[str, str]] = {"A Spark cluster": "sessions items hours"}

    recipe: str | None = option(None, "Recipe of `llmrec generate`, by name or file.", argument=True)
    gpus: int = option(1, "Number of GPUs, over all machines.", minimum=1)
    memory_gb: float = option(48, "Memory of each GPU, in GiB.", minimum=1)
    gpus_per_node: int = option(8, "GPUs per machine.", minimum=1)
    settings: Mapping[str, Any] = option({}, "Change one setting, as name=value. Can be repeated.", flag="--set")
    sessions: float | None = option(None, "Sessions of the shop.", minimum=1, maximum=1e15)
    items: float | None = option(None, "Items of its catalogue.", minimum=1, maximum=1e12)
    hours: float = option(8, "Hours for all steps together.", above=0)


def plan(job: PlanJob) -> Any:
    """Print what fits, and give it; errors are those of `llmrec.titles.models.plan.run_plan`."""
    if (job.sessions is None) != (job.items is None):
        raise ConfigError("--sessions and --items go together: a shop has both")
    if job.sessions is not None and job.items is not None:
        if job.recipe is not None:
            raise ConfigError("--sessions plans a Spark cluster, a recipe plans a training; give one of them")
        from llmrec.cluster.sizing import run_cluster_plan

        return run_cluster_plan(job.sessions, job.items, job.hours)
    if job.recipe is None:
        raise ConfigError("nothing to plan: give a recipe for GPUs, or --sessions and --items for a Spark cluster")
    for package in ("torch", "transformers"):
        require(package, "generate")
    from llmrec.titles.models.plan import run_plan

    return run_plan(job.recipe, job.settings, gpus=job.gpus, memory_gib=job.memory_gb, per_node=job.gpus_per_node)


@dataclass(frozen=True, kw_only=True)
class TrimJob:
    """A model, and what its vocabulary is to hold.

    Give --data to cut a vocabulary, or --restore to put it back.

    Example: llmrec trim google/mt5-small --data STORE --out models/mt5-small-trimmed
    """

    model: str = option(..., "T5, mT5 or causal model, by folder, hub name or GGUF file.", argument=True)
    out: Path = option(..., "Folder for the new model.", output="folder")
    data: Path | None = option(None, "Store with the products that the model will write.")
    prompt: Sequence[str] = option(
        (), "Prompt that the model will read. Can be repeated. Default: the model's own, or plain."
    )
    frequent: int = option(2_000, "Frequent tokens to keep in any case.", minimum=0)
    restore: str | None = option(
        None, "Put a trimmed MODEL back into the vocabulary of this full model.", metavar="FULL"
    )


def trim(job: TrimJob) -> None:
    """Trim or restore; errors are those of `llmrec.titles.models.trim_job`.

    Raises:
        ConfigError: not one of the two is asked for.
    """
    require("torch", "generate")
    require("transformers", "generate")
    if (job.data is None) == (job.restore is None):
        raise ConfigError("give one of --data STORE, to trim, and --restore FULL, to put a trimmed model back")
    if job.restore is not None and job.prompt:
        raise ConfigError("--prompt says what a trimmed model keeps; --restore keeps everything")
    from llmrec.data.store import Store
    from llmrec.titles.models.trim_job import restore_folder, trim_folder

    if job.restore is not None:
        restore_folder(job.model, job.restore, job.out)
    if job.data is not None:
        trim_folder(job.model, Store.load(job.data), job.out, job.prompt, job.frequent)


@dataclass(frozen=True, kw_only=True)
class MergeJob:
    """An adapter and its base.

    Example: llmrec merge-adapter runs/lora_qwen/model --out runs/lora_qwen/merged
    """

    adapter: Path = option(..., "Model folder of a LoRA training.", argument=True)
    out: Path = option(..., "Folder for the merged model.", output="folder")
    base_model: str | None = option(None, "Base model, if it has moved since the training.")


def merge_adapter(job: MergeJob) -> None:
    """Merge; errors are those of `llmrec.titles.models.lora.merge_adapter`."""
    for package in ("torch", "transformers"):
        require(package, "generate")
    from llmrec.titles.models.lora import merge_adapter as merge

    merge(job.adapter, job.out, job.base_model)


@dataclass(frozen=True, kw_only=True)
class LastTitleJob:
    """Sessions of a store.

    Example: llmrec last-title stores/m2 --split test_task3_phase1 --out runs/last_title.parquet
    """

    store: Path = option(..., "Store that `llmrec data import` wrote.", argument=True)
    out: Path = option(..., "Run to write (Parquet).", output="run")
    split: str = option("validation", "Split: validation, test, test_task3_phase2 …")


def last_title(job: LastTitleJob) -> dict[str, int]:
    """Write the run; errors are those of `llmrec.titles.last_title.write_last_titles`."""
    from llmrec.data.store import Store
    from llmrec.titles.last_title import write_last_titles

    number = write_last_titles(Store.load(job.store), job.split, job.out)
    notice(f"{number:,} titles in {job.out}; score them: llmrec evaluate {job.out} --targets FILE --products FILE")
    return {"n_sessions": number}
