"""How long one image takes here: what a person waits for, where :mod:`headstart.features.measuring` counts images."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from headstart.features.engine import CompiledTrunk
from headstart.features.parity import photographs

# The first calls load the graph and fill caches. Then a quarter of a second of Lite0's 5 ms is 50 calls; a network that
# takes longer is timed less often, as its time varies less.
_WARM_UP = 2
_LEAST_CALLS, _MOST_CALLS, _SECONDS = 3, 50, 0.25


def latency(compiled: CompiledTrunk, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds for one decoded image, alone in its batch: the median of repeated calls after some to warm up.

    What is timed is the frozen network on one core, as a single prediction runs it; reading and decoding the image,
    and the head, which is a product of small matrices, are not.

    Parameters
    ----------
    compiled:
        A trunk that takes images.
    clock:
        Seconds from any fixed moment on.
    """
    preprocessing = compiled.trunk.backbone.preprocessing
    image = photographs(preprocessing.size, preprocessing.channels)[:1]
    for _ in range(_WARM_UP):
        compiled(image)
    spent: list[float] = []
    while len(spent) < _LEAST_CALLS or (len(spent) < _MOST_CALLS and sum(spent) < _SECONDS):
        started = clock()
        compiled(image)
        spent.append(clock() - started)
    return statistics.median(spent)
