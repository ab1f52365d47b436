"""One GPU in at most eight minutes: training, adapters, writing, FAISS and ZeRO, beside plain loops, with one table.

Every step runs in a process of its own that is ended when its time is up; one whose package is missing says so. Models
have the sizes of the real ones and random weights, sessions random tokens. ``--toy`` rehearses all of it on a CPU.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from bench.loops import Course, Sessions, own_titles, own_training, plain_titles, plain_training
from bench.measure import app, resident, start_peak
from llmrec.console import notice, out, table

__all__ = ["gpu"]

Found = dict[str, Any]
TOTAL_S: Final = 470
SLOW: Final = 20  # times as long a rehearsal may take, beside whatever else a machine does
PEAKS: Final = {  # bf16, dense, in TFLOP/s, from the makers' data sheets
    **{"H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "A6000": 155, "L40S": 362, "L40": 181, "L4": 121},
    **{"A10": 125, "4090": 165, "5090": 210, "3090": 71},
}
KEPT: Final = 16_384  # tokens of a trimmed vocabulary; sessions are spelled with these
GEMMA: Final = {  # Gemma 3 270M
    **{"vocab_size": 262_144, "hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18},
    **{"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256, "tie_word_embeddings": True},
}
TOY: Final = {"vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8}
TOY_T5: Final = {"vocab_size": 512, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}


class _Tokens:
    """Stands in for a tokenizer where sessions are tokens: a text is their numbers."""

    pad_token_id: Final = 0

    def batch_decode(self, rows: Any, **_: Any) -> list[str]:
        """Numbers up to the end."""
        return [" ".join(str(int(one)) for one in row if one > 1) for row in rows]


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _sessions(number: int, toy: bool, causal: bool) -> Sessions:
    """Prompts and titles as long as real ones, K = 3, of random tokens: few are frequent, as words are."""
    rng, known = np.random.default_rng(0), (500 if toy else KEPT) - 10

    def rows(low: int, high: int) -> list[list[int]]:
        return [[*(10 + rng.zipf(1.3, size) % known).tolist(), 1] for size in rng.integers(low, high, number)]

    prompts, titles = (rows(8, 24), rows(4, 8)) if toy else (rows(48, 128), rows(10, 48))
    return Sessions([row[:-1] for row in prompts] if causal else prompts, titles)


def _t5(name: str, toy: bool) -> Any:
    import torch
    from transformers import AutoModelForSeq2SeqLM, MT5Config

    from llmrec.titles.models.architectures import known_models

    sizes = TOY_T5 if toy else known_models()[name]["config"]
    torch.manual_seed(0)
    config = MT5Config(**{**sizes, "dropout_rate": 0.0, "decoder_start_token_id": 0})
    model = AutoModelForSeq2SeqLM.from_config(config)
    model.lm_head.weight = torch.nn.Parameter(0.05 * torch.randn_like(model.lm_head.weight))  # built, it is tied
    return model


def _causal(file: str, toy: bool) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, Gemma3TextConfig

    from llmrec.titles.models.model import load_model

    if file:
        return load_model(file)[0]
    torch.manual_seed(0)
    sizes = {**GEMMA, **TOY} if toy else GEMMA
    return AutoModelForCausalLM.from_config(Gemma3TextConfig(**sizes, pad_token_id=0, eos_token_id=1, bos_token_id=2))


def _flops(model: Any, course: Course, adapted: bool) -> float:
    """Multiplications and additions that a training needs: six a weight and token, four where weights are frozen."""
    prompts = course.tokens - course.title_tokens
    head = model.get_output_embeddings().weight
    ends = [head, model.get_input_embeddings().weight]

    def inner(part: Any) -> int:
        return sum(one.numel() for one in part.parameters() if not any(one is end for end in ends))

    per = 4 if adapted else 6
    if model.config.is_encoder_decoder:
        work = inner(model.get_encoder()) * prompts + inner(model.get_decoder()) * course.title_tokens
    else:
        work = inner(model) * course.tokens
    return float(per * (work + head.numel() * course.title_tokens))


def _courses(
    model: Any, ways: dict[str, tuple[Any, Callable[..., Course], str]], steps: int, batch: int, toy: bool, causal: bool
) -> Found:
    """Train copies of a model in several ways on the same sessions a step, or on batches of similar lengths."""
    from llmrec.titles.training.batches import BatchPlan

    device, sessions = _device(), _sessions(max(8 * batch, (steps + 1) * batch), toy, causal)
    order = np.random.default_rng(0).permutation(len(sessions.titles))
    batches = {
        "same": [order[at * batch : (at + 1) * batch] for at in range(steps + 1)],
        "grouped": BatchPlan(sessions.lengths, batch, 0).epoch(0)[: steps + 1],
    }
    found: Found = {}
    for way, (prepare, train, which) in ways.items():
        trained = prepare(copy.deepcopy(model)).to(device).train()
        held = _start_peak(device)
        course = train(trained, sessions, batches[which], device=device, rate=1e-4, bf16=device == "cuda")
        adapted = any(not one.requires_grad for one in trained.parameters())
        found[way] = {
            "title_tokens_s": course.title_tokens / course.seconds,
            "tokens_s": course.tokens / course.seconds,
            "flop_s": _flops(trained, course, adapted) / course.seconds,
            "peak_gib": (_peak(device) - held) / 2**30,
            "losses": course.losses,
        }
        del trained
    plain, equal = (np.array(found[way]["losses"]) for way in ("plain", "llmrec, same sessions"))
    found["equal"] = f"losses within {np.max(np.abs(equal / plain - 1)):.1e}"
    return found


def _start_peak(device: str) -> int:
    if device == "cpu":
        return start_peak()
    import torch

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return 0


def _peak(device: str) -> int:
    if device == "cpu":
        return resident("VmHWM")
    import torch

    return int(torch.cuda.max_memory_allocated())


def train_t5(name: str, toy: bool, _: str) -> Found:
    """An mT5 with all weights: a plain loop, ours on the same sessions, in our order, and with a trimmed vocabulary."""
    from llmrec.titles.models.trim import select_rows

    kept = np.arange(320 if toy else KEPT)
    ways = {
        "plain": (lambda one: one, plain_training, "same"),
        "llmrec, same sessions": (lambda one: one, own_training, "same"),
        "llmrec": (lambda one: one, own_training, "grouped"),
    }
    if not toy:  # whose sessions use all tokens
        ways["llmrec, trimmed"] = (lambda one: select_rows(one, kept), own_training, "grouped")
    return _courses(_t5(name, toy), ways, *((2, 4) if toy else (8, 64)), toy, causal=False)


def train_lora(_: str, toy: bool, file: str) -> Found:
    """Adapters on a causal model of 270 million weights."""
    from llmrec.titles.models.lora import add_adapters
    from llmrec.titles.settings import GenerateConfig

    def adapted(model: Any) -> Any:
        return add_adapters(model, GenerateConfig(base_model="a folder", lora_rank=16))

    ways = {
        "plain": (adapted, plain_training, "same"),
        "llmrec, same sessions": (adapted, own_training, "same"),
        "llmrec": (adapted, own_training, "grouped"),
    }
    return _courses(_causal(file, toy), ways, *((2, 4) if toy else (8, 64)), toy, causal=True)


def write(kind: str, toy: bool, file: str) -> Found:
    """Greedy titles of a model that was trained for some steps: one by one, 8 at once, and in our batches."""
    causal, device = kind == "causal", _device()
    model, tokens = (_causal(file, toy) if causal else _t5("google/mt5-small", toy)).to(device), _Tokens()
    few, many, batch = (3, 8, 4) if toy else (8, 512, 256)
    sessions = _sessions(many, toy, causal)
    steps = np.array_split(np.arange(many), 2 if toy else 16)
    own_training(model.train(), sessions, steps, device=device, rate=1e-3)
    model, most = model.eval(), 4 if toy else 32
    ways: dict[str, tuple[int, Callable[[Any], tuple[float, list[str]]]]] = {
        "plain, one by one": (few, lambda some: plain_titles(model, tokens, some, device=device, batch=1, most=most)),
        "plain, 8 at once": (few, lambda some: plain_titles(model, tokens, some, device=device, batch=8, most=most)),
        "llmrec": (many, lambda some: own_titles(model, tokens, some, device=device, batch=batch, most=most)),
    }
    found: Found = {}
    for way, (number, run) in ways.items():
        _start_peak(device)
        run(sessions.prompts[:2])
        seconds, titles = run(sessions.prompts[:number])
        found[way] = {"titles_s": number / seconds, "peak_gib": _peak(device) / 2**30, "titles": titles[:few]}
    expected = found["plain, one by one"]["titles"]
    equal = sum(a == b for a, b in zip(found["llmrec"]["titles"], expected, strict=True))
    return found | {"equal": f"{equal} of {few} titles equal"}


def search(_: str, toy: bool, __: str) -> Found:
    """Build and search a FAISS index on the GPU; the ids are those of the CPU."""
    import faiss

    on_gpu = getattr(faiss, "get_num_gpus", lambda: 0)() > 0
    if not on_gpu and not toy:
        return {"missing": "this FAISS has no GPU (pip install faiss-gpu-cu12)"}
    number, width, asked, k = (500, 16, 8, 5) if toy else (500_000, 384, 1_000, 100)
    rng = np.random.default_rng(0)
    vectors, queries = (rng.standard_normal((size, width), dtype=np.float32) for size in (number, asked))

    def move(index: Any) -> Any:
        return faiss.index_cpu_to_all_gpus(index) if on_gpu else index

    found, ids = Found(), {}
    for way in ("CPU, flat", "GPU, flat"):
        started = time.perf_counter()
        index = faiss.IndexFlatIP(width)
        index = move(index) if way.startswith("GPU") else index
        index.add(vectors)
        built = time.perf_counter()
        ids[way] = index.search(queries, k)[1]
        found[way] = {"build_s": built - started, "queries_s": asked / (time.perf_counter() - built)}
    started = time.perf_counter()
    inverted = move(faiss.index_factory(width, f"IVF{4 if toy else 1024},Flat", faiss.METRIC_INNER_PRODUCT))
    inverted.train(vectors)
    inverted.add(vectors)
    found["GPU, IVF"] = {"build_s": time.perf_counter() - started}
    return found | {"equal": f"{np.mean(ids['GPU, flat'] == ids['CPU, flat']):.2%} of ids equal"}


def zero(_: str, toy: bool, __: str) -> Found:
    """`scripts/gen.py` in one plain process, under ZeRO-2 and under ZeRO-3: the same losses."""
    script = Path(__file__).resolve().parents[1] / "gen.py"
    flags = "--base-model tiny --k 2 --best-by loss --log-to none --limit 8 --validation-sample 32 --eval-every 2 "
    flags += (
        "--tiny-width 32 --tiny-layers 1 --max-steps 4 --batch-size 8"
        if toy
        else ("--tiny-width 512 --tiny-layers 6 --max-steps 10 --batch-size 64")
    )
    environment = {**os.environ, **({} if _device() == "cuda" else {"ACCELERATE_USE_CPU": "true"})}
    found: Found = {}
    with tempfile.TemporaryDirectory() as folder:
        for stage in (0, 2, 3):
            launcher = ["-m", "accelerate.commands.launch", "--num_processes", "1", "--num_machines", "1"]
            launcher += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
            launcher += ["--use_deepspeed", "--zero_stage", str(stage), "--zero3_save_16bit_model", "true"]
            run, started = Path(folder) / f"zero{stage}", time.perf_counter()
            command = [
                sys.executable,
                *(launcher if stage else []),
                str(script),
                *flags.split(),
                "--output-dir",
                str(run),
            ]
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"ZeRO-{stage}: {done.stderr.strip().splitlines()[-1][:300]}")
            lines = [json.loads(line) for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines()]
            taken = {"seconds": time.perf_counter() - started, "train_s": lines[-1]["seconds"]}
            found[f"ZeRO-{stage}" if stage else "plain"] = {**taken, "losses": [one["train_loss"] for one in lines]}
    apart = [
        np.max(np.abs(np.array(found[f"ZeRO-{stage}"]["losses"]) / found["plain"]["losses"] - 1)) for stage in (2, 3)
    ]
    return found | {"equal": f"losses within {max(apart):.1e}"}


STEPS: Final[dict[str, tuple[Callable[..., Found], str, int, str]]] = {  # what, of which model, seconds, package
    "mT5-small": (train_t5, "google/mt5-small", 80, ""),
    "mT5-base": (train_t5, "google/mt5-base", 90, ""),
    "LoRA, 270 M": (train_lora, "", 70, "peft"),
    "writing, mT5-small": (write, "t5", 50, ""),
    "writing, 270 M": (write, "causal", 50, ""),
    "FAISS": (search, "", 40, "faiss"),
    "ZeRO": (zero, "", 110, "deepspeed"),
}


def _child(pipe: Any, step: str, toy: bool, file: str) -> None:
    run, name, _, _ = STEPS[step]
    try:
        pipe.send(run(name, toy, file))
    except Exception as error:  # noqa: BLE001 - one step's fault is no other's
        pipe.send({"failed": f"{type(error).__name__}: {error}"[:300]})


def _bounded(step: str, toy: bool, file: str, seconds: float) -> Found:
    """What a step finds, or why it found nothing; it is ended when its time is up."""
    package = STEPS[step][3]
    if package and importlib.util.find_spec(package) is None:
        return {"missing": f"{package} is not installed"}
    if seconds < 5:
        return {"failed": "no time was left"}
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(there, step, toy, file))
    process.start()
    there.close()
    try:
        found: Found = here.recv() if here.poll(seconds) else {"failed": f"took more than {seconds:.0f} s"}
    except EOFError:
        found = {"failed": f"died with status {process.exitcode}"}
    process.join(1)
    if process.is_alive():
        process.kill()
    return found


def _rows(step: str, found: Found, peak: float | None) -> list[tuple[str, ...]]:
    """A step's lines of the table."""
    if why := found.get("missing") or found.get("failed"):
        return [(step, why, "", "", "", "")]
    rows: list[tuple[str, ...]] = []
    first = next(iter(found.values()))
    for way, one in found.items():
        if way == "equal":
            continue
        name = next((key for key in ("title_tokens_s", "titles_s", "queries_s") if key in one), None)
        rate = f"{one[name]:,.1f} {name.removesuffix('_s').replace('_', ' ')}/s" if name else ""
        times = f"{one[name] / first[name]:.1f} x" if name and name in first else ""
        share = f"{one['flop_s'] / peak:.1%}" if peak and "flop_s" in one else ""
        rate += "".join(f" {key.removesuffix('_s')} {one[key]:.1f} s" for key in ("build_s", "train_s") if key in one)
        memory = f"{one['peak_gib']:.2f}" if "peak_gib" in one else ""
        rows.append((f"{step}: {way}", rate.strip(), times, share, memory, found["equal"] if one is first else ""))
    return rows


