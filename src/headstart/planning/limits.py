"""What a model may weigh and how long it may take for one image: ``--max-size`` and ``--max-latency``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headstart.errors import OptionError

_SIZES = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}
_TIMES = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


@dataclass(frozen=True)
class Cost:
    """What using a model costs.

    Attributes
    ----------
    size:
        Of the saved model with its backbone, in bytes.
    latency:
        Seconds for one image here, decoded already, batch 1; ``None`` where nobody asked and it was not measured.
    """

    size: int
    latency: float | None = None

    def __str__(self) -> str:
        return _size(self.size) + ("" if self.latency is None else f" and {_time(self.latency)}")


@dataclass(frozen=True)
class Limits:
    """What is allowed; ``None`` allows everything.

    Attributes
    ----------
    size, latency:
        Bytes and seconds, above 0.
    """

    size: float | None = None
    latency: float | None = None

    @classmethod
    def parse(cls, size: str | None, latency: str | None) -> Limits:
        """Read ``10MB`` (or kB, GB, MiB) and ``20ms`` (or us, s).

        Raises
        ------
        OptionError
            If one is anything else, or 0.
        """
        return cls(
            None if size is None else _read(size, _SIZES, "--max-size", "10MB"),
            None if latency is None else _read(latency, _TIMES, "--max-latency", "20ms"),
        )

    def excess(self, cost: Cost) -> float:
        """How many times as much as allowed a model costs; up to 1 it is allowed.

        Raises
        ------
        ValueError
            If latency is limited and was not measured.
        """
        if self.latency is not None and cost.latency is None:
            raise ValueError("latency is limited, so it must be measured")
        size = 0.0 if self.size is None else cost.size / self.size
        return max(size, 0.0 if self.latency is None or cost.latency is None else cost.latency / self.latency)

    def __str__(self) -> str:
        """As options, for messages; empty without limits."""
        size = [] if self.size is None else [f"--max-size {_size(self.size)}"]
        return " ".join([*size, *([] if self.latency is None else [f"--max-latency {_time(self.latency)}"])])


NO_LIMITS = Limits()


def within(limits: Limits, costs: Mapping[str, Cost]) -> Sequence[str]:
    """The names of the models that are allowed, in their order.

    Raises
    ------
    OptionError
        If none is, with the nearest; or there is no model.
    """
    if not costs:
        raise OptionError("there is no model to choose from")
    excess = {name: limits.excess(cost) for name, cost in costs.items()}
    allowed = [name for name, times in excess.items() if times <= 1]
    if not allowed:
        nearest = min(excess, key=excess.__getitem__)
        raise OptionError(
            f"no model is within {limits}: the nearest, {nearest}, takes {costs[nearest]}; "
            "allow as much, or take a smaller --backbone or --image-size"
        )
    return allowed


def _read(text: str, units: Mapping[str, float], option: str, example: str) -> float:
    match = _FORM.fullmatch(text.strip().lower())
    if match is None or match[2] not in units:
        unit = " has no unit" if match is not None and not match[2] else " can't be read"
        raise OptionError(f"{option} {text!r}{unit}: write for example {example}")
    value = float(match[1]) * units[match[2]]
    if not 0 < value < math.inf:
        raise OptionError(f"{option} {text!r} allows no model at all: write for example {example}")
    return value


def _size(size: float) -> str:
    unit = next((unit for unit in ("GB", "MB", "kB") if size >= _SIZES[unit.lower()]), "B")
    return f"{size / _SIZES[unit.lower()]:.3g}{unit}"


def _time(seconds: float) -> str:
    return f"{seconds:.3g}s" if seconds >= 1 else f"{seconds * 1e3:.3g}ms"
