"""What one comparison runs: its settings, and the cells that they make."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from llmrec.errors import ConfigError
from llmrec.settings import option
from llmrec.text.prompts import Prompt

__all__ = ["Cell", "CompareSettings", "build_cells", "check_server"]


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """Settings of ``llmrec prompts compare``.

    The key of a server comes from LLMREC_API_KEY or OPENAI_API_KEY in the environment. It is never written
    anywhere.

    Example: llmrec prompts compare plain instruct --data STORE --model runs/mt5/model --k 1 --k 3 --out runs/compared
    """

    HELP_PANELS: ClassVar[Mapping[str, str]] = {
        "Input": "data num_sessions split locales seed",
        "Output": "out num_examples cache",
        "What to compare": "models model k shots decode_precision",
        "Server": "server concurrency retries timeout_s temperature max_tokens",
    }

    prompts: Sequence[str] = option(..., "Prompts to compare, by name or file.", argument=True, metavar="NAME...")
    data: Path = option(..., "Store that `llmrec data import` wrote.")
    models: Sequence[str] = option(
        ...,
        "Folder of a model, GGUF file, or the name of a server's model. Can be repeated.",
        flag="--model",
    )
    out: Path = option(..., "Folder for report.html, comparison.json and the answers.", output="place")
    k: Sequence[int] = option((3,), "K: number of most recent titles. Can be repeated.")
    shots: Sequence[int] = option(
        (0,), "Number of examples, for models of a server and causal ones that nobody fine-tuned. Can be repeated."
    )
    locales: Sequence[str] = option((), "Draw sessions of this locale only. Can be repeated.", flag="--locale")
    num_sessions: int = option(200, "Number of sessions to draw, the same for every row.", flag="--sessions", minimum=1)
    split: str = option("validation", "Split to draw from: validation, development or train.")
    seed: int = option(0, "Random seed of sessions, examples and sampling.", minimum=0)
    server: str | None = option(None, "OpenAI-compatible server, such as http://localhost:8000/v1.")
    concurrency: int = option(8, "Most requests at once.", minimum=1, maximum=10_000)
    retries: int = option(6, "How often to repeat a request that fails.", minimum=0, maximum=1_000)
    timeout_s: float = option(
        120.0, "Longest wait for an answer, in seconds.", flag="--timeout", minimum=0.1, maximum=86_400
    )
    temperature: float = option(0.0, "Sampling temperature of chat models. 0 is greedy.", minimum=0)
    max_tokens: int = option(96, "Longest answer of a chat model, in tokens.", minimum=2)
    decode_precision: Literal["fp32", "bf16"] = option(
        "fp32", "Precision of models that run here. bf16 is quicker on some machines, slower on others."
    )
    num_examples: int = option(6, "Sessions to show side by side on the page.", flag="--examples", minimum=0)
    cache: Path | None = option(None, "File of known answers. Default: answers.sqlite in --out.")


@dataclass(frozen=True)
class Cell:
    """One combination: what a model is told, and which model.

    Attributes:
        model: Folder or name.
        local: Whether the model runs here rather than on the server.
        prompt: Prompt.
        k: Number of most recent titles.
        shots: Number of examples; None for a model that reads none.
    """

    model: str
    local: bool
    prompt: Prompt
    k: int
    shots: int | None

    @property
    def model_label(self) -> str:
        """Model without the machine's folders: ``mt5_small_k3/model`` of a longer path."""
        return "/".join(Path(self.model).parts[-2:]) if self.local or Path(self.model).is_absolute() else self.model

    @property
    def prompt_label(self) -> str:
        """Prompt without its task, or the name of a user's own file."""
        return Path(self.prompt.name).stem

    @property
    def label(self) -> str:
        """The combination in one line."""
        shots = "" if self.shots is None else f", {self.shots} shots"
        return f"{self.model_label}, {self.prompt_label}, K = {self.k}{shots}"


def build_cells(
    models: Sequence[tuple[str, bool, bool]], prompts: Sequence[Prompt], k: Sequence[int], shots: Sequence[int]
) -> list[Cell]:
    """Every combination once, models outermost, so that one model at a time is in memory.

    Args:
        models: Name of each model, whether it runs here, and whether it reads examples.
        prompts: Prompts.
        k: Numbers of most recent titles.
        shots: Numbers of examples.

    Raises:
        ConfigError: a number is too small, or two cells would have the same label.
    """
    for flag, values, least in (("--k", k, 1), ("--shots", shots, 0)):
        for value in values:
            if value < least:
                raise ConfigError(f"{flag} must be at least {least}; got {value}")
    cells = [
        Cell(model, local, prompt, one, shot)
        for model, local, shown in dict.fromkeys(models)
        for prompt in {prompt.name: prompt for prompt in prompts}.values()
        for one in dict.fromkeys(k)
        for shot in (dict.fromkeys(shots) if shown else [None])
    ]
    if not cells:
        raise ConfigError("nothing to compare: name at least one prompt, one --model and one --k")
    labels = [cell.label for cell in cells]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice:
        raise ConfigError(f"two rows would be called '{twice}'; rename one of the prompt files or model folders")
    return cells


def check_server(url: str) -> str:
    """A server's base URL, with ``/v1`` where it has no path.

    Raises:
        ConfigError: it is none; the message does not repeat it, for it may hold a password.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        usable = False
    if not usable or re.search(r"\s", url):
        raise ConfigError("--server must be the URL of an OpenAI-compatible server, such as http://localhost:8000/v1")
    if parts.query or parts.fragment:
        raise ConfigError("--server takes no ?query; a key comes from LLMREC_API_KEY or OPENAI_API_KEY alone")
    return url.rstrip("/") if parts.path.strip("/") else f"{url.rstrip('/')}/v1"
