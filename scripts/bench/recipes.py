"""Recipes of title models as they are given, without a batch size being told: what fits, and how soon they speak."""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.measure import app, measure, resident, show, start_peak, store_of
from llmrec.memory import readable

__all__ = ["recipes"]

SHAPES = ("google/mt5-small", "google/mt5-base", "Qwen/Qwen3-0.6B", "meta-llama/Llama-3.2-1B-Instruct")


class _EnoughError(Exception):
    """The steps are done."""


def _shape(name: str, store: Path, like: str | None, out: Path) -> None:
    """A model of a hub model's sizes with random weights, and a tokenizer: another's, or one learnt from titles."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    from bench.trimming import wide_tokenizer
    from llmrec.titles.models.architectures import known_models
    from llmrec.titles.models.model import load_model, save_model

    known = known_models()[name]
    config = AutoConfig.for_model(known["model_type"], **known["config"])
    config.pad_token_id, config.eos_token_id, config.decoder_start_token_id = 0, 1, 0
    torch.manual_seed(0)
    if config.is_encoder_decoder:
        model = AutoModelForSeq2SeqLM.from_config(config)
        model.lm_head.weight = torch.nn.Parameter(0.05 * torch.randn_like(model.lm_head.weight))  # built, it is tied
        tokenizer = wide_tokenizer(store)
    else:
        model = AutoModelForCausalLM.from_config(config)
        tokenizer = load_model(str(like))[1]
    save_model(out, model, tokenizer, None)


def _train(recipe: str, base: str | None, store: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """Start a recipe on its longest sessions: bytes estimated and taken, and CPU seconds until the first loss.

    It ends once it has held all that it ever holds: in the second step, or with adapters, whose optimizer has next to
    nothing, in the third micro-batch.
    """
    import numpy as np

    from llmrec.settings import load_recipe, resolve
    from llmrec.titles import generation
    from llmrec.titles.settings import GenerateConfig
    from llmrec.titles.training import fitting, train

    found: dict[str, Any] = {"parts": 0}
    tell, loss = fitting._tell, train._TitleTask.loss

    def told(training: Any, cut: Any, free: Any) -> None:
        tell(training, cut, free)
        found.update(estimate=training.needed(cut.accumulation, cut.in_pieces).total - fitting.RESERVED["cpu"])
        found.update(micro=-(-training.share // cut.accumulation), share=training.share, pieces=cut.in_pieces)
        found.update(last=2 if config.lora_rank else cut.accumulation + 1, before=start_peak())

    def longest(task: Any, *_: Any) -> Any:
        batch = np.argsort(-task.order.lengths, kind="stable")[: config.batch_size]
        return [batch] * 3

    def counted(task: Any, part: Any, step: int) -> Any:
        if found["parts"] == found["last"]:
            found["measured"] = resident("VmHWM") - found["before"]
            raise _EnoughError
        answer = loss(task, part, step)
        found["parts"] += 1
        found.setdefault("first_s", time.process_time() - started)
        return answer

    patched = {"loss": counted, "epoch": longest, "parts": _in_order}
    for owner, name, instead in ((fitting, "_tell", told), *((train._TitleTask, *one) for one in patched.items())):
        setattr(owner, name, instead)
    with tempfile.TemporaryDirectory() as folder:
        asked = {"data": store, "max_steps": 3, "output_dir": Path(folder) / "run", "split": "validation"}
        asked |= {"log_to": "none", **({"base_model": base} if base else {}), **changes}
        config, started = resolve(GenerateConfig, asked, load_recipe(recipe)), time.process_time()
        with suppress(_EnoughError):
            generation.run_generation(config)
    return found


def _in_order(task: Any, batch: Any) -> Any:
    """Micro-batches of the longest sessions first, which is what the estimate is of."""
    import numpy as np

    return [one for one in np.array_split(batch, task.cut.accumulation) if len(one)]


@app.command()
def recipes(
    recipe: Annotated[list[str], typer.Argument(help="Recipes of kind titles.")],
    base_model: Annotated[
        list[str],
        typer.Option(
            help="Base in place of each recipe's own: a GGUF file, a folder, or a "
            "name that `llmrec plan` knows, whose sizes are built with random weights."
        ),
    ] = [""],  # noqa: B006
    data: Annotated[Path | None, typer.Option(help="Store. Default: synthetic, small.")] = None,
    set_: Annotated[list[str], typer.Option("--set", help="name=value in JSON, for all.")] = [],  # noqa: B006
) -> None:
    """Start each recipe on each base: estimated and taken memory, CPU seconds to the first loss."""
    changes = {name: json.loads(value) for name, _, value in (one.partition("=") for one in set_)}
    store, rows = data or store_of("small"), []
    for base in base_model:
        with tempfile.TemporaryDirectory() as scratch:
            name = base
            if base in SHAPES:
                like = next((one for one in base_model if one.endswith(".gguf")), None)
                name = str(Path(scratch) / "shape")
                measure(_shape, base, store, like, Path(name))
            for one in recipe:
                made = measure(_train, one, name or None, store, changes)
                rows.append((f"{one}, {Path(base).name}", made, _told(made.value)))
    show("recipes on their longest sessions", rows)


def _told(found: dict[str, Any]) -> str:
    error = found["estimate"] / found["measured"] - 1
    pieces = ", logits in pieces" if found["pieces"] else ""
    return (
        f"{found['micro']} of {found['share']} sessions at once{pieces}; {readable(found['estimate'])} estimated, "
        f"{readable(found['measured'])} measured, {error:+.0%}; first loss after {found['first_s']:.0f} CPU s"
    )
