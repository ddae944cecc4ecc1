"""What each address of the service does with a request."""

from __future__ import annotations

import asyncio
import hmac
import os
import signal
from dataclasses import dataclass

from starlette.requests import Request

from headstart.errors import OptionError
from headstart.runtime import Answers
from headstart.runtime.decisions import abstain_below
from headstart.serving.answers import (
    Answered,
    Catalogue,
    Described,
    Embedded,
    Embeddings,
    Predictions,
    Problem,
    State,
    read_wishes,
)
from headstart.serving.batching import together
from headstart.serving.bodies import read_body
from headstart.serving.hosting import Hosted, Models
from headstart.serving.memory import Memory, Share
from headstart.serving.metrics import Metrics
from headstart.serving.payloads import JSON, Sent, images_of
from headstart.serving.refusals import RefusedError
from headstart.serving.settings import TOKEN, Settings

# A body of JSON is there three times while it is read: as bytes, as text, and decoded.
_JSON_COPIES = 3
# Larger bodies are taken apart in a thread, so that others are answered meanwhile.
_QUICK_BYTES = 256 * 1024


@dataclass
class Service:
    """What the requests to one worker share."""

    settings: Settings
    metrics: Metrics
    models: Models
    memory: Memory
    draining: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Service:
        """A service whose models are not loaded yet."""
        metrics = Metrics()
        return cls(settings, metrics, Models(settings, metrics), Memory(settings.limits.memory))


@dataclass(frozen=True, eq=False)
class _Looked:
    """What became of a request's images: the answers of those that could be decoded, and the others' problems."""

    hosted: Hosted
    names: list[str]
    problems: dict[int, RefusedError]
    answers: Answers | None

    def rows(self) -> dict[int, int]:
        """Of each image that was answered the row of its answer."""
        good = [place for place in range(len(self.names)) if place not in self.problems]
        return {place: row for row, place in enumerate(good)}


def check_token(service: Service, request: Request) -> None:
    """Raise a 401 refusal unless the request has the service's token, where it has one."""
    token = service.settings.token
    if token is None:
        return
    given = request.headers.getlist("authorization")
    scheme, _, text = (given[0] if len(given) == 1 else "").partition(" ")
    if not hmac.compare_digest(text.strip().encode(), token.encode()) or scheme.lower() != "bearer":
        raise RefusedError(401, "unauthorised", "give the service's token: Authorization: Bearer TOKEN")


async def predict(service: Service, request: Request) -> Predictions:
    """Labels and probabilities."""
    wishes = read_wishes(request.query_params.multi_items())
    hosted = service.models.find(request.path_params.get("name"))
    try:
        abstain_below(hosted.model.record, wishes.max_error)
    except OptionError as error:
        raise RefusedError(400, "wrong_query", str(error)) from None
    looked = await _look(service, request)
    said = []
    if looked.answers is not None:
        names = [name for place, name in enumerate(looked.names) if place not in looked.problems]
        said = looked.hosted.model.judge(looked.answers, names, wishes.max_error)
    rows = looked.rows()
    entries = (
        Answered.of(said[rows[place]], wishes)
        if place in rows
        else Answered(name, error=_problem(looked.problems[place]))
        for place, name in enumerate(looked.names)
    )
    return Predictions(looked.hosted.name, tuple(entries))


async def embed(service: Service, request: Request) -> Embeddings:
    """Pooled features."""
    looked = await _look(service, request)
    rows = looked.rows()
    found = [] if looked.answers is None else looked.answers.embeddings.tolist()
    entries = (
        Embedded(name, tuple(found[rows[place]]))
        if place in rows
        else Embedded(name, None, _problem(looked.problems[place]))
        for place, name in enumerate(looked.names)
    )
    return Embeddings(looked.hosted.name, looked.hosted.model.record.embedding, tuple(entries))


async def models(service: Service, request: Request) -> Catalogue:
    """All models."""
    return Catalogue(tuple(map(described, service.models.all())))


async def model(service: Service, request: Request) -> Described:
    """One model."""
    return described(service.models.find(request.path_params["name"]))


async def reload(service: Service, request: Request) -> Described | State:
    """Load a model anew, then switch to it."""
    if service.settings.token is None:
        raise RefusedError(
            403, "no_token", f"reloading over HTTP needs a service with {TOKEN}; or send the process SIGHUP"
        )
    name = service.models.find(request.path_params["name"]).name
    if service.settings.workers > 1:
        os.kill(os.getppid(), signal.SIGHUP)  # who replaces the workers one after another
        return State("replacing the workers")
    return described(await service.models.reload(name))


async def health(service: Service, request: Request) -> State:
    """Alive."""
    return State("alive")


async def ready(service: Service, request: Request) -> State:
    """Ready to answer."""
    if service.draining:
        raise RefusedError(503, "stopping", "the service is stopping", retry_after=5)
    return State("ready")


def described(hosted: Hosted) -> Described:
    """What is said of a model."""
    record = hosted.model.record
    return Described(
        name=hosted.name,
        task=record.task,
        classes=record.classes,
        backbone=record.backbone,
        strategy=record.strategy,
        licence=record.licence,
        weights=record.weights,
        sha256=record.model_sha256,
        engine=hosted.model.engine,
        precision=hosted.model.precision,
        error_rates=tuple(level.max_error for level in record.abstain),
        warning=record.warning,
    )


async def _look(service: Service, request: Request) -> _Looked:
    """Read a request's images and run them; raises the first image's refusal where none could be decoded."""
    limits = service.settings.limits
    name = service.models.find(request.path_params.get("name")).name
    with Share(service.memory) as share:
        body = await read_body(request, limits, share)
        sent = await _taken_apart(request.headers.get("content-type", ""), body, share, limits.images)
        hosted = service.models.find(name)  # it may have been replaced since
        with hosted.accepting(len(sent)):
            try:
                async with asyncio.timeout(limits.timeout):
                    looked = await _answered(hosted, sent, share)
            except TimeoutError:
                message = f"no answer within {limits.timeout:g} s; try again"
                raise RefusedError(503, "timeout", message, retry_after=1) from None
    request.state.images = len(sent)
    if looked.answers is None:
        raise looked.problems[0]
    service.metrics.images.labels(hosted.name).inc(len(sent) - len(looked.problems))
    for problem in looked.problems.values():
        service.metrics.refused.labels(problem.code).inc()
    return looked


async def _taken_apart(kind: str, body: bytes, share: Share, most: int) -> list[Sent]:
    copies = _JSON_COPIES if kind.strip().lower().startswith(JSON) else 1
    share.grow(copies * len(body))
    if len(body) <= _QUICK_BYTES:
        return images_of(kind, body, most)
    return await asyncio.get_running_loop().run_in_executor(None, images_of, kind, body, most)


async def _answered(hosted: Hosted, sent: list[Sent], share: Share) -> _Looked:
    found = await asyncio.gather(*(hosted.batcher.answer(one, share) for one in sent))
    problems = {place: one for place, one in enumerate(found) if isinstance(one, RefusedError)}
    rows = [one for one in found if not isinstance(one, RefusedError)]
    if overloaded := next((problem for problem in problems.values() if problem.status == 503), None):
        raise overloaded
    return _Looked(hosted, [one.name for one in sent], problems, together(rows) if rows else None)


def _problem(refusal: RefusedError) -> Problem:
    return Problem(refusal.code, refusal.message)
