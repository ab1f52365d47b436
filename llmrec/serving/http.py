"""The service over HTTP: an application of FastAPI around the routes, its gate and its OpenAPI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from importlib.util import find_spec
from typing import Any, Final

import msgspec

from llmrec import __version__
from llmrec.errors import require
from llmrec.serving import messages
from llmrec.serving.docs_page import DOCS, HEADERS, SCRIPT, docs_html, docs_script
from llmrec.serving.gate import Gate, Receive, Scope, Send, problem
from llmrec.serving.held import Held
from llmrec.serving.page.backend import Page
from llmrec.serving.page.mounting import is_file, mount_files
from llmrec.serving.page.places import PagePlaces
from llmrec.serving.routes import Post, Routes, decoded, refusal_of

__all__ = ["create_app"]

_JSON: Final = "application/json"
_PROBLEMS: Final = {
    401: "No key, or a wrong one.",
    413: "The body is too large.",
    422: "The request is wrong; the message names the field and the way out.",
    429: "Too many wait; try again after `Retry-After` seconds.",
    503: "The models are being loaded.",
}


def create_app(
    held: Held,
    *,
    keys: Mapping[str, str] | None = None,
    origins: Sequence[str] = (),
    log: Callable[[Mapping[str, Any]], None] | None = None,
    page: PagePlaces | None = None,
) -> Any:
    """The ASGI application of a service.

    Args:
        held: The service; loaded when the application starts.
        keys: Keys by the name of who has them; everybody is let in where there is none.
        origins: Web origins that may ask from a browser (CORS).
        log: Writes a line of the access log; it is not told what sessions looked at.
        page: What the page shows beside what is served; None for no page.

    Raises:
        MissingExtraError: FastAPI is not installed.
    """
    app = require("fastapi", "serve").FastAPI(
        docs_url=None,  # FastAPI's pages load their scripts from another host
        redoc_url=None,
        redirect_slashes=False,
        title="llmrec",
        version=__version__,
        summary="The next product of a shopping session, its title, and products like one.",
        lifespan=_lifespan(held, tools := _tools(held, origins)),
    )
    if tools is not None:
        app.add_route(tools.path, tools, methods=["POST"], include_in_schema=False)
    routes = Routes(held)
    for post in routes.posts:
        _add_post(app, post)
    _add_gets(app, held, routes)
    app.openapi = lambda: _openapi(app)
    app.add_exception_handler(404, _no_route)
    app.add_exception_handler(405, _no_route)
    _add_docs(app, held)
    shown = None if page is None else Page(held, page)
    if shown is not None:
        mount_files(app, shown)
    served: Any = _Quick(app, [*routes.posts, *(shown.posts if shown else ())])
    gate = Gate(
        served,
        keys=keys or {},
        most_bytes=held.limits.body_bytes,
        patience_s=held.limits.body_s,
        answered=held.metrics.answered,
        log=log,
        is_open=lambda path: path in (DOCS, SCRIPT) or (shown is not None and is_file(path)),
    )
    if not origins:
        return gate
    return require("fastapi.middleware.cors", "serve").CORSMiddleware(
        gate,  # a browser asks first without a key whether it may, and reads a refusal only where it may
        allow_origins=list(origins),
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=["X-Request-ID", "Retry-After"],
    )


def _add_gets(app: Any, held: Held, routes: Routes) -> None:
    """What is read: the models, the state of health, the counters."""
    _add_get(app, "/v1/models", "What is served.", lambda: _answer(routes.models()))
    _add_get(app, "/health/live", "Whether the process answers.", lambda: _answer({"live": True}))
    _add_get(
        app,
        "/health/ready",
        "Whether it is loaded and warm.",
        lambda: _answer(routes.ready(), 200 if routes.ready()["ready"] else 503),
    )
    _add_get(
        app,
        "/metrics",
        "Counters in Prometheus' form.",
        lambda: _response(held.metrics.text(), 200, held.metrics.content_type),
    )


class _Quick:
    """ASGI: answers the posts of a service, and leaves everything else to the application behind.

    FastAPI's way to a route and back takes twice the CPU time of ranking a session by co-visitation.
    """

    def __init__(self, app: Any, posts: Sequence[Post]) -> None:
        self._app = app
        self._posts = {post.path: (post, msgspec.json.Decoder(post.asked)) for post in posts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = None if scope["type"] != "http" or scope["method"] != "POST" else self._posts.get(scope["path"])
        if found is None:
            await self._app(scope, receive, send)
            return
        scope["route"], decoder = found
        status, headers = 200, [(b"content-type", b"application/json")]
        try:
            asked = decoded(decoder, (await receive())["body"])  # all of it: the gate has read it
            body = msgspec.json.encode(await found[0].work(asked))
        except Exception as error:  # noqa: BLE001 - nobody is answered by a broken line
            request_id = scope["state"]["request_id"]
            refused = refusal_of(error, request_id)
            body, status = problem(refused.code, refused.message, refused.field, request_id), refused.status
            headers += [
                (name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in refused.headers.items()
            ]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _lifespan(held: Held, tools: Any) -> Callable[[Any], Any]:
    """Hold the service, and answer models' clients, while the application runs."""

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with held.running(), nullcontext() if tools is None else tools.running():
            yield

    return lifespan


