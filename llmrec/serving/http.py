"""The service over HTTP: FastAPI's routes, which check a request, ask the service and write its answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import msgspec

from llmrec import __version__
from llmrec.errors import LlmrecError, require
from llmrec.serving import messages
from llmrec.serving.batching import Full
from llmrec.serving.gate import Gate, problem
from llmrec.serving.held import Held
from llmrec.serving.messages import Batch, BatchAnswer, Explain, ModelsAnswer, Recommend, Rerank, Similar, Title
from llmrec.serving.service import RequestError, Service

__all__ = ["create_app"]

_LOG: Final = logging.getLogger("llmrec.serve")
_JSON: Final = "application/json"
_RETRY_S: Final = "1"
_PROBLEMS: Final = {
    401: "No key, or a wrong one.",
    413: "The body is too large.",
    422: "The request is wrong; the message names the field and the way out.",
    429: "Too many wait; try again after `Retry-After` seconds.",
    503: "The models are being loaded.",
}


class _Refused(Exception):  # noqa: N818 - an answer, not a fault
    def __init__(self, status: int, code: str, message: str, field: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field, self.headers = status, code, message, field, headers


def create_app(
    held: Held,
    *,
    keys: Mapping[str, str] | None = None,
    origins: Sequence[str] = (),
    log: Callable[[Mapping[str, Any]], None] | None = None,
) -> Any:
    """The ASGI application of a service.

    Args:
        held: The service; loaded when the application starts.
        keys: Keys by the name of who has them; everybody is let in where there is none.
        origins: Web origins that may ask from a browser (CORS).
        log: Writes a line of the access log; it is not told what sessions looked at.
    """
    fastapi = require("fastapi", "serve")
    responses = require("fastapi.responses", "serve")

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(held.start()), asyncio.create_task(held.watch())]
        yield
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        held.recommending.close()
        held.writing.close()

    app = fastapi.FastAPI(
        docs_url=None,  # FastAPI's pages load their scripts from another host
        redoc_url=None,
        title="llmrec",
        version=__version__,
        summary="The next product of a shopping session, its title, and products like one.",
        lifespan=lifespan,
    )

    def answer(content: Any, status: int = 200) -> Any:
        return responses.Response(msgspec.json.encode(content), status, media_type=_JSON)

    def refuse(request: Any, error: _Refused) -> Any:
        body = problem(error.code, error.message, error.field, request.state.request_id)
        headers = {name.replace("_", "-"): value for name, value in error.headers.items()}
        return responses.Response(body, error.status, headers, media_type=_JSON)

    def route(path: str, asked: type[Any], answered: type[Any], work: Callable[[Any], Awaitable[Any]]) -> None:
        decoder = msgspec.json.Decoder(asked)

        async def handle(request: Any) -> Any:
            try:
                return answer(await work(_decoded(decoder, await request.body())))
            except _Refused as error:
                return refuse(request, error)
            except RequestError as error:
                return refuse(request, _Refused(422, "wrong", str(error), error.field))
            except Full:
                message = "too many requests wait; try again in a second"
                return refuse(request, _Refused(429, "busy", message, retry_after=_RETRY_S))
            except LlmrecError as error:
                return refuse(request, _Refused(422, "wrong", str(error)))
            except Exception:  # noqa: BLE001 - nobody is answered by a broken line
                _LOG.exception("request %s failed", request.state.request_id)
                return refuse(request, _Refused(500, "fault", "this is a fault of the service; the log has more"))

        handle.__annotations__ = {"request": fastapi.Request}
        app.add_api_route(
            path,
            handle,
            methods=["POST"],
            summary=(asked.__doc__ or "").splitlines()[0],
            operation_id=path.removeprefix("/v1/").replace(":", "_").replace("/", "_"),
            response_class=responses.Response,
            openapi_extra=_described(asked, answered),
        )

    def plain(path: str, work: Callable[[], Any], **more: Any) -> None:
        async def handle() -> Any:
            return work()

        app.add_api_route(path, handle, methods=["GET"], response_class=responses.Response, **more)

    def service() -> Service:
        if held.service is None:
            raise _Refused(503, "loading", held.trouble or "the models are being loaded", retry_after=_RETRY_S)
        return held.service

    async def recommend(asked: Recommend) -> Any:
        service()
        given = await held.recommending.ask(asked)
        held.metrics.looked_up(len(asked.items), _unknown(asked, given))
        return given

    async def recommend_batch(asked: Batch) -> BatchAnswer:
        answers = await asyncio.to_thread(service().recommend, asked.sessions)
        for place, one in enumerate(answers):
            if isinstance(one, RequestError):
                raise RequestError(f"sessions[{place}]: {one}", f"sessions[{place}].{one.field}")
        held.metrics.looked_up(
            sum(len(one.items) for one in asked.sessions), sum(map(_unknown, asked.sessions, answers))
        )
        return BatchAnswer(results=[one for one in answers if not isinstance(one, Exception)])

    async def title(asked: Title) -> Any:
        service()
        return await held.writing.ask(asked)

    async def similar(asked: Similar) -> Any:
        return await asyncio.to_thread(service().similar, asked)

    async def rerank(asked: Rerank) -> Any:
        return await asyncio.to_thread(service().rerank, asked)

    async def explain(asked: Explain) -> Any:
        return await asyncio.to_thread(service().explain, asked)

    def ready() -> Any:
        told = {"ready": held.service is not None, **({"trouble": held.trouble} if held.trouble else {})}
        return answer(told, 200 if held.service is not None else 503)

    def models() -> Any:
        return answer(ModelsAnswer(data=[] if held.service is None else held.service.models()))

    route("/v1/recommend", Recommend, messages.RecommendAnswer, recommend)
    route("/v1/recommend:batch", Batch, BatchAnswer, recommend_batch)
    route("/v1/title", Title, messages.TitleAnswer, title)
    route("/v1/similar", Similar, messages.SimilarAnswer, similar)
    route("/v1/rerank", Rerank, messages.RerankAnswer, rerank)
    route("/v1/explain", Explain, messages.ExplainAnswer, explain)
    plain("/v1/models", models, summary="What is served.")
    plain("/health/live", lambda: answer({"live": True}), summary="Whether the process answers.")
    plain("/health/ready", ready, summary="Whether it is loaded and warm.")
    plain(
        "/metrics",
        lambda: responses.Response(held.metrics.text(), media_type=held.metrics.content_type),
        summary="Counters in Prometheus' form.",
    )
    app.openapi = lambda: _openapi(app)
    if origins:
        cors = require("fastapi.middleware.cors", "serve").CORSMiddleware
        app.add_middleware(cors, allow_origins=list(origins), allow_methods=["GET", "POST"], allow_headers=["*"])
    app.add_middleware(
        Gate,
        keys=keys or {},
        most_bytes=held.limits.body_bytes,
        patience_s=held.limits.body_s,
        answered=held.metrics.answered,
        log=log,
    )
    return app


def _decoded(decoder: Any, body: bytes) -> Any:
    """A request of its bytes.

    Raises:
        _Refused: it is no JSON, or not of the form.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        raise _Refused(422, "wrong", message, place.strip("`").removeprefix("$").removeprefix(".")) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _Refused(422, "no_json", f"the body is no JSON of this form: {str(error)[:200]}") from error


