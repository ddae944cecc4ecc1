"""The models of a service: loaded, looked up by name, and replaced without losing a request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headstart import runtime
from headstart.errors import HeadstartError
from headstart.runtime.session import cores
from headstart.serving.batching import Batcher
from headstart.serving.metrics import Metrics
from headstart.serving.refusals import RefusedError
from headstart.serving.settings import ServedModel, Settings

_LOG = logging.getLogger("headstart.serving")


@dataclass(frozen=True, eq=False)
class Hosted:
    """A model at work under its name."""

    name: str
    path: Path
    model: runtime.Model
    batcher: Batcher
    metrics: Metrics

    @contextlib.contextmanager
    def accepting(self, count: int) -> Iterator[None]:
        """Keep places for some images in the queue; raises a 503 refusal where there are none."""
        self.batcher.accept(count)
        self.metrics.waiting.labels(self.name).inc(count)
        try:
            yield
        finally:
            self.batcher.done(count)
            self.metrics.waiting.labels(self.name).dec(count)


class Models:
    """All models of a worker. To be used within one event loop."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._hosted: dict[str, Hosted] = {}
        self._loading: set[str] = set()
        self._retired: set[asyncio.Task[None]] = set()

    async def load(self) -> None:
        """Load them all; raises :class:`~headstart.errors.HeadstartError` where one can't be loaded."""
        for served in self._settings.models:
            self._hosted[served.name] = await self._load(served)

    def all(self) -> list[Hosted]:
        """In the order in which they were named."""
        return list(self._hosted.values())

    def find(self, name: str | None) -> Hosted:
        """The model of a name, or the first; raises a 404 refusal where there is none."""
        if name is None:
            return next(iter(self._hosted.values()))
        if name not in self._hosted:
            raise RefusedError(404, "unknown_model", f"there is no such model; there are {', '.join(self._hosted)}")
        return self._hosted[name]

    async def reload(self, name: str) -> Hosted:
        """Load a model's file again beside the one that answers, then let the new one answer.

        What the old one had accepted it still answers.

        Raises
        ------
        RefusedError
            409 where the file can't be loaded, and the old model goes on; or while it is being loaded already.
        """
        old = self.find(name)
        if name in self._loading:
            raise RefusedError(409, "loading", f"{name} is being loaded already", retry_after=1)
        self._loading.add(name)
        try:
            new = await self._load(ServedModel(name, old.path))
        except HeadstartError as error:
            raise RefusedError(409, "not_loaded", f"{name} goes on as it was: {error}") from None
        finally:
            self._loading.discard(name)
        self._hosted[name] = new
        retiring = asyncio.get_running_loop().create_task(old.batcher.close())
        self._retired.add(retiring)
        retiring.add_done_callback(self._retired.discard)
        return new

    async def reload_all(self) -> None:
        """Reload each; one that can't be loaded goes on as it was, and the log says why."""
        for name in list(self._hosted):
            try:
                await self.reload(name)
            except RefusedError as refusal:
                _LOG.error("reload refused", extra={"model": name, "reason": refusal.message})

    async def close(self) -> None:
        """Answer what was accepted, and stop."""
        await asyncio.gather(*(hosted.batcher.close() for hosted in self._hosted.values()), *self._retired)

    async def _load(self, served: ServedModel) -> Hosted:
        threads = max(1, cores() // self._settings.workers)
        loop = asyncio.get_running_loop()
        model = await loop.run_in_executor(None, lambda: runtime.load(served.path, threads=threads))
        batcher = Batcher(model, self._settings.limits, threads, self._metrics.batches.labels(served.name).observe)
        batcher.start()
        self._metrics.loads.labels(served.name).inc()
        said = {"model": served.name, "engine": model.engine, "sha256": model.record.model_sha256}
        _LOG.info("model loaded", extra=said)
        if model.record.warning:
            _LOG.warning("model warning", extra={"model": served.name, "reason": model.record.warning})
        return Hosted(served.name, served.path, model, batcher, self._metrics)
