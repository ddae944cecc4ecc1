"""What a service is started with: its models, its limits and its token, checked before anything is loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart.errors import OptionError
from headstart.imaging import MAX_PIXELS

TOKEN = "HEADSTART_TOKEN"
"""The environment variable with the bearer token."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a model may be called: it stands in addresses and in the names of metrics."""

_BELOW_A_RUN = ("model", "export")


@dataclass(frozen=True)
class Limits:
    """How much a service takes on.

    Attributes
    ----------
    body:
        Bytes of a request's body.
    pixels:
        Of one image, as its header claims.
    images:
        Of one request.
    queue:
        Images that are accepted and not yet answered, over all requests to a model; beyond it a request is refused.
    batch:
        Images that run together.
    gather:
        Seconds that the first image of a batch waits for others.
    timeout:
        Seconds that a request may take to come, and to be answered.
    memory:
        Bytes of bodies and decoded images that may be held at once.

    Raises
    ------
    OptionError
        If one is out of its range.
    """

    body: int = 32 * 2**20
    pixels: int = 50_000_000
    images: int = 64
    queue: int = 256
    batch: int = 32
    gather: float = 0.003
    timeout: float = 30.0
    memory: int = 2**30

    def __post_init__(self) -> None:
        for name in ("body", "pixels", "images", "queue", "batch", "timeout", "memory"):
            if getattr(self, name) <= 0:
                raise OptionError(f"a service's limit {name} is {getattr(self, name)}: give a number above 0")
        if self.pixels > MAX_PIXELS:
            raise OptionError(f"{self.pixels} pixels are more than the {MAX_PIXELS} that headstart decodes")
        if self.queue < self.images:
            raise OptionError(f"a queue of {self.queue} is shorter than one request of {self.images} images may be")
        if self.memory < 4 * max(self.body, self.pixels):
            raise OptionError(f"{self.memory} bytes of memory don't hold one request of the largest size that is taken")


@dataclass(frozen=True)
class ServedModel:
    """A model to serve: the name in its address, and the exported file, its folder, or a run folder with an export."""

    name: str
    path: Path


@dataclass(frozen=True)
class Settings:
    """Everything that a worker needs to know; the first of the models is the one that ``/predict`` means."""

    models: tuple[ServedModel, ...]
    token: str | None = None
    workers: int = 1
    limits: Limits = Limits()


def limits_of(body: int, pixels: int, images: int, queue: int, timeout: float) -> Limits:
    """Limits as a person gives them; the memory grows with the largest request. Raises as :class:`Limits` does."""
    memory = max(Limits.memory, 8 * max(body, pixels))
    return Limits(body=body, pixels=pixels, images=images, queue=queue, timeout=timeout, memory=memory)


def read_models(texts: Sequence[str]) -> tuple[ServedModel, ...]:
    """Read ``NAME=PATH`` or ``PATH``, whose name is that of the run folder.

    Raises
    ------
    OptionError
        If a name can't stand in an address, two models share one, or there is no model.
    """
    models = tuple(_read_model(text) for text in texts)
    if not models:
        raise OptionError("there is no model to serve: give a run folder or an exported file")
    names = [model.name for model in models]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise OptionError(f"two models are called {twice!r}: name them, for example first={models[0].path}")
    return models


def read_token(text: str | None) -> str | None:
    """The bearer token, or ``None`` where none is set; raises :class:`OptionError` for one that no header can hold."""
    if not text:
        return None
    if not re.fullmatch(r"[\x21-\x7e]{8,}", text):
        raise OptionError(f"{TOKEN} must be 8 or more ASCII characters without spaces")
    return text


def _read_model(text: str) -> ServedModel:
    name, mark, path = text.partition("=")
    if mark and not Path(text).exists():
        if not NAME.fullmatch(name):
            raise OptionError(f"{text}: the name {name!r} can't stand in an address; use letters, digits, . _ and -")
        return ServedModel(name, Path(path))
    return ServedModel(_name_of(Path(text)), Path(text))


def _name_of(path: Path) -> str:
    """The run folder's name, of a path to it or into it, with what can't stand in an address replaced."""
    parts = list(path.absolute().parts)
    for below in _BELOW_A_RUN:
        if below in parts[1:]:
            parts = parts[: parts.index(below, 1)]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(parts[-1]).stem if path.is_file() else parts[-1]).lstrip("._-")[:64]
    return name or "model"
