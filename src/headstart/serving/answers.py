"""What requests may wish for and what the service answers: the records that its JSON and its description are of."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from headstart.runtime import Prediction
from headstart.serving.refusals import RefusedError


@dataclass(frozen=True)
class Wishes:
    """The query of ``/predict``."""

    top_k: int = field(
        default=5, metadata={"about": "Most probable classes to list.", "minimum": 0, "maximum": 1_000_000}
    )
    probabilities: bool = field(default=False, metadata={"about": "List the probability of every class."})
    max_error: float | None = field(
        default=None,
        metadata={"about": "Abstain where the model is not sure enough for this error rate.", "above": 0, "below": 1},
    )


@dataclass(frozen=True)
class Chance:
    """A class and its calibrated probability, in 0…1."""

    label: str
    probability: float


@dataclass(frozen=True)
class Answered:
    """What the model says about one image; of one that could not be answered only ``error``.

    ``label`` is the predicted class, the list of predicted labels of a multi-label model, or null where it abstains.
    """

    file: str
    label: str | tuple[str, ...] | None = None
    confidence: float | None = None
    abstained: bool = False
    top: tuple[Chance, ...] = ()
    probabilities: dict[str, float] | None = None
    error: Problem | None = None

    @classmethod
    def of(cls, said: Prediction, wishes: Wishes) -> Answered:
        """A prediction, with as much of the probabilities as is wished for."""
        best = sorted(said.probabilities.items(), key=lambda item: -item[1])[: wishes.top_k]
        return cls(
            said.file,
            tuple(said.label) if isinstance(said.label, list) else said.label,
            said.confidence,
            said.abstained,
            tuple(Chance(label, probability) for label, probability in best),
            said.probabilities if wishes.probabilities else None,
        )


@dataclass(frozen=True)
class Embedded:
    """The backbone's pooled features of one image, or why there are none."""

    file: str
    embedding: tuple[float, ...] | None = None
    error: Problem | None = None


@dataclass(frozen=True)
class Predictions:
    """One entry an image, in the order of the request."""

    model: str
    predictions: tuple[Answered, ...]


@dataclass(frozen=True)
class Embeddings:
    """One entry an image, in the order of the request."""

    model: str
    width: int
    embeddings: tuple[Embedded, ...]


@dataclass(frozen=True)
class Problem:
    """Why a request or an image was not answered: a word for programs, a sentence for people."""

    code: str
    message: str


@dataclass(frozen=True)
class Problems:
    """A request that was not answered; the id is in the log too."""

    error: Problem
    request_id: str


@dataclass(frozen=True)
class Described:
    """A model that is served."""

    name: str
    task: str
    classes: tuple[str, ...]
    backbone: str
    strategy: str
    licence: str
    weights: str
    sha256: str
    engine: str
    precision: str
    error_rates: tuple[float, ...]
    warning: str | None


@dataclass(frozen=True)
class Catalogue:
    """The models that are served; the first is the one without a name in its address."""

    models: tuple[Described, ...]


@dataclass(frozen=True)
class State:
    """Whether the service is alive, or ready."""

    status: str


def read_wishes(query: list[tuple[str, str]]) -> Wishes:
    """Read a query; raises a 400 refusal for what is unknown, given twice or out of its range."""
    known = {wish.name: wish for wish in fields(Wishes)}
    found: dict[str, int | bool | float] = {}
    for name, text in query:
        if name not in known or name in found:
            raise _wrong(f"{name[:50]!r} is unknown or given twice; known are {', '.join(known)}")
        found[name] = _READERS[name](name, text)
    return Wishes(**found)  # type: ignore[arg-type]


def _count(name: str, text: str) -> int:
    limit = int(Wishes.__dataclass_fields__[name].metadata["maximum"])
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > limit:
        raise _wrong(f"{name} must be a number from 0 to {limit}")
    return int(text)


def _switch(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise _wrong(f"{name} must be true or false")
    return text == "true"


def _rate(name: str, text: str) -> float:
    try:
        value = float(text[:50])
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise _wrong(f"{name} must be a rate between 0 and 1")
    return value


def _wrong(message: str) -> RefusedError:
    return RefusedError(400, "wrong_query", message)


_READERS = {"top_k": _count, "probabilities": _switch, "max_error": _rate}
