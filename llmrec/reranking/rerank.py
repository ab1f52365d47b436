"""From a run, sessions and products to the same lists in a language model's order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec.api.public import public
from llmrec.console import notice, progress_bar
from llmrec.data.products import load_products, product_file
from llmrec.errors import ConfigError, require, without_secrets
from llmrec.evaluation.in_memory import given_predictions
from llmrec.evaluation.provenance import collect_provenance
from llmrec.evaluation.runs import Run, read_run, run_of
from llmrec.output import check
from llmrec.ragged import list_array, list_lengths, offsets_of
from llmrec.rankers.rankings import Rankings
from llmrec.rankers.session_data import sessions as made_sessions
from llmrec.rankers.sessions import Sessions, read_session_files
from llmrec.reranking.candidates import Candidates, check_run, read_candidates
from llmrec.reranking.methods import Ask, asks_of, orders_of, scores_of
from llmrec.reranking.settings import DEFAULT_PROMPTS, RerankJob, RerankSettings
from llmrec.settings import resolve
from llmrec.text.prompts import Prompt, load_prompt
from llmrec.titles.lab.answers import Answer
from llmrec.titles.lab.cache import AnswerCache, open_cache, remove_cache
from llmrec.titles.models.gguf_header import is_gguf

__all__ = ["Plan", "kept_answers", "plan_of", "rerank", "run_rerank_job"]


@dataclass(frozen=True)
class Plan:
    """What a model is asked with.

    Attributes:
        prompt: What is rendered.
        k: Most recent titles in it.
        max_source_tokens: Longest prompt; None for what the model has room for.
    """

    prompt: Prompt
    k: int
    max_source_tokens: int | None


@public
def rerank(
    rankings: Any,
    sessions: Any,
    products: Any,
    model: str | Path,
    *,
    cache: Path | str | None = None,
    locale: str | Sequence[str] | None = None,
    **settings: Any,
) -> Rankings:
    """Have a language model order the first candidates of ranked lists by their titles.

    Args:
        rankings: `Rankings`, a run's path, or ``S`` plain lists of ids, best first.
        sessions: The ``S`` sessions that they are for: what `llmrec.sessions` takes.
        products: For their titles: a `Store`, a file, a data frame, an Arrow table.
        model: Folder, adapter, ``.gguf`` file or hub name; with ``server`` what the server calls it.
        cache: File that keeps the answers; the same call, or one with another ``weight``, then takes them from there.
        locale: Locale of all sessions, or of each, for sessions without.
        settings: Those of ``llmrec rerank``: ``method``, ``top``, ``weight``, ``k``, ``prompt``, ``shuffles``,
            ``seed``, ``server`` and so on.

    Returns:
        The same lists, their first ``top`` candidates in the new order.

    Raises:
        ConfigError: a setting is unknown, out of range, or does not fit the model or the method.
        DataError: lists and sessions do not belong together, or products cannot be read.
        ModelError: the model cannot be loaded, or a server fails.

    Example:
        >>> import llmrec
        >>> shop = {"id": ["B1", "B2", "B3"], "locale": ["UK"] * 3, "title": ["tea", "pot", "cup"]}
        >>> found = llmrec.rerank([["B2", "B3"]], [["B1"]], shop, "models/titles", locale="UK")
        >>> sorted(found.to_list()[0])
        ['B2', 'B3']
    """
    chosen = resolve(RerankSettings, {"model": str(model), **settings})
    own = made_sessions(sessions, locale, argument="sessions")
    given = given_predictions(rankings, "rankings")
    run = given if isinstance(given, Run) else run_of(Path("rankings"), own.locales, given)
    own = check_run(run, own, "sessions")
    plan = plan_of(chosen)
    with product_file(products, ("id", "locale", *plan.prompt.fields)) as file, kept_answers(cache) as answers:
        return _reranked(chosen, plan, run, own, file, answers)


def run_rerank_job(job: RerankJob) -> dict[str, Any]:
    """Read a run, order it, write it; gives what was asked and what it took.

    Raises:
        ConfigError: as `rerank`.
        DataError: a file is missing or malformed, or they do not belong together.
        ModelError: the model cannot be loaded, or a server fails; answers that came are kept.
    """
    started = time.monotonic()
    check(job.out, "run")
    run = read_run(job.run)
    sessions = check_run(run, read_session_files(job.sessions), job.sessions)
    if job.limit is not None and job.limit < len(run):
        sessions = sessions.slice(0, job.limit)
        run = replace(run, locales=run.locales[: job.limit], predictions=run.predictions[: job.limit], partial=True)
    plan = plan_of(job)
    place = job.cache or job.out.with_name(f"{job.out.name}.answers.sqlite")
    if not job.resume and job.cache is None:
        remove_cache(place)
    with open_cache(place) as answers:
        lists = _reranked(job, plan, run, sessions, job.products, answers)
    record = collect_provenance(None, job.seed, None, started, run.sessions_fingerprint)
    replace(lists, provenance={**record, **lists.provenance}).save(job.out, partial=run.partial)
    if job.cache is None:
        remove_cache(place)
    notice(f"{len(lists):,} lists in {job.out}; score them: llmrec evaluate {job.out} --targets FILE")
    return {name: lists.provenance[name] for name in ("sessions", "reordered", "tokens", "model_seconds")}


@contextmanager
def kept_answers(file: Path | str | None) -> Iterator[AnswerCache]:
    """Answers in a file, or in one that is gone after the block."""
    with TemporaryDirectory(prefix="llmrec-") as folder, open_cache(Path(file or f"{folder}/answers.sqlite")) as cache:
        yield cache


def plan_of(settings: RerankSettings) -> Plan:
    """Prompt and K: those asked for, the model's own, or the method's; what does not fit is refused before a load.

    Raises:
        ConfigError: the prompt does not fit the method, or the method the server.
        MissingExtraError: a package that models need is not installed.
    """
    names_candidates = settings.method in ("yes", "list")
    card = None
    if settings.server is None:
        require("torch", "generate")
        from llmrec.titles.models.model import read_model_card

        card = read_model_card(settings.model)
    else:
        require("openai", "chat")
        from llmrec.reranking.by_server import check_method

        check_method(settings)
    own = None if names_candidates or card is None else card
    prompt = load_prompt(settings.prompt or (own.prompt if own else DEFAULT_PROMPTS[settings.method]))
    if prompt.names_candidates != names_candidates:
        wanted = "names" if names_candidates else "does not name"
        raise ConfigError(
            f"--method {settings.method} takes a prompt that {wanted} candidates; {prompt.name} is none: leave out "
            f"--prompt, or give {DEFAULT_PROMPTS[settings.method]}"
        )
    source = settings.max_source_tokens or (own.max_source_tokens if own else None)
    return Plan(prompt, settings.k or (card.k if card else 3), source)


def _reranked(
    settings: RerankSettings, plan: Plan, run: Run, sessions: Sessions, products: Path, cache: AnswerCache
) -> Rankings:
    table = load_products(products, ("id", "locale", *plan.prompt.fields))
    shape: dict[str, Any] = {"k": plan.k, "top": settings.top, "fields": plan.prompt.fields}
    asked = list(read_candidates(sessions, run.predictions, table, **shape))
    rows = [row for row, one in enumerate(asked) if one.can_be_ordered]
    if len(rows) < len(asked):
        notice(
            f"{len(asked) - len(rows):,} of {len(asked):,} sessions keep their order: fewer than two candidates, or no "
            "product, with a title"
        )
    orders = {
        row: orders_of(len(asked[row].titles), settings.shuffles, (settings.seed, row))
        if settings.method == "list"
        else []
        for row in rows
    }
    groups = {
        row: asks_of(settings.method, asked[row], orders=orders[row], letters=settings.server is None) for row in rows
    }
    said, taken = (_by_model if settings.server is None else _by_server)(settings, plan, groups, cache)
    scores = {row: scores_of(settings.method, asked[row], said[row], orders[row]) for row in rows}
    ids, values = _ordered(run.predictions, asked, scores, settings.weight)
    tokens = sum((one.prompt_tokens or 0) + (one.completion_tokens or 0) for one in taken)
    told: dict[str, float] = {"sessions": len(asked), "reordered": len(rows), "tokens": tokens}
    told["model_seconds"] = round(sum(one.seconds for one in taken), 3)
    provenance = {"ranker": "rerank", **_described(settings, plan), **told, "run": dict(run.provenance)}
    return Rankings(ids, values, run.locales.combine_chunks(), provenance)


def _described(settings: RerankSettings, plan: Plan) -> dict[str, Any]:
    """Model and settings, for the run's record: without folders of this machine and without secrets."""
    place = Path(settings.model)
    name = "/".join(place.parts[-2:]) if place.is_absolute() else settings.model
    name = place.name if is_gguf(settings.model) else name
    told: dict[str, Any] = {"model": name, "method": settings.method, "top": settings.top, "weight": settings.weight}
    told |= {"k": plan.k, "prompt": plan.prompt.name, "prompt_hash": plan.prompt.hash, "seed": settings.seed}
    if settings.method == "list":
        told["shuffles"] = settings.shuffles
    if settings.server is not None:
        return told | {"server": without_secrets(settings.server), "max_tokens": settings.max_tokens}
    from llmrec.titles.models.gguf import gguf_stamp
    from llmrec.titles.models.model import model_digest

    told |= {"weights": model_digest(settings.model), "precision": settings.precision}
    return told | gguf_stamp(settings.model)


