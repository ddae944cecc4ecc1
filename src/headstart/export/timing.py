"""How long an exported file takes: percentiles of single calls, network and preprocessing in the graph included."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

# After two calls to warm up: percentiles want many calls, a person does not want to wait.
_WARM_UP = 2
_LEAST_CALLS, _MOST_CALLS, _SECONDS = 5, 200, 2.0


@dataclass(frozen=True)
class Latency:
    """Times of one call with a batch of ``batch`` decoded images, over ``calls`` calls, in milliseconds.

    ``images_per_second`` follows from the median.
    """

    batch: int
    calls: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    images_per_second: float


def measure(call: Callable[[], Any], batch: int, *, clock: Callable[[], float] = time.perf_counter) -> Latency:
    """Time ``call``, which runs a batch, until two seconds have passed; at least 5 and at most 200 times."""
    for _ in range(_WARM_UP):
        call()
    spent: list[float] = []
    while len(spent) < _LEAST_CALLS or (len(spent) < _MOST_CALLS and sum(spent) < _SECONDS):
        started = clock()
        call()
        spent.append(clock() - started)
    p50, p95, p99 = (float(value) * 1000 for value in np.percentile(spent, (50, 95, 99)))
    return Latency(batch, len(spent), p50, p95, p99, batch / max(p50 / 1000, 1e-9))