def _unknown(asked: Recommend, given: Any) -> int:
    if not isinstance(given, messages.RecommendAnswer) or not given.warnings:
        return 0
    unknown = {item for one in given.warnings if one.code == "unknown_items" for item in one.items}
    return sum(item.strip() in unknown for item in asked.items)


def _described(asked: type[Any], answered: type[Any]) -> dict[str, Any]:
    """Body and answers of a route, as OpenAPI says them."""

    def content(name: str) -> dict[str, Any]:
        return {_JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}}

    answers = {
        str(code): {"description": text, "content": content("ProblemAnswer")} for code, text in _PROBLEMS.items()
    }
    return {
        "requestBody": {"required": True, "content": content(asked.__name__)},
        "responses": {"200": {"description": "The answer.", "content": content(answered.__name__)}, **answers},
    }


def _openapi(app: Any) -> dict[str, Any]:
    """OpenAPI of the application, with the types of `llmrec.serving.messages`."""
    if app.openapi_schema is None:
        from fastapi.openapi.utils import get_openapi

        told = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        kinds = [getattr(messages, name) for name in messages.__all__]
        types = [kind for kind in kinds if isinstance(kind, type)]
        _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
        told.setdefault("components", {})["schemas"] = schemas
        app.openapi_schema = told
    found: dict[str, Any] = app.openapi_schema
    return found
