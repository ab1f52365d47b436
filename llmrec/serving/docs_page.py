"""`/docs`: the routes of the service, their fields, and requests to copy or send, made of its OpenAPI document."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from llmrec.display import for_html
from llmrec.reporting.page import stylesheet

__all__ = ["DOCS", "HEADERS", "SCRIPT", "docs_html", "docs_script"]

DOCS: Final = "/docs"
SCRIPT: Final = "/docs.js"
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_TEMPLATES: Final = Path(__file__).parent / "templates"
_SESSION: Final = {"items": ["B07XYZ1234", "B08ABC5678"]}
_EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "/v1/recommend": _SESSION | {"k": 10, "explain": True},
    "/v1/recommend:batch": {"sessions": [_SESSION]},
    "/v1/explain": _SESSION | {"product": "B09DEF9012"},
    "/v1/title": {"titles": ["USB-C cable 2 m", "USB-C charger 65 W"]},
    "/v1/similar": {"title": "kettle 1.7 l", "k": 5},
    "/v1/rerank": {"query": "kettle", "documents": ["garden hose", "kettle 1.7 l"], "top_n": 1},
    "/v1/evaluate": {"sessions": [_SESSION | {"next_item": "B09DEF9012"}]},
}
_LIMITS: Final = {"minItems": "at least", "maxItems": "at most"}
_KINDS: Final = {"string": "text", "integer": "whole number", "boolean": "true or false"}
_WITH_LOCALE: Final = ("/v1/recommend", "/v1/explain", "/v1/title", "/v1/similar")


def docs_html(told: Mapping[str, Any], host: str, locale: str) -> str:
    """The page.

    Args:
        told: OpenAPI document.
        host: Address of the service, as its client calls it.
        locale: One that it knows.
    """
    schemas = told["components"]["schemas"]
    routes = [
        _route(path, method, said, schemas, host, locale)
        for path, methods in told["paths"].items()
        for method, said in methods.items()
    ]
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, finalize=for_html
    )
    page = made.get_template("docs.html")
    return page.render(info=told["info"], routes=routes, style=stylesheet(), script=SCRIPT)


@cache
def docs_script() -> bytes:
    """What sends the requests of the page, and shows the answers."""
    return (_TEMPLATES / "docs.js").read_bytes()


def _route(
    path: str, method: str, said: Mapping[str, Any], schemas: Mapping[str, Any], host: str, locale: str
) -> dict[str, Any]:
    """What the page shows of a route."""
    body = dict(_EXAMPLES.get(path, {}))
    if path in _WITH_LOCALE:
        body["locale"] = locale
    for session in body.get("sessions", ()):
        body["sessions"] = [session | {"locale": locale}]
    text = json.dumps(body, ensure_ascii=False)
    data = f" \\\n  -d {shlex.quote(text)}" if method == "post" else ""
    return {
        "path": path,
        "method": method.upper(),
        "summary": said.get("summary", ""),
        "asked": _fields(said.get("requestBody"), schemas),
        "answered": _fields(said["responses"].get("200"), schemas),
        "statuses": [(code, one["description"]) for code, one in said["responses"].items()],
        "example": text if method == "post" else "",
        "curl": f"curl {shlex.quote(host + path)}{data}",
    }


def _fields(content: Mapping[str, Any] | None, schemas: Mapping[str, Any]) -> list[dict[str, str]]:
    """Fields of a body by name, those of types within it below them."""
    schema = ((content or {}).get("content") or {}).get("application/json", {}).get("schema", {})
    return list(_walked(schema, schemas, "", frozenset()))


def _walked(
    schema: Mapping[str, Any], schemas: Mapping[str, Any], prefix: str, above: frozenset[str]
) -> Iterator[dict[str, str]]:
    name = _named(schema)
    if name in above:
        return
    kind = schemas.get(name, schema)
    for field, one in kind.get("properties", {}).items():
        wanted = field in kind.get("required", ())
        default = "" if wanted or one.get("default") is None else f"default {json.dumps(one['default'])}"
        yield {
            "name": prefix + field,
            "kind": _words(one),
            "wanted": "needed" if wanted else default,
            "about": one.get("description", ""),
        }
        inner = one.get("items", one)
        yield from _walked(inner, schemas, prefix + field + ("[]." if "items" in one else "."), above | {name})


def _named(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _words(schema: Mapping[str, Any]) -> str:
    """A type in words: ``list of text, at most 1,000``."""
    if "anyOf" in schema:
        return " or ".join(_words(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        limits = [f"{word} {schema[key]:,}" for key, word in _LIMITS.items() if key in schema]
        return ", ".join([f"list of {_words(schema['items'])}", *limits])
    kind = _KINDS.get(schema.get("type", "object"), schema.get("type", ""))
    low, high = schema.get("minimum", schema.get("minLength")), schema.get("maximum", schema.get("maxLength"))
    unit = " characters" if schema.get("type") == "string" else ""
    if high is not None:
        return f"{kind}, {low or 0:,} to {high:,}{unit}"
    return f"{kind}, at least {low:,}{unit}" if low is not None else kind
