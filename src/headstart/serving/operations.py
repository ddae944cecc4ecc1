"""The addresses of the service in one table, from which its routes and its description are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from starlette.requests import Request

from headstart.serving import answers, handlers
from headstart.serving.handlers import Service

Handler = Callable[[Service, Request], Awaitable[Any]]

_LOOKING = (400, 401, 408, 413, 415, 422, 503)


@dataclass(frozen=True)
class Operation:
    """One method of one address, or of several that do the same.

    Attributes
    ----------
    name:
        In metrics and logs.
    answer:
        The record that a 200 brings.
    handler:
        Makes it.
    refusals:
        Statuses besides 200.
    wishes:
        The record of the query's parameters.
    images:
        Whether the body has images.
    guarded:
        Whether it needs the token.
    """

    name: str
    method: Literal["GET", "POST"]
    paths: tuple[str, ...]
    about: str
    answer: type
    handler: Handler
    refusals: tuple[int, ...] = ()
    wishes: type | None = None
    images: bool = False
    guarded: bool = True


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "predict",
        "POST",
        ("/predict", "/models/{name}/predict"),
        "Labels, confidence and probabilities of images. Where some of several images can't be decoded, their entries "
        "have an error; where none can, the request is refused.",
        answers.Predictions,
        handlers.predict,
        (*_LOOKING, 404),
        wishes=answers.Wishes,
        images=True,
    ),
    Operation(
        "embed",
        "POST",
        ("/embed", "/models/{name}/embed"),
        "The backbone's pooled features of images.",
        answers.Embeddings,
        handlers.embed,
        (*_LOOKING, 404),
        images=True,
    ),
    Operation("models", "GET", ("/models",), "The models that are served.", answers.Catalogue, handlers.models, (401,)),
    Operation("model", "GET", ("/models/{name}",), "One model.", answers.Described, handlers.model, (401, 404)),
    Operation(
        "reload",
        "POST",
        ("/models/{name}/reload",),
        "Load a model's file again beside the one that answers, then let the new one answer; no request is lost. With "
        "several workers they are replaced one after another.",
        answers.Described,
        handlers.reload,
        (202, 401, 403, 404, 409),
    ),
    Operation(
        "health", "GET", ("/health",), "Whether the process is alive.", answers.State, handlers.health, guarded=False
    ),
    Operation(
        "ready",
        "GET",
        ("/ready",),
        "Whether requests are welcome: not while it stops.",
        answers.State,
        handlers.ready,
        (503,),
        guarded=False,
    ),
)
