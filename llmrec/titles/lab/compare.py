"""From settings to a table, a page and the answers: what ``llmrec prompts compare`` runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from llmrec.console import notice, out
from llmrec.data.store import Store
from llmrec.errors import ConfigError, ModelError, require, without_secrets
from llmrec.evaluation.provenance import collect_provenance
from llmrec.output import check
from llmrec.records import read_record
from llmrec.reporting.blocks import to_terminal
from llmrec.settings import claiming
from llmrec.text.prompts import load_prompt
from llmrec.titles.lab.answers import Written
from llmrec.titles.lab.cache import AnswerCache, open_cache
from llmrec.titles.lab.messages import chat_messages, conversation_text
from llmrec.titles.lab.page import notes, shown_sessions, write_page
from llmrec.titles.lab.sample import SampledSession, draw_examples, draw_sample
from llmrec.titles.lab.scores import (
    CellScore,
    bleu_table,
    cost_table,
    locale_table,
    score_cells,
    write_answers,
    write_scores,
)
from llmrec.titles.lab.settings import Cell, CompareSettings, build_cells, check_server
from llmrec.titles.models.gguf_header import is_gguf

__all__ = ["compare_prompts"]


class _Config(msgspec.Struct):  # of transformers, which says more
    is_encoder_decoder: bool = False


Examples = dict[str, list[SampledSession]]


@claiming
def compare_prompts(settings: CompareSettings) -> list[CellScore]:
    """Answer the same sessions with every combination, score them, print the tables and write page and records.

    Raises:
        LlmrecError: a setting, prompt, store, model or server cannot be used; answers that came are kept.
    """
    started = time.monotonic()
    for name in ("answers.parquet", "comparison.json", "report.html"):
        check(settings.out / name)
    prompts = [load_prompt(name) for name in settings.prompts]
    url = check_server(settings.server) if settings.server else None
    models = [(model, *_kind(model, url is not None)) for model in settings.models]
    cells = build_cells(models, prompts, settings.k, settings.shots)
    for package, extra, used in (("openai", "chat", False), ("torch", "generate", True)):
        if any(cell.local is used for cell in cells):
            require(package, extra)
    store = Store.load(settings.data)
    fields = tuple(dict.fromkeys(field for prompt in prompts for field in prompt.fields))
    longest = max(settings.k)
    sample = draw_sample(
        store,
        settings.split,
        settings.num_sessions,
        k=longest,
        fields=fields,
        seed=settings.seed,
        locales=settings.locales,
    )
    shots = max((cell.shots or 0 for cell in cells), default=0)
    examples = draw_examples(store, sample, shots, k=longest, fields=fields, seed=settings.seed)
    for locale, found in examples.items():
        if len(found) < shots:
            notice(f"locale '{locale}' has {len(found)} training sessions with titles to show, not {shots}")
    with open_cache(settings.cache or settings.out / "answers.sqlite") as cache:
        answered = _answer(settings, url, cells, sample, examples, cache)
    scores = score_cells(sample, answered, settings.seed)
    provenance = collect_provenance(recipe=None, seed=settings.seed, fingerprint=store.fingerprint, started=started) | {
        "split": settings.split,
        "num_sessions": len(sample),
        "num_new": sum(written.num_new for _, written in answered),
        "settings": _plain(settings, url),
    }
    _publish(settings, sample, examples, scores, provenance)
    return scores


def _kind(model: str, has_server: bool) -> tuple[bool, bool]:
    """Whether a model runs here, and whether it reads examples.

    A GGUF file or a folder runs here; beside a server, a chat model's folder is the server's. Examples are for models
    that continue a text and that nobody has fine-tuned for a prompt.
    """
    config, adapter = Path(model) / "config.json", Path(model) / "adapter_config.json"
    if is_gguf(model):
        return True, True
    if adapter.is_file():
        return True, False
    if config.is_file():
        again = "the folder may be cut short"
        continues = not read_record(config, _Config, again, error=ModelError).is_encoder_decoder
        if has_server and continues:
            return False, True
        require("torch", "generate")
        from llmrec.titles.models.model import CARD

        return True, continues and not (Path(model) / CARD).is_file()
    if has_server:
        return False, True
    raise ConfigError(
        f"--model {model}: no folder with a model, and no GGUF file; one of llmrec generate is in RUN/model, and "
        "another name needs --server URL"
    )


def _answer(
    settings: CompareSettings,
    url: str | None,
    cells: Sequence[Cell],
    sample: Sequence[SampledSession],
    examples: Examples,
    cache: AnswerCache,
) -> list[tuple[Cell, Written]]:
    answered = []
    server: Any = None
    loaded: Any = None
    name = ""
    for cell in cells:
        if cell.local:
            from llmrec.titles.lab.local import load_local, write_all

            if name != cell.model:
                loaded, name = load_local(cell.model, settings.decode_precision), cell.model
            written = write_all(loaded, cell, sample, examples, cache)
        else:
            from llmrec.titles.lab.asking import ask_all
            from llmrec.titles.lab.server import ChatServer

            server = server or ChatServer(url or "", timeout_s=settings.timeout_s, retries=settings.retries)
            sampling = {
                "temperature": settings.temperature,
                "max_tokens": settings.max_tokens,
                "seed": settings.seed,
            }
            messages = chat_messages(cell, sample, examples)
            written = ask_all(server, cell.model, messages, sampling, cache, settings.concurrency, cell.label)
        answered.append((cell, written))
        kept = len(written.answers) - written.num_new
        notice(f"{cell.label}: {written.num_new:,} answers written, {kept:,} from the cache")
    return answered


def _publish(
    settings: CompareSettings,
    sample: Sequence[SampledSession],
    examples: Examples,
    scores: Sequence[CellScore],
    provenance: dict[str, Any],
) -> None:
    folder = settings.out
    write_answers(folder / "answers.parquet", sample, scores)
    write_scores(folder / "comparison.json", scores, provenance)
    shown = shown_sessions(sample, settings.num_examples)
    messages = {
        score.cell.prompt_label: _messages(score.cell, sample[shown[0] if shown else 0], examples) for score in scores
    }
    write_page(folder / "report.html", sample, scores, messages, provenance, settings.num_examples)
    by_locale = [locale_table(sample, scores)] if len(scores[0].result.locales) > 1 else []
    for table in (bleu_table(scores), *by_locale, cost_table(scores)):
        out.print(to_terminal(table))
    for note in notes(sample, scores):
        out.print(note)
    notice(f"wrote {folder / 'report.html'}, comparison.json and answers.parquet")


def _messages(cell: Cell, session: SampledSession, examples: Examples) -> str:
    if cell.local and not cell.shots:
        return cell.prompt.render(session.products[-cell.k :], session.locale)
    return conversation_text(chat_messages(cell, [session], examples)[0])


def _plain(settings: CompareSettings, url: str | None) -> dict[str, Any]:
    """Settings as JSON can hold them, without the machine's folders and without secrets."""
    values = {key: value.name if isinstance(value, Path) else value for key, value in asdict(settings).items()}
    models = ["/".join(Path(model).parts[-2:]) if Path(model).is_absolute() else model for model in settings.models]
    prompts = [Path(name).name if name.endswith((".yaml", ".yml")) else name for name in settings.prompts]
    return values | {"server": without_secrets(url) if url else None, "models": models, "prompts": prompts}
