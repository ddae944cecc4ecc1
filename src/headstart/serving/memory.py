"""How many bytes the requests in work hold together, so that many of them can't fill the machine."""

from __future__ import annotations

import threading
from types import TracebackType

from headstart.serving.refusals import busy


class Memory:
    """A number of bytes that requests share; safe to use from several threads."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._held

    def take(self, count: int) -> None:
        """Hold some bytes more; refuses with 503 where they are not left."""
        with self._lock:
            if self._held + count > self._limit:
                raise busy("the requests in work hold all the memory that the service may use; try again")
            self._held += count

    def give(self, count: int) -> None:
        """Hold some bytes less."""
        with self._lock:
            self._held -= count


class Share:
    """What one request holds of a :class:`Memory`; everything is given back at the end of its ``with`` block."""

    def __init__(self, memory: Memory) -> None:
        self._memory, self._held = memory, 0
        self._lock, self._ended = threading.Lock(), False

    def grow(self, count: int) -> None:
        """Hold some bytes more; raises as :meth:`Memory.take` does."""
        with self._lock:
            if self._ended:  # a thread that still decodes for a request that timed out
                raise busy("the request has ended")
            self._memory.take(count)
            self._held += count

    def __enter__(self) -> Share:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._ended = True
            self._memory.give(self._held)
            self._held = 0
