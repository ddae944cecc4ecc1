"""The description says what the service does: each address, and answers of the shape that it promises."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

Running = Any

jsonschema = pytest.importorskip("jsonschema_rs")
schemathesis = pytest.importorskip("schemathesis")


@pytest.fixture(scope="module")
def description(service: Running) -> dict[str, Any]:
    return dict(service("GET", "/openapi.json").json)


def test_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    names = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(description)))
    assert names <= set(description["components"]["schemas"])
    assert {"Predictions", "Answered", "Problems"} <= names


def test_answers_are_of_the_promised_shape(description: dict[str, Any], service: Running, white: bytes) -> None:
    for body, status, path in (
        (white, 200, "/predict"),
        (white, 200, "/embed"),
        (b"x", 415, "/predict"),
        (b"", 400, "/embed"),
    ):
        found = service("POST", path, body)
        assert found.status == status
        promised = description["paths"][path]["post"]["responses"][str(status)]["content"]["application/json"]["schema"]
        jsonschema.validator_for({**promised, "components": description["components"]}).validate(found.json)


def test_the_page_names_every_address_and_loads_nothing(description: dict[str, Any], service: Running) -> None:
    page = service("GET", "/")
    text = page.body.decode()
    assert all(path in text for path in description["paths"])
    assert not re.findall(r"<(?:script|img|link|iframe)|url\(|@import", text)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert service("GET", "/docs").body == page.body


def fuzz(url: str, examples: int) -> int:
    """Send made-up requests to every operation; fails on a 5xx. Returns how many were sent."""
    from hypothesis import HealthCheck, Phase, given, settings

    sent, wrong = 0, schemathesis.GenerationMode.NEGATIVE
    for found in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=wrong) | operation.as_strategy())
        def try_one(case: Any) -> None:
            nonlocal sent
            sent += 1
            answer = case.call()
            assert answer.status_code < 500, (case.as_curl_command(), answer.text)

        try_one()
    return sent


def test_made_up_requests_bring_no_5xx(service: Running) -> None:
    assert fuzz(f"http://127.0.0.1:{service.port}", 8) > 40


@pytest.mark.soak
def test_many_made_up_requests_bring_no_5xx(service: Running) -> None:
    assert fuzz(f"http://127.0.0.1:{service.port}", 800) > 3000
