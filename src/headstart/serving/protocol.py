"""HTTP connections with limits that uvicorn has not: on the size and the time of headers, and a gentler end."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headstart.serving.app import ABORT

MOST_HEADERS = 64 * 1024
"""Bytes of a request's line and headers, give or take what one read from the socket brings."""

HEADER_SECONDS = 10.0
"""In which a request's headers must have come."""

LINGER = 1.0
"""Seconds for which, at the end, a silent connection is still listened to: its next request may be under way."""

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's connection on httptools, whose parser would take headers of any length, for any time.

    At a graceful stop uvicorn closes each silent connection at once, and with it a request that is on its way. Here
    such a connection is listened to for :data:`LINGER` seconds more, and what still comes is answered.
    """

    _stopping = False
    _in_headers = True
    _received = 0
    _clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """See :class:`asyncio.Protocol`."""
        super().connection_made(transport)
        self._clock = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        super().data_received(data)
        self._received += len(data)
        if not self._in_headers or self.transport.is_closing():
            return
        if self._received > MOST_HEADERS:
            self._end(_TOO_LARGE)
        elif self._clock is None:
            self._clock = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def on_message_begin(self) -> None:
        """A request's first byte has come."""
        self._in_headers, self._received = True, 0
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: self.transport.abort}

    def on_headers_complete(self) -> None:
        """A request's headers have come."""
        self._in_headers = False
        self._stop_clock()
        super().on_headers_complete()
        if self._stopping:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Stop gracefully: answer what has come and what is on its way."""
        self._stopping = True
        if self.cycle is None or self.cycle.response_complete:
            self._unset_keepalive_if_required()
            self.loop.call_later(LINGER, super().shutdown)
        else:
            super().shutdown()

    def _too_slow(self) -> None:
        self._clock = None
        if self._in_headers and not self.transport.is_closing():
            self._end(_TOO_SLOW if self._received else b"")

    def _end(self, answer: bytes) -> None:
        self._stop_clock()
        if self.cycle is None or self.cycle.response_complete:  # else it would stand amid another answer
            self.transport.write(answer)
        self.transport.close()

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