@app.command()
def gpu(
    toy: Annotated[bool, typer.Option(envvar="LLMREC_BENCH_TOY", help="Rehearse it at toy size, on a CPU.")] = False,
    only: Annotated[list[str] | None, typer.Option(help=f"Steps: {', '.join(STEPS)}. Default: all.")] = None,
    causal: Annotated[str, typer.Option(help="GGUF file or folder for LoRA. Default: Gemma 3 270M's sizes.")] = "",
    peak: Annotated[float | None, typer.Option(help="Peak of the GPU in bf16, TFLOP/s. Default: by its name.")] = None,
    result: Annotated[Path, typer.Option("--out", help="JSON file with all figures.")] = Path("gpu.json"),
) -> None:
    """Train, write, search and share weights on one GPU, in at most eight minutes; a table and a JSON file."""
    import torch

    if not torch.cuda.is_available() and not toy:
        notice("no GPU is here; rehearse the steps with --toy")
        raise typer.Exit(2)
    started, device = time.monotonic(), torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    known = peak or next((size for name, size in PEAKS.items() if name in device), None)
    every: Found = {"device": device, "peak_tflops": known, "torch": torch.__version__, "toy": toy, "steps": {}}
    rows: list[tuple[str, ...]] = []
    for step in only or STEPS:
        slow = SLOW if toy else 1
        left = slow * TOTAL_S - (time.monotonic() - started)
        found = every["steps"][step] = _bounded(step, toy, causal, min(slow * STEPS[step][2], left))
        rows += _rows(step, found, known and known * 1e12)
        result.write_text(json.dumps(every, indent=2), encoding="utf-8")  # what is done stays, whatever comes
        notice(f"{step}: {found.get('equal') or found.get('missing') or found.get('failed')}")
    every["seconds"] = time.monotonic() - started
    result.write_text(json.dumps(every, indent=2), encoding="utf-8")
    heads = ("step", "rate", "of plain", "of bf16 peak", "peak GiB", "equal")
    out.print(table(f"{device}, {every['seconds']:.0f} s; {result}", heads, rows))
