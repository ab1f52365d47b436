"""schemathesis asks a real server what its OpenAPI file allows, and what it forbids: each answer is as it says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

import llmrec
from llmrec.serving.held import Limits
from llmrec.serving.loaded import Places
from tests.serving.conftest import Client, Shop


def meant(body: Any) -> Any:
    """A body as a shop would mean it: of a locale that is there, and with a product that is known."""
    if not isinstance(body, dict):
        return body
    known = {"locale": "US"} if "locale" in body or "items" in body else {}
    if isinstance(body.get("items"), list):
        known["items"] = ["I00", *body["items"][1:]]
    if isinstance(body.get("sessions"), list):
        known["sessions"] = [meant(one) for one in body["sessions"]]
    return body | known


def asked(client: Client, examples: int, number: int) -> Counter[tuple[str, int]]:
    """Ask every route; statuses by route."""
    seen: Counter[tuple[str, int]] = Counter()
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{client.port}/openapi.json")
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if mode is GenerationMode.NEGATIVE and operation.method == "get":  # takes nothing that could be wrong
                continue

            @seed(number)
            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                if case.meta.generation.mode is GenerationMode.POSITIVE:
                    case.body = meant(case.body)
                # what the form allows may be refused for what it means, such as a product that is not there
                options = {"excluded_checks": [positive_data_acceptance], "headers": {"x-request-id": "mine-1"}}
                answer = case.call_and_validate(**options)
                seen[case.operation.label, answer.status_code] += 1
                assert answer.headers["x-request-id"] == ["mine-1"]
                if answer.status_code >= 400:
                    told = json.loads(answer.content)
                    assert told["error"]["message"]
                    assert told["request_id"] == "mine-1"

            ask()
    return seen


def test_every_route_keeps_to_its_form(
    shop: Shop, serve: Callable[..., Client], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("openapi") / "covisit"
    llmrec.fit("covisit", shop.store.training(), shop.store).save(folder)
    places = Places(ranker=folder, index=shop.places.index, products=shop.places.products)
    seen = asked(serve(places, Limits(body_bytes=1 << 20)), 8, 0)
    answered = {route for route, status in seen if status == 200}
    assert {"POST /v1/recommend", "POST /v1/similar", "POST /v1/rerank", "GET /metrics"} <= answered
    assert {status for _, status in seen} <= {200, 422}


@pytest.mark.slow
def test_every_route_keeps_to_its_form_for_long(client: Client) -> None:
    assert {status for _, status in asked(client, 300, 1)} <= {200, 413, 422}
