"""What a service counts and times, in Prometheus' text format."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client import multiprocess as between_processes
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

TYPE = CONTENT_TYPE_PLAIN_0_0_4
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable with the folder in which several workers count together."""

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one worker."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        if FOLDER in os.environ:
            between_processes.MultiProcessCollector(self._registry)
        own = None if FOLDER in os.environ else self._registry
        self.requests = Counter(
            "headstart_requests_total", "Requests that were answered.", ["operation", "status"], registry=own
        )
        self.seconds = Histogram(
            "headstart_request_seconds", "From a request to its answer.", ["operation"], buckets=_SECONDS, registry=own
        )
        self.images = Counter("headstart_images_total", "Images that were answered.", ["model"], registry=own)
        self.refused = Counter(
            "headstart_refused_total", "Requests and images that were refused.", ["code"], registry=own
        )
        self.batches = Histogram(
            "headstart_batch_images", "Images that ran together.", ["model"], buckets=_SIZES, registry=own
        )
        self.waiting = Gauge(
            "headstart_waiting_images",
            "Images that are accepted and not yet answered.",
            ["model"],
            multiprocess_mode="livesum",
            registry=own,
        )
        self.loads = Counter("headstart_model_loads_total", "Times that a model was loaded.", ["model"], registry=own)

    def text(self) -> bytes:
        """Everything, of all workers."""
        return generate_latest(self._registry)
