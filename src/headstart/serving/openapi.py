"""The service's description: OpenAPI 3.1 and a page of it, both made from the table of operations."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jinja2

from headstart.serving import answers
from headstart.serving.operations import OPERATIONS, Operation
from headstart.serving.payloads import JSON, MULTIPART, RAW
from headstart.serving.schemas import Schema, query_parameters, record_schema
from headstart.serving.settings import NAME, Limits

RECORDS = (
    answers.Predictions,
    answers.Answered,
    answers.Chance,
    answers.Embeddings,
    answers.Embedded,
    answers.Catalogue,
    answers.Described,
    answers.State,
    answers.Problems,
    answers.Problem,
)

REASONS = {
    202: "The workers are being replaced.",
    400: "The query or the body is malformed, or has no image.",
    401: "The token is missing or wrong.",
    403: "The service has no token, and this needs one.",
    404: "There is no such model.",
    408: "The body came too slowly.",
    409: "The file can't be loaded; the model goes on as it was.",
    413: "The body, an image or their number is larger than the limits.",
    415: "The type of the body or of the image is not read.",
    422: "The image is broken.",
    503: "There is more to do than is taken on, or it took too long: see Retry-After.",
}


def describe(version: str, limits: Limits) -> dict[str, Any]:
    """The description as plain JSON values."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        for path in operation.paths:
            paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, path, limits)
    paths["/metrics"] = {"get": _metrics()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "headstart",
            "version": version,
            "description": "Image classification by exported models.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {record.__name__: record_schema(record) for record in RECORDS},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def page(version: str, limits: Limits) -> str:
    """The description as one page of HTML that loads nothing else."""
    source = resources.files("headstart.serving").joinpath("page.html.jinja").read_text()
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(source)
    return template.render(version=version, limits=limits, operations=OPERATIONS, description=describe(version, limits))


def _operation(operation: Operation, path: str, limits: Limits) -> Schema:
    parameters: list[Schema] = query_parameters(operation.wishes) if operation.wishes else []
    named = "{name}" in path
    if named:
        pattern = {"type": "string", "pattern": f"^{NAME.pattern}$"}
        parameters = [{"name": "name", "in": "path", "required": True, "schema": pattern}, *parameters]
    statuses = [status for status in operation.refusals if status != 404 or named]
    described: Schema = {
        "operationId": operation.name + ("_by_name" if named and len(operation.paths) > 1 else ""),
        "summary": operation.about,
        "parameters": parameters,
        "responses": {
            "200": _json("The answer.", operation.answer),
            **{str(status): _refusal(status) for status in sorted(statuses)},
        },
    }
    if operation.images:
        described["requestBody"] = {"required": True, "content": _bodies(limits)}
    if operation.guarded:
        described["security"] = [{"token": []}, {}]
    return described


def _bodies(limits: Limits) -> Schema:
    image = {"type": "string", "contentEncoding": "base64", "description": "An image file in base64."}
    several = {"type": "array", "items": image, "minItems": 1, "maxItems": limits.images}
    whole = {"type": "object", "properties": {"images": several}, "required": ["images"], "additionalProperties": False}
    file = {"type": "string", "format": "binary"}
    files = {"type": "object", "properties": {"image": {"type": "array", "items": file}}, "required": ["image"]}
    return {
        RAW: {"schema": {**file, "description": "One image file as it is."}},
        "image/*": {"schema": file},
        JSON: {"schema": whole},
        MULTIPART: {"schema": {**files, "description": "Each part is an image, whatever its name."}},
    }


def _json(about: str, record: type) -> Schema:
    return {"description": about, "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{record.__name__}"}}}}


def _refusal(status: int) -> Schema:
    refused = _json(REASONS[status], answers.State if status == 202 else answers.Problems)
    if status == 503:
        refused["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return refused


def _metrics() -> Schema:
    text = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "operationId": "metrics",
        "summary": "Counters and times in Prometheus' text format.",
        "parameters": [],
        "responses": {"200": {"description": "The counters.", "content": text}, "401": _refusal(401)},
        "security": [{"token": []}, {}],
    }
