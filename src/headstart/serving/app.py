"""The service as an ASGI application: routes, request ids, the log, and errors as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import signal
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import headstart
from headstart.serving import metrics
from headstart.serving.answers import Problem, Problems
from headstart.serving.handlers import Service, check_token
from headstart.serving.openapi import describe, page
from headstart.serving.operations import OPERATIONS, Operation
from headstart.serving.payloads import JSON
from headstart.serving.refusals import RefusedError
from headstart.serving.settings import Settings

ABORT = "headstart.abort"
"""The ASGI extension by which a connection is ended at once; see :mod:`headstart.serving.protocol`."""

_LOG = logging.getLogger("headstart.serving")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SLOW_READER = 30.0  # seconds in which a client must have taken its answer
_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_Message = dict[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_Asgi = Callable[[dict[str, Any], _Receive, _Send], Awaitable[None]]


def make_app(settings: Settings) -> _Asgi:
    """The application of one worker; it loads the models at its start and again at SIGHUP."""
    service = Service.of(settings)
    routes = [
        Route(path, _endpoint(service, operation), methods=[operation.method], name=operation.name)
        for operation in OPERATIONS
        for path in operation.paths
    ]
    inner = Starlette(
        routes=[*routes, *_descriptions(service)],
        lifespan=lambda app: _life(service),
        exception_handlers={RefusedError: _refused, HTTPException: _no_route, Exception: _failed},
    )
    return _Outermost(inner, service)


class _Outermost:
    """Gives each request an id, and counts, times and logs it."""

    def __init__(self, inner: _Asgi, service: Service) -> None:
        self._inner, self.service = inner, service

    async def __call__(self, scope: dict[str, Any], receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        start, status, clock = time.monotonic(), 500, None
        state, abort = scope.setdefault("state", {}), scope.get("extensions", {}).get(ABORT)
        state.update(request_id=_request_id(scope), operation="other", images=0, code=None)

        async def answer(message: _Message) -> None:
            nonlocal status, clock
            if message["type"] == "http.response.start":
                status = message["status"]
                if abort is not None:
                    clock = asyncio.get_running_loop().call_later(_SLOW_READER, abort)
                message["headers"] = [*message["headers"], (b"x-request-id", state["request_id"].encode())]
            await send(message)

        try:
            await self._inner(scope, receive, answer)
        finally:
            if clock is not None:
                clock.cancel()
            self._note(scope, status, time.monotonic() - start)

    def _note(self, scope: dict[str, Any], status: int, seconds: float) -> None:
        state = scope["state"]
        operation, code = state["operation"], state["code"]
        self.service.metrics.requests.labels(operation, str(status)).inc()
        self.service.metrics.seconds.labels(operation).observe(seconds)
        if code is not None:
            self.service.metrics.refused.labels(code).inc()
        said = {
            "request_id": state["request_id"],
            "method": scope["method"],
            "path": scope["path"][:200],
            "operation": operation,
            "status": status,
            "milliseconds": round(1000 * seconds, 1),
            "images": state["images"],
            "code": code,
            "client": (scope.get("client") or ("",))[0],
        }
        _LOG.info("request", extra=said)


def _request_id(scope: dict[str, Any]) -> str:
    """The client's own, where it gave one that can stand in logs and headers; else a new one."""
    given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"]
    return given[0] if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) else uuid.uuid4().hex


@contextlib.asynccontextmanager
async def _life(service: Service) -> AsyncIterator[None]:
    await service.models.load()
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(service.models.reload_all())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    if threading.current_thread() is threading.main_thread():
        loop.add_signal_handler(signal.SIGHUP, reload)
    _LOG.info("ready", extra={"models": [hosted.name for hosted in service.models.all()]})
    yield
    service.draining = True
    await service.models.close()


def _endpoint(service: Service, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        request.state.operation = operation.name
        if operation.guarded:
            check_token(service, request)
        found = await operation.handler(service, request)
        return _json(found, 200 if isinstance(found, operation.answer) else 202)

    return answer


def _descriptions(service: Service) -> list[Route]:
    """The addresses that answer with something other than a record."""
    limits, version = service.settings.limits, headstart.__version__
    description = json.dumps(describe(version, limits), indent=1)
    about = page(version, limits)
    safe = {"content-security-policy": _PAGE_POLICY, "x-content-type-options": "nosniff"}

    async def counters(request: Request) -> Response:
        request.state.operation = "metrics"
        check_token(service, request)
        return Response(service.metrics.text(), media_type=metrics.TYPE)

    async def openapi(request: Request) -> Response:
        request.state.operation = "description"
        return Response(description, media_type=JSON)

    async def shown(request: Request) -> Response:
        request.state.operation = "description"
        return Response(about, media_type="text/html", headers=safe)

    return [Route("/metrics", counters), Route("/openapi.json", openapi), Route("/", shown), Route("/docs", shown)]


def _refused(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, RefusedError)
    headers = {}
    if refusal.retry_after is not None:
        headers["retry-after"] = str(refusal.retry_after)
    if refusal.closes:
        headers["connection"] = "close"
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    return _problem(request, refusal.status, refusal.code, refusal.message, headers)


def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "unknown_address", 405: "wrong_method"}.get(error.status_code, "refused")
    message = f"{error.detail}: the addresses are described at /"
    return _problem(request, error.status_code, code, message, dict(error.headers or {}))


def _failed(request: Request, error: Exception) -> Response:
    return _problem(request, 500, "failed", "the service failed; its log has the reason under this request's id", {})


def _problem(request: Request, status: int, code: str, message: str, headers: dict[str, str]) -> Response:
    request.state.code = code
    return _json(Problems(Problem(code, message), request.state.request_id), status, headers)


def _json(record: Any, status: int, headers: dict[str, str] | None = None) -> Response:
    text = json.dumps(record, default=vars, allow_nan=False, separators=(",", ":"))
    return Response(text, status, headers={"x-content-type-options": "nosniff", **(headers or {})}, media_type=JSON)