def _tools(held: Held, origins: Sequence[str]) -> Any:
    """The service for models' clients, None where their SDK is not installed."""
    if find_spec("mcp") is None:
        return None
    from llmrec.serving.mcp import Mounted

    return Mounted(held, origins)


def _add_docs(app: Any, held: Held) -> None:
    """The page of the routes, which holds no data of the shop but a locale's name."""
    from fastapi.responses import Response  # there, or there were no application

    async def docs(request: Any) -> Any:
        locale = next(iter(held.service.locales if held.service else ()), "DE")
        told = docs_html(app.openapi(), str(request.base_url).rstrip("/"), locale)
        return Response(told.encode("utf-8", "replace"), 200, HEADERS, media_type="text/html")

    async def script() -> Any:
        return Response(docs_script(), 200, HEADERS, media_type="text/javascript")

    docs.__annotations__ = {"request": require("fastapi", "serve").Request}
    for path, answer in ((DOCS, docs), (SCRIPT, script)):
        app.add_api_route(path, answer, methods=["GET"], include_in_schema=False, response_class=Response)


async def _no_route(request: Any, error: Any) -> Any:
    """Answer that there is nothing at a path, or that its method is another."""
    request_id, allowed = request.state.request_id, (error.headers or {}).get("Allow", "")
    code, message = ("method", f"this path takes {allowed}") if allowed else ("not_found", "there is nothing here")
    told = problem(code, f"{message}; what can be asked: /docs", request_id=request_id)
    return _response(told, error.status_code, _JSON, error.headers)


def _add_post(app: Any, post: Post) -> None:
    """Say of a route what OpenAPI says; `_Quick` answers it."""

    async def handle() -> None: ...

    app.add_api_route(
        post.path,
        handle,
        methods=["POST"],
        summary=(post.asked.__doc__ or "").splitlines()[0],
        operation_id=post.path.removeprefix("/v1/").replace(":", "_").replace("/", "_"),
        response_class=require("fastapi.responses", "serve").Response,
        openapi_extra=_described(post.asked, post.answered),
    )


def _add_get(app: Any, path: str, summary: str, work: Callable[[], Any]) -> None:
    async def handle() -> Any:
        return work()

    kind = require("fastapi.responses", "serve").Response
    app.add_api_route(path, handle, methods=["GET"], summary=summary, response_class=kind)


def _answer(content: Any, status: int = 200) -> Any:
    return _response(msgspec.json.encode(content), status, _JSON)


def _response(body: bytes, status: int, media_type: str, headers: Mapping[str, str] | None = None) -> Any:
    from fastapi.responses import Response  # there, or there were no application

    return Response(body, status, headers, media_type=media_type)


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