Groups = Mapping[int, Sequence[Sequence[Ask]]]
Said = tuple[dict[int, list[list[float]]], list[Answer]]


def _by_model(settings: RerankSettings, plan: Plan, groups: Groups, cache: AnswerCache) -> Said:
    if not groups:
        return {}, []
    from llmrec.reranking.by_model import answer_all, open_reader

    reader = open_reader(settings, plan.prompt, plan.max_source_tokens)
    rows = list(groups)
    said: dict[int, list[list[float]]] = {}
    taken: dict[str, Answer] = {}
    with progress_bar() as bar:
        task = bar.add_task("rerank", total=len(rows), note="")
        for start in range(0, len(rows), reader.at_once):
            some = rows[start : start + reader.at_once]
            values, answers = answer_all(reader, [group for row in some for group in groups[row]], cache)
            taken |= answers
            rest = iter(values)
            said |= {row: [next(rest) for group in groups[row] for _ in group] for row in some}
            bar.advance(task, len(some))
    return said, list(taken.values())


def _by_server(settings: RerankSettings, plan: Plan, groups: Groups, cache: AnswerCache) -> Said:
    from llmrec.reranking.by_server import written_by_server

    asks = [ask for some in groups.values() for group in some for ask in group]
    values, answers = written_by_server(settings, plan.prompt, asks, cache)
    rest = iter(values)
    return {row: [next(rest) for group in some for _ in group] for row, some in groups.items()}, answers


