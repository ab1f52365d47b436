"""What each route of the service asks of it, and the answers that stand for what went wrong."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa

from llmrec.errors import LlmrecError, ModelError, nearest
from llmrec.evaluation.evaluate import evaluate
from llmrec.serving import messages
from llmrec.serving.batching import Full
from llmrec.serving.gate import RETRY_S
from llmrec.serving.held import Held
from llmrec.serving.messages import (
    Batch,
    BatchAnswer,
    Evaluate,
    EvaluateAnswer,
    Explain,
    Measured,
    ModelsAnswer,
    Recommend,
    RecommendAnswer,
    Rerank,
    Similar,
    Title,
)
from llmrec.serving.service import RequestError, Service

__all__ = ["Post", "Refused", "Routes", "decoded", "refusal_of"]

_NAMED: Final = re.compile("Object (contains unknown|missing required) field `(.+)`")
_CUTOFF: Final = 100  # of the metrics
_MOST_LISTED: Final = 102_400  # products of a batch's answers
_LOG: Final = logging.getLogger("llmrec.serve")


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """What is answered in the place of what was asked for.

    Attributes:
        status: Of HTTP.
        code: Names the kind of problem.
        message: Says what is wrong, and the way out.
        field: Part of the request that is wrong.
        headers: Further headers, with ``_`` for ``-``.
    """

    def __init__(self, status: int, code: str, message: str, field: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field, self.headers = status, code, message, field, headers


class Post(NamedTuple):
    """A route that is posted to: its path, what it reads, what it writes, and what answers."""

    path: str
    asked: type[Any]
    answered: type[Any]
    work: Callable[[Any], Awaitable[Any]]


class Routes:
    """The routes of a service that is held; every one of them waits its turn, and no queue is without an end."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self.posts = (
            Post("/v1/recommend", Recommend, RecommendAnswer, self.recommend),
            Post("/v1/recommend:batch", Batch, BatchAnswer, self.recommend_batch),
            Post("/v1/title", Title, messages.TitleAnswer, self.title),
            Post("/v1/similar", Similar, messages.SimilarAnswer, self.similar),
            Post("/v1/rerank", Rerank, messages.RerankAnswer, self.rerank),
            Post("/v1/explain", Explain, messages.ExplainAnswer, self.explain),
            Post("/v1/evaluate", Evaluate, EvaluateAnswer, self.evaluate),
        )

    async def recommend(self, asked: Recommend) -> Any:
        """The next products of a session."""
        self._service()
        given = await self._held.recommending.ask(asked)
        self._held.metrics.looked_up(len(asked.items), _unknown(given))
        return given

    async def recommend_batch(self, asked: Batch) -> BatchAnswer:
        """The next products of some sessions; a wrong one spoils them all."""
        if (wanted := sum(one.k for one in asked.sessions)) > _MOST_LISTED:
            message = f"{wanted:,} products are asked for; at most {_MOST_LISTED:,} at once: lower k, or send fewer"
            raise RequestError(message, "sessions")
        answers = await self._held.working.ask(partial(_recommended, self._service(), asked.sessions))
        for session, one in zip(asked.sessions, answers, strict=True):
            self._held.metrics.looked_up(len(session.items), _unknown(one))
        return BatchAnswer(results=answers)

    async def title(self, asked: Title) -> Any:
        """The title of a session's next product."""
        self._service()
        return await self._held.writing.ask(asked)

    async def similar(self, asked: Similar) -> Any:
        """Products like a title, a product or a session."""
        return await self._held.working.ask(partial(self._service().similar, asked))

    async def rerank(self, asked: Rerank) -> Any:
        """Documents in the order of how near they are to a text."""
        return await self._held.working.ask(partial(self._service().rerank, asked))

    async def explain(self, asked: Explain) -> Any:
        """Why a product is, or is not, in a session's list."""
        return await self._held.working.ask(partial(self._service().explain, asked))

    async def evaluate(self, asked: Evaluate) -> Any:
        """Metrics of the ranker on sessions whose next products are known."""
        return await self._held.working.ask(partial(_evaluated, self._service(), asked))

    def ready(self) -> dict[str, Any]:
        """Whether a service is in use, and why the newest models are not."""
        trouble = {"trouble": self._held.trouble} if self._held.trouble else {}
        return {"ready": self._held.ready, **trouble}

    def models(self) -> ModelsAnswer:
        """What is served."""
        return ModelsAnswer(data=[] if self._held.service is None else self._held.service.models())

    def _service(self) -> Service:
        """The service in use.

        Raises:
            Refused: none is, yet.
        """
        if self._held.service is None:
            raise Refused(503, "loading", self._held.trouble or "the models are being loaded", retry_after=RETRY_S)
        return self._held.service


def decoded(decoder: Any, body: bytes) -> Any:
    """A request of its bytes.

    Raises:
        Refused: it is no JSON, or not of the form.
    """
    if not body.strip():
        raise Refused(422, "no_json", "the body is empty; send JSON")
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        place, named = place.strip("`").removeprefix("$").removeprefix("."), _NAMED.fullmatch(message)
        if named and not place:
            place = named[2]
            message += nearest(place, decoder.type.__struct_fields__) if "unknown" in named[1] else ""
        raise Refused(422, "wrong", message, place) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(422, "no_json", f"the body is no JSON of this form: {str(error)[:200]}") from error


def refusal_of(error: Exception, request_id: str) -> Refused:
    """What is answered where a route failed; a fault of ours goes to the log."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, Full):
        return Refused(429, "busy", "too many requests wait; try again in a second", retry_after=RETRY_S)
    if isinstance(error, ModelError):  # the request is right: what answers it, a server of embeddings, is out of reach
        _LOG.error("request %s: %s", request_id, error)
        return Refused(503, "unavailable", "a model that answers this is out of reach", retry_after=RETRY_S)
    if isinstance(error, LlmrecError):
        return Refused(422, "wrong", str(error), getattr(error, "field", ""))
    _LOG.error("request %s failed", request_id, exc_info=error)
    return Refused(500, "fault", "this is a fault of the service; the log has more")


def _recommended(service: Service, asked: Sequence[Recommend]) -> list[RecommendAnswer]:
    """The next products of some sessions.

    Raises:
        RequestError: one of them has no answer.
    """
    answers: list[RecommendAnswer] = []
    for place, one in enumerate(service.recommend(asked)):
        if isinstance(one, RequestError):
            raise RequestError(f"sessions[{place}]: {one}", f"sessions[{place}].{one.field}")
        answers.append(one)
    return answers


def _evaluated(service: Service, asked: Evaluate) -> EvaluateAnswer:
    """Metrics of a service's lists, as `llmrec evaluate` measures them."""
    sessions = [Recommend(items=one.items, locale=one.locale, k=_CUTOFF, seen=asked.seen) for one in asked.sessions]
    answers = _recommended(service, sessions)
    targets = {
        "locale": [one.locale for one in answers],
        "next_item": [one.next_item.strip() for one in asked.sessions],
    }
    found = evaluate([[item.id for item in one.items] for one in answers], pa.table(targets))
    return EvaluateAnswer(
        model=answers[0].model,
        num_sessions=found.n_sessions,
        metrics=dict(found.overall.metrics),
        locales={
            name: Measured(num_sessions=part.num_sessions, metrics=dict(part.metrics))
            for name, part in found.locales.items()
        },
    )


def _unknown(given: RecommendAnswer) -> int:
    """Items of a session that the ranker does not know."""
    return sum(one.count for one in given.warnings)
