"""What ``llmrec rerank`` is asked for, in a module that loads nothing: help need not wait for models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal

from llmrec.settings import option

__all__ = ["DEFAULT_PROMPTS", "Method", "RerankJob", "RerankSettings"]

Method = Literal["likelihood", "pmi", "yes", "list"]
DEFAULT_PROMPTS: Final = {"likelihood": "instruct", "pmi": "instruct", "yes": "rerank/yes", "list": "rerank/list"}


@dataclass(frozen=True, kw_only=True)
class RerankSettings:
    """Settings of `llmrec.rerank`."""

    model: str = option(
        ..., "Language model: folder, adapter, GGUF file or hub name; with --server, what the server calls it."
    )
    method: Method = option("likelihood", "What the model is asked: likelihood, pmi, yes or list.")
    top: int = option(20, "Candidates that are ordered anew; those behind keep their places.", minimum=2, maximum=50)
    weight: float = option(
        1.0, "Share of the model's score; the rest is minus the logarithm of the old rank.", minimum=0, maximum=1
    )
    prompt: str | None = option(None, "Prompt, by name or file. Default: the model's own, or that of the method.")
    k: int | None = option(
        None, "K: number of most recent titles in the prompt. Default: the model's own, or 3.", minimum=1
    )
    shuffles: int = option(
        4, "Orders in which --method list shows the candidates; ranks are averaged.", minimum=1, maximum=1_000
    )
    seed: int = option(0, "Random seed of these orders, and of a server's sampling.", minimum=0)
    max_source_tokens: int | None = option(
        None,
        "Longest prompt, in tokens. Older titles are cut first. Default: the model's own, or 2048.",
        minimum=4,
        maximum=131_072,
    )
    max_target_tokens: int | None = option(
        None, "Longest title, in tokens. Default: the model's own, or 96.", minimum=2, maximum=65_536
    )
    precision: Literal["fp32", "bf16"] = option(
        "fp32",
        "Numbers that a model on this machine computes with. bf16 is quicker on some machines, slower on others.",
    )
    server: str | None = option(None, "OpenAI-compatible server, such as http://localhost:8000/v1.")
    concurrency: int = option(8, "Most requests at once.", minimum=1, maximum=10_000)
    retries: int = option(6, "How often to repeat a request that fails.", minimum=0, maximum=1_000)
    timeout_s: float = option(
        120.0, "Longest wait for an answer, in seconds.", flag="--timeout", minimum=0.1, maximum=86_400
    )
    max_tokens: int = option(512, "Longest answer of a server, in tokens.", minimum=2)


@dataclass(frozen=True, kw_only=True)
class RerankJob(RerankSettings):
    """What to order, by which model, and where to.

    The model reads titles alone. likelihood is the mean log-probability of a candidate's tokens after the session's
    titles; pmi the same, less what it is without them; yes the odds of yes against no; list an order of all
    candidates, averaged over several shuffles. Give the same command again after an interruption.

    Example: llmrec rerank runs/covisit.parquet --model smollm2.gguf --sessions test.parquet --products products.parquet
    --out runs/reranked.parquet
    """

    HELP_PANELS: ClassVar[Mapping[str, str]] = {
        "Input": "sessions products limit",
        "Output": "out resume cache",
        "Ordering": "method top weight shuffles seed",
        "Model and prompt": "model prompt k max_source_tokens max_target_tokens precision",
        "Server": "server concurrency retries timeout_s max_tokens",
    }

    run: Path = option(..., "Run of ranked lists.", argument=True)
    sessions: Path = option(..., "Sessions of the run: CSV or Parquet.")
    products: Path = option(..., "Products, for their titles: CSV or Parquet.")
    out: Path = option(..., "Run to write (Parquet).", output="run")
    limit: int | None = option(None, "Use only the first sessions. The run is marked partial.", minimum=1)
    resume: bool = option(True, "Use the answers of an interrupted run, or ask anew.", flag="--resume/--overwrite")
    cache: Path | None = option(
        None, "File of known answers, kept for other weights and runs. Default: beside --out until it is written."
    )
