"""Training and writing titles beside a plain Hugging Face loop, in the same run, with its losses and its titles."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from bench.loops import Course, Sessions, compared_losses, own_titles, own_training, plain_titles, plain_training
from bench.measure import app, measure, store_of
from llmrec.console import out, table

__all__ = ["sessions_of", "titles"]

RATE: Final = 1e-3
SOURCE, TARGET = 128, 64


def sessions_of(store: Path, tokenizer: Any, number: int, prompt: str, causal: bool) -> Sessions:
    """Token ids of some sessions, K = 3, as a training has them."""
    from llmrec.data.store import Store
    from llmrec.text.prompts import load_prompt
    from llmrec.titles.prompting.affixes import build_affixes
    from llmrec.titles.prompting.prompt_sessions import build_training_prompts

    chat = bool(getattr(tokenizer, "chat_template", None))
    with tempfile.TemporaryDirectory() as cache:
        made = build_training_prompts(
            Store.load(store),
            "development",
            k=3,
            prompt=load_prompt(prompt),
            cache=Path(cache),
            tokenizer=tokenizer,
            affixes=build_affixes(tokenizer, chat=chat) if causal else None,
            max_source_tokens=2 * SOURCE if causal else SOURCE,
            max_target_tokens=TARGET,
            sample=number,
        ).dataset
        return Sessions(made["input_ids"][:], made["labels"][:])


def _causal(model: str) -> tuple[Any, Any]:
    from llmrec.titles.models.model import load_model

    return load_model(model)


def _adapted(model: Any, rank: int) -> Any:
    from llmrec.titles.models.lora import add_adapters
    from llmrec.titles.settings import GenerateConfig

    return add_adapters(model, GenerateConfig(base_model="a folder", lora_rank=rank))


def _small_t5(store: Path, width: int) -> tuple[Any, Any]:
    from bench.trimming import MT5_ROWS, wide_tokenizer
    from llmrec.titles.models.model import build_tiny_mt5

    return build_tiny_mt5(MT5_ROWS, width, 2, 0), wide_tokenizer(store)


def _trim(model: Any, tokenizer: Any, store: Path, prompt: str) -> tuple[Any, Any]:
    from llmrec.data.store import Store
    from llmrec.text.prompts import load_prompt
    from llmrec.titles.models.trim import trim

    return trim(model, tokenizer, Store.load(store), [load_prompt(prompt)])


def _compare(
    build: Callable[[], tuple[Any, Any]],
    store: Path,
    prompt: str,
    steps: int,
    batch: int,
    written: int,
    rank: int | None,
) -> dict[str, Any]:
    """All ways of one model: courses of training, and seconds and titles of writing."""
    import torch

    from llmrec.titles.models.causal import is_causal
    from llmrec.titles.training.batches import BatchPlan
    from llmrec.titles.training.losses import PACKED_ON_CPU

    torch.set_num_threads(1)
    model, tokenizer = build()
    causal = is_causal(model)
    sessions = sessions_of(store, tokenizer, 50 * batch, prompt, causal)
    order = np.random.default_rng(0).permutation(len(sessions.titles))
    shuffled = [order[at * batch : (at + 1) * batch] for at in range(steps + 1)]
    grouped = BatchPlan(sessions.lengths, batch, 0).epoch(0)[: steps + 1]
    same: dict[str, Any] = {"device": "cpu", "rate": RATE}

    def fresh(trimmed: bool = False) -> tuple[Any, Sessions]:
        one, spelled = copy.deepcopy(model), sessions
        if trimmed:
            one, smaller = _trim(one, tokenizer, store, prompt)
            spelled = sessions_of(store, smaller, 50 * batch, prompt, causal)
        return (one if rank is None else _adapted(one, rank)).train(), spelled

    def ours(batches: Any, trimmed: bool = False) -> tuple[Course, Any]:
        trained, spelled = fresh(trimmed)
        return own_training(trained, spelled, batches, row_tokens=PACKED_ON_CPU, **same), trained

    plain, (equal, _), (own, trained), (cut, _) = (
        plain_training(fresh()[0], sessions, shuffled, **same),
        ours(shuffled),
        ours(grouped),
        ours(grouped, trimmed=True),
    )
    found: dict[str, Any] = {"training": [plain, equal, own, cut]}
    if rank is not None:  # a frozen base is held in bf16 where a training computes in it
        halved = _adapted(copy.deepcopy(model).to(torch.bfloat16), rank).train()
        found["training"].append(own_training(halved, sessions, shuffled, row_tokens=PACKED_ON_CPU, bf16=True, **same))
    trained = (trained.merge_and_unload() if rank else trained).eval()
    prompts = sessions.prompts[:written]
    asked: dict[str, Any] = {"device": "cpu", "most": TARGET // 2}
    ways = {
        "plain, one by one": plain_titles(trained, tokenizer, prompts, batch=1, **asked),
        "plain, 8 at once": plain_titles(trained, tokenizer, prompts, batch=8, **asked),
        "llmrec": own_titles(trained, tokenizer, prompts, batch=64, **asked),
    }
    halved = copy.deepcopy(trained).to(torch.bfloat16)
    ways["llmrec, bf16"] = own_titles(halved, tokenizer, prompts, batch=64, **asked)
    if not causal:
        ways["llmrec, CTranslate2 fp32"] = own_titles(trained, tokenizer, prompts, batch=64, fast=True, **asked)
    return found | {"writing": ways}


def _lora(model: str, store: Path, steps: int, batch: int, written: int) -> dict[str, Any]:
    return _compare(lambda: _causal(model), store, "instruct", steps, batch, written, 16)


def _full(width: int, store: Path, steps: int, batch: int, written: int) -> dict[str, Any]:
    return _compare(lambda: _small_t5(store, width), store, "plain", steps, batch, written, None)


@app.command()
def titles(
    model: Annotated[str, typer.Option(help="Causal model: a GGUF file or a folder. Without it, mT5 alone.")] = "",
    data: Annotated[Path | None, typer.Option(help="Store. Default: synthetic, small.")] = None,
    steps: int = 4,
    batch: int = 8,
    written: int = 32,
    width: int = 64,
) -> None:
    """Tokens a CPU second of training (LoRA; all weights of a small mT5) and of writing, beside a plain loop."""
    store = data or store_of("small")
    asked = (store, steps, batch, written)
    cases: dict[str, Any] = {f"mT5 of width {width}, all weights": (_full, width)}
    if model:
        cases = {f"LoRA, {Path(model).name}": (_lora, model), **cases}
    for name, (run, what) in cases.items():
        one = measure(run, what, *asked)
        plain, equal, *others = one.value["training"]
        base = plain.title_tokens / plain.seconds
        rows: list[tuple[str, ...]] = []
        ways = (
            "llmrec, batches of similar lengths",
            "the same, vocabulary trimmed",
            "llmrec in bf16, the same sessions",
        )
        named = {
            "plain loop": plain,
            "llmrec, the same sessions a step": equal,
            **dict(zip(ways, others, strict=False)),
        }
        for way, course in named.items():
            rate = course.title_tokens / course.seconds
            apart = f"{compared_losses(course, plain):.1e}" if "same sessions" in way else ""
            rows.append((way, f"{rate:,.1f}", f"{course.tokens / course.seconds:,.0f}", f"{rate / base:.2f} x", apart))
        heads = ("training", "title tokens a CPU s", "tokens a CPU s", "title tokens", "losses apart")
        out.print(table(name, heads, rows))
        slow, expected = one.value["writing"]["plain, one by one"]
        rows = []
        for way, (seconds, texts) in one.value["writing"].items():
            same = np.mean([a == b for a, b in zip(texts, expected, strict=True)])
            rows.append((way, f"{len(texts) / seconds:.2f}", f"{slow / seconds:.2f} x", f"{same:.1%}"))
        out.print(table(f"{name}: {written} greedy titles", ("writing", "titles a CPU s", "", "equal"), rows))
