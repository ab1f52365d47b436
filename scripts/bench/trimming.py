"""Fine-tuning with the whole vocabulary of mT5 and with a trimmed one; random weights, for no hub is at hand."""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.measure import app, measure, show, store_of
from llmrec.console import out, table

__all__ = ["train", "trim"]

MT5_TOKENS: Final = 250_100  # and 12 rows of the embedding that no token has
MT5_ROWS: Final = 250_112
LEARNT: Final = 8_000
PRIVATE: Final = 0xE000  # characters that no text has, for pieces that no text uses
SOURCE, TARGET = 128, 64  # tokens that the plain loop pads to
LOG_EVERY: Final = 5
RATE: Final = 1e-3
Course = tuple[float, list[tuple[int, float]]]  # CPU seconds; title tokens seen and loss, every few steps


def wide_tokenizer(store: Path) -> Any:
    """A tokenizer learnt from a store's titles, with unused pieces up to the size of mT5's."""
    import pyarrow.parquet as pq
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    from llmrec.titles.models.tokenizer import build_tokenizer

    titles = pq.ParquetFile(store / "products.parquet").read(columns=["title"]).column("title")
    learnt = build_tokenizer(titles.slice(0, 20_000).to_pylist(), LEARNT)
    state = json.loads(learnt.backend_tokenizer.to_str())
    pieces = state["model"]["vocab"]
    worst = min(score for _, score in pieces)
    unused = (chr(PRIVATE + number // 500) + chr(PRIVATE + number % 500) for number in itertools.count())
    pieces += [[piece, worst - 1e-6] for piece in itertools.islice(unused, MT5_TOKENS - len(pieces))]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    )


def _load(model: Path, store: Path, trimmed: bool, threads: int) -> tuple[Any, Any]:
    import torch

    from llmrec.data.store import Store
    from llmrec.text.prompts import load_prompt
    from llmrec.titles.models.model import load_model
    from llmrec.titles.models.trim import trim

    torch.set_num_threads(threads)
    loaded, tokenizer = load_model(str(model))
    if trimmed:
        loaded, tokenizer = trim(loaded, tokenizer, Store.load(store), [load_prompt("plain_v1")])
    return loaded, tokenizer


def _parts(store: Path, tokenizer: Any, cache: Path, split: str, sessions: int) -> Any:
    from llmrec.data.store import Store
    from llmrec.text.prompts import load_prompt
    from llmrec.titles.prompting.prompt_sessions import build_training_prompts

    return build_training_prompts(
        Store.load(store),
        split,
        k=3,
        prompt=load_prompt("plain_v1"),
        cache=cache,
        tokenizer=tokenizer,
        max_source_tokens=SOURCE,
        max_target_tokens=TARGET,
        sample=sessions,
    )


def _make_small(store: Path, out: Path) -> None:
    """The architecture of mT5-small, whose head is not tied, with random weights."""
    import torch
    from transformers import MT5Config, MT5ForConditionalGeneration

    from llmrec.titles.models.model import save_model

    config = MT5Config(vocab_size=MT5_ROWS, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
    torch.manual_seed(0)
    model = MT5ForConditionalGeneration(config)
    model.lm_head.weight = torch.nn.Parameter(0.05 * torch.randn(MT5_ROWS, config.d_model))  # built, it is tied
    save_model(out, model, wide_tokenizer(store), None)


def _save_trimmed(model: Path, store: Path, out: Path) -> None:
    from llmrec.titles.models.model import save_model

    save_model(out, *_load(model, store, trimmed=True, threads=1), None)


def _steps(model: Path, store: Path, steps: int, batch: int, threads: int) -> dict[str, float]:
    """CPU seconds of a step with AdamW, without the first one, and the size of the model."""
    import torch

    from llmrec.titles.training.batches import read_tokens
    from llmrec.titles.training.losses import title_loss

    loaded, tokenizer = _load(model, store, False, threads)
    optimizer = torch.optim.AdamW(loaded.parameters(), lr=1e-4)
    seconds = []
    with tempfile.TemporaryDirectory() as cache:
        sessions = _parts(store, tokenizer, Path(cache), "development", (steps + 1) * batch).dataset
        for rows in np.arange(len(sessions)).reshape(-1, batch):
            started = time.process_time()
            loss: Any = title_loss(loaded, read_tokens(sessions, rows), "cpu")
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            seconds.append(time.process_time() - started)
    return {
        "tokens": loaded.config.vocab_size,
        "parameters": sum(weight.numel() for weight in loaded.parameters()),
        "step_s": float(np.median(seconds[1:])),
    }


@app.command()
def trim(steps: int = 5, batch: int = 8, threads: int = 1) -> None:
    """Parameters, memory and CPU seconds of a training step of mT5-small's architecture, whole and trimmed."""
    store = store_of("small")
    with tempfile.TemporaryDirectory() as folder:
        whole, cut = Path(folder) / "whole", Path(folder) / "trimmed"
        measure(_make_small, store, whole)
        measure(_save_trimmed, whole, store, cut)
        measured = [measure(_steps, model, store, steps, batch, threads) for model in (whole, cut)]
    rows = [
        (
            f"{one.value['tokens']:,} tokens",
            one,
            f"{one.value['parameters'] / 1e6:.1f} M parameters, {one.value['step_s']:.2f} CPU s a step",
        )
        for one in measured
    ]
    times = measured[0].value["step_s"] / measured[1].value["step_s"]
    show(f"mT5-small's architecture, batches of {batch}: a step is {times:.1f} x as quick trimmed", rows)


def _make_tiny(store: Path, out: Path, width: int) -> None:
    from llmrec.titles.models.model import build_tiny_mt5, save_model

    save_model(out, build_tiny_mt5(MT5_ROWS, width, 2, seed=0), wide_tokenizer(store), None)


def _plain_loop(model: Path, store: Path, steps: int, batch: int, threads: int) -> Course:
    """CPU seconds, title tokens seen and loss every few steps, as in transformers' ``run_summarization_no_trainer``.

    Sessions in random order, every batch padded to the same lengths, the whole vocabulary, the model's own loss.
    """
    import torch

    from llmrec.titles.training.batches import read_tokens

    loaded, tokenizer = _load(model, store, trimmed=False, threads=threads)
    optimizer = torch.optim.AdamW(loaded.parameters(), lr=RATE, weight_decay=0.0)
    with tempfile.TemporaryDirectory() as cache:
        sessions = _parts(store, tokenizer, Path(cache), "development", steps * batch).dataset
        order = np.random.default_rng(0).permutation(len(sessions))
        curve, seen, losses, started = [], 0, [], time.process_time()
        for step, rows in enumerate(np.array_split(order, steps), 1):
            tokens = read_tokens(sessions, rows)
            inputs, labels = _fixed(tokens["input_ids"], SOURCE, 0), _fixed(tokens["labels"], TARGET, -100)
            loss = loaded(input_ids=inputs, attention_mask=(inputs != 0).long(), labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(loaded.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            seen += int((labels != -100).sum())
            losses.append(float(loss.detach()))
            if step % LOG_EVERY == 0:
                curve.append((seen, float(np.mean(losses[-LOG_EVERY:]))))
        return time.process_time() - started, curve


def _fixed(rows: list[list[int]], width: int, value: int) -> Any:
    import torch

    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


def _own_loop(model: Path, store: Path, trimmed: bool, steps: int, batch: int, threads: int) -> Course:
    """The same of `llmrec.titles.training.train`."""
    from accelerate import Accelerator

    from llmrec.titles.models.model import ModelCard
    from llmrec.titles.settings import GenerateConfig
    from llmrec.titles.training.batches import BatchPlan, token_lengths
    from llmrec.titles.training.train import train

    loaded, tokenizer = _load(model, store, trimmed, threads)
    config = GenerateConfig(
        k=3, epochs=1, batch_size=batch, learning_rate=RATE, schedule="constant", eval_every=LOG_EVERY
    )
    card = ModelCard("plain_v1", "", 3, SOURCE, TARGET)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sessions = _parts(store, tokenizer, folder, "development", steps * batch)
        few = _parts(store, tokenizer, folder, "validation", 2)  # the loop wants some; they cost next to nothing
        accelerator, started = Accelerator(cpu=True), time.process_time()
        train(accelerator, loaded, tokenizer, sessions, few, config=config, card=card, folder=folder, settings={})
        seconds = time.process_time() - started
        history = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
        titles = token_lengths(sessions.dataset, "labels")
        lengths = token_lengths(sessions.dataset, "input_ids") + titles
    seen = np.cumsum([titles[rows].sum() for rows in BatchPlan(lengths, batch, config.seed).epoch(0)])
    return seconds, [(int(seen[one["step"] - 1]), one["train_loss"]) for one in history]


@app.command()
def train(steps: int = 40, batch: int = 12, width: int = 64, threads: int = 1) -> None:
    """Title tokens a CPU second of fine-tuning, and the loss by tokens seen, beside a plain loop."""
    store = store_of("small")
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        measure(_make_tiny, store, model, width)
        measured = {
            "plain: fixed padding, whole vocabulary": measure(_plain_loop, model, store, steps, batch, threads),
            "llmrec, whole vocabulary": measure(_own_loop, model, store, False, steps, batch, threads),
            "llmrec, trimmed vocabulary": measure(_own_loop, model, store, True, steps, batch, threads),
        }
    curves = [one.value[1] for one in measured.values()]
    rates = [one.value[1][-1][0] / one.value[0] for one in measured.values()]
    rows = [
        (name, one, f"{rate:,.0f} title tokens a CPU second, {rate / rates[0]:.1f} x")
        for (name, one), rate in zip(measured.items(), rates, strict=True)
    ]
    show(f"fine-tuning an mT5 of width {width}, batches of {batch}", rows)
    marks = [
        (f"{seen:,}", f"{loss:.3f}", *(f"{_loss_at(seen, curve):.3f}" for curve in curves[1:]))
        for seen, loss in curves[0]
    ]
    out.print(table("loss by title tokens seen", ("tokens", "plain", "llmrec", "llmrec, trimmed"), marks))


def _loss_at(seen: int, curve: list[tuple[int, float]]) -> float:
    """Loss after so many tokens, between two marks by a straight line."""
    tokens, losses = zip(*curve, strict=True)
    return float(np.interp(seen, tokens, losses))
