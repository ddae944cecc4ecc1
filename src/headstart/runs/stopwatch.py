"""How long each stage of a run took."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator


class Stopwatch:
    """Adds up the seconds of named sections, and the total since it was made.

    Parameters
    ----------
    clock:
        Seconds from any fixed moment on.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._start = clock()
        self._sections: dict[str, float] = {}

    @contextlib.contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Count the ``with`` block towards ``name``; blocks of one name add up, failed ones count too."""
        start = self._clock()
        try:
            yield
        finally:
            self._sections[name] = self._sections.get(name, 0.0) + self._clock() - start

    def seconds(self) -> dict[str, float]:
        """``total`` first, then the ended sections in the order in which they first ended."""
        return {"total": self._clock() - self._start, **self._sections}
