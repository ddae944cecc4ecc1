"""Which backbones, at which image sizes, race: those that a person names, or the usual ones."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headstart.backbones.backbone import Backbone
from headstart.backbones.bundled import BUNDLED
from headstart.errors import BackboneError, HeadstartError, OptionError
from headstart.features.engine import Say
from headstart.planning.rule_table import LARGER

Open = Callable[[str, int | None], Backbone]

# Sides are rounded to so many pixels: the fastest kernels work on blocks of eight.
_STEP = 8
_FORM = re.compile(r"(?P<name>.+?)(?:@(?P<size>\d+))?")
_BYTES = 4
"""Of a weight in float32, as models keep them."""


@dataclass(frozen=True)
class Named:
    """A backbone's name and the side of its input in pixels; ``None`` for the one that its weights were made for."""

    name: str
    size: int | None = None


def read_names(text: str, size: int | None = None) -> tuple[Named, ...]:
    """Read ``A,B@288,C``: names with commas between them, and an image size of its own behind any of them.

    Parameters
    ----------
    size:
        Of those without one of their own.

    Raises
    ------
    OptionError
        If there is no name, or an empty one.
    """
    found = []
    for part in text.split(","):
        match = _FORM.fullmatch(part.strip())
        if match is None:
            raise OptionError(f"--backbones {text!r} has an empty name: write for example lite0,lite0@288,lite1")
        found.append(Named(match["name"], int(match["size"]) if match["size"] else size))
    return tuple(dict.fromkeys(found))


def usual_names() -> tuple[Named, ...]:
    """The bundled backbones that are installed, each at its own image size and at :data:`LARGER` times that."""
    here = [model for model, weights in BUNDLED.items() if importlib.util.find_spec(weights.package) is not None]
    larger = {model: _STEP * round(LARGER * BUNDLED[model].size / _STEP) for model in here}
    return tuple(Named(f"bundled/{model}", size) for model in here for size in (None, larger[model]))


@dataclass(frozen=True, eq=False)
class Entrants:
    """The backbones that may be used.

    Attributes
    ----------
    backbones:
        In the order in which they were named.
    left_out:
        Why others may not be used.
    planned:
        Whether a plan has decided how they take images.
    """

    backbones: tuple[Backbone, ...]
    left_out: tuple[str, ...] = ()
    planned: bool = False


def open_each(named: Sequence[Named], open_one: Open, say: Say) -> Entrants:
    """The backbones of these names, each once; one that can't be loaded is left out, which is said with its reason.

    Parameters
    ----------
    open_one:
        Gives the backbone of a name at a size.

    Raises
    ------
    HeadstartError
        If none can be loaded: the reason of the only one, or a :class:`BackboneError` with all reasons.
    """
    opened, reasons = {}, []
    for entrant in named:
        try:
            backbone = open_one(entrant.name, entrant.size)
        except HeadstartError as error:
            if len(named) == 1:
                raise
            reasons.append(f"left out of the comparison: {_with_name(entrant, str(error))}")
        else:
            opened[label_of(backbone)] = backbone
    if not opened:
        raise BackboneError(f"no backbone can be loaded; {'; '.join(reasons)}")
    for reason in reasons:
        say(reason)
    return Entrants(tuple(opened.values()), tuple(reasons))


def label_of(backbone: Backbone) -> str:
    """What tables and sentences call a backbone at an image size, as :func:`read_names` takes it."""
    return f"{backbone.name}@{backbone.preprocessing.size}"


def weight_of(backbone: Backbone) -> int:
    """Bytes of its weights, without a classifier."""
    return _BYTES * sum(stage.parameters for stage in backbone.stages)


def work_of(backbone: Backbone) -> int:
    """Multiply-accumulates of one image."""
    return sum(stage.macs for stage in backbone.stages)


def _with_name(entrant: Named, reason: str) -> str:
    return reason if entrant.name in reason else f"{entrant.name}: {reason}"