def _ordered(
    lists: Any, asked: Sequence[Candidates], scores: Mapping[int, Sequence[float]], weight: float
) -> tuple[Any, Any]:
    """Ids and scores as Arrow lists: of the first candidates the titled ones by score, all others where they were."""
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    lengths = list_lengths(lists)
    offsets = offsets_of(lengths)
    take = np.arange(int(offsets[-1]))
    values = np.zeros(len(take), dtype=np.float32)
    for row, one in enumerate(asked):
        start, end = offsets[row], offsets[row + 1]
        ranks = np.arange(1, end - start + 1)
        own = -np.log(ranks)
        if row in scores:
            places = np.array(one.places)
            mixed = weight * np.array(scores[row]) - (1 - weight) * np.log(ranks[places])
            order = np.argsort(-mixed, kind="stable")
            take[start + places] = start + places[order]
            own = _falling(places, mixed[order], len(ranks))
        values[start:end] = own
    ids = lists.flatten().take(pa.array(take))
    return list_array(offsets, ids), list_array(offsets, pa.array(values))


def _falling(places: Any, best: Any, length: int) -> Any:
    """Scores of a whole list that never rise: an item without one has that before it, those at the end fall by 1."""
    filled = best[np.maximum(np.searchsorted(places, np.arange(length), side="right") - 1, 0)]
    return filled - np.maximum(np.arange(length) - places[-1], 0)
