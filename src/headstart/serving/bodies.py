"""A request's body, read no further than the limits go, whatever its headers promise."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from headstart.serving.memory import Share
from headstart.serving.refusals import RefusedError
from headstart.serving.settings import Limits


async def read_body(request: Request, limits: Limits, share: Share) -> bytes:
    """The whole body.

    What comes is counted; a ``Content-Length`` that is too large only ends it earlier.

    Raises
    ------
    RefusedError
        413 where it is too large, 408 where it comes too slowly, 415 where it is compressed, 400 where the client left.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise RefusedError(415, "unsupported_encoding", "the body is compressed: send it as it is", closes=True)
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > limits.body:
        raise _too_large(limits)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.timeout):
            async for part in request.stream():
                if len(body) + len(part) > limits.body:
                    raise _too_large(limits)
                share.grow(len(part))
                body += part
    except TimeoutError:
        message = f"the body did not come within {limits.timeout:g} s"
        raise RefusedError(408, "too_slow", message, closes=True) from None
    except ClientDisconnect:
        raise RefusedError(400, "client_left", "the client left before the body had come", closes=True) from None
    return bytes(body)


def _too_large(limits: Limits) -> RefusedError:
    message = f"the body is larger than the {limits.body} bytes that are taken: send fewer or smaller images"
    return RefusedError(413, "body_too_large", message, closes=True)
