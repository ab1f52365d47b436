"""What one comparison runs: its settings, and the cells that they make."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from llmrec.errors import ConfigError
from llmrec.text.prompts import Prompt

__all__ = ["Cell", "CompareSettings", "build_cells", "check_server"]


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """Settings of ``llmrec prompts compare``.

    Attributes:
        prompts: Prompts by name or file.
        data: Store.
        models: Folders of sequence-to-sequence models, and names of chat models that ``server`` knows.
        out: Folder for table, page and answers.
        k: Numbers of most recent titles in a prompt.
        shots: Numbers of examples in a chat; sequence-to-sequence models read none.
        locales: Locales to draw from; all of the split's where empty.
        num_sessions: Sessions of the sample.
        split: ``validation``, ``development`` or ``train``.
        seed: Of the sample, the examples, the sampling of a chat model and the bootstrap.
        server: Base URL of an OpenAI-compatible server; None without one.
        concurrency: Most requests under way at once.
        retries: Most repetitions of one request.
        timeout_s: Longest wait for one answer.
        temperature: Of a chat model's sampling; 0 is greedy.
        max_tokens: Most tokens of an answer.
        cache: File of answers already given; in ``out`` where None.
        num_examples: Sessions shown side by side on the page.
    """

    prompts: Sequence[str]
    data: Path
    models: Sequence[str]
    out: Path
    k: Sequence[int] = (3,)
    shots: Sequence[int] = (0,)
    locales: Sequence[str] = ()
    num_sessions: int = 200
    split: str = "validation"
    seed: int = 0
    server: str | None = None
    concurrency: int = 8
    retries: int = 6
    timeout_s: float = 120.0
    temperature: float = 0.0
    max_tokens: int = 96
    cache: Path | None = None
    num_examples: int = 6


@dataclass(frozen=True)
class Cell:
    """One combination: what a model is told, and which model.

    Attributes:
        model: Folder or name.
        local: Whether the model runs here rather than on the server.
        prompt: Prompt.
        k: Number of most recent titles.
        shots: Number of examples.
    """

    model: str
    local: bool
    prompt: Prompt
    k: int
    shots: int

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
        shots = "" if self.local else f", {self.shots} shots"
        return f"{self.model_label}, {self.prompt_label}, K = {self.k}{shots}"


def build_cells(
    models: Sequence[tuple[str, bool]], prompts: Sequence[Prompt], k: Sequence[int], shots: Sequence[int]
) -> list[Cell]:
    """Every combination once, models outermost, so that one model at a time is in memory.

    Args:
        models: Name of each model, and whether it runs here; such a model is combined with no examples at all.
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
        for model, local in dict.fromkeys(models)
        for prompt in {prompt.name: prompt for prompt in prompts}.values()
        for one in dict.fromkeys(k)
        for shot in ([0] if local else dict.fromkeys(shots))
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
