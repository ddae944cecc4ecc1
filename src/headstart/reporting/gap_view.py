"""How far the images lie from what the network has learnt from, as bars and a sentence."""

from __future__ import annotations

import math

from headstart.planning.rule_table import FAR, FITS, SOURCE_LIKE
from headstart.reporting.choosing import Finding
from headstart.reporting.evidence import Values, mapping, number, text
from headstart.reporting.scorecard import Bar
from headstart.reporting.wording import TEXT_LENGTH, shorten

_SURE = 1.96  # standard errors on each side of a 95 % interval
_LAYERS = {"early": "first layers", "middle": "middle layers", "late": "last layers"}


def view_gap(fingerprint: Values) -> Finding | None:
    """What ``fingerprint.json`` says of the domain gap; ``None`` where it says nothing.

    Bars are in multiples of how far images of the source data itself lie: the root of a ratio of divergences, since a
    divergence grows with the square of a shift.
    """
    gap = mapping(fingerprint, "gap")
    found = {}
    for key in _LAYERS:
        part = mapping(gap, key)
        value, error = number(part, "value"), number(part, "error")
        if value is not None:
            margin = _SURE * (error or 0.0)
            found[key] = (_times(value), _times(value - margin), _times(value + margin))
    if not found:
        return None
    longest = max([FAR, *(high for _, _, high in found.values())])
    bars = tuple(
        Bar(_LAYERS[key], "", f"{times:.1f} times", times / longest, low / longest, high / longest)
        for key, (times, low, high) in found.items()
    )
    note = (
        f"How far the activations of these images lie from those of ImageNet, where a sample of ImageNet itself is 1; "
        f"up to {FITS:g} the layers fit, from {FAR:g} on they do not. Lines are 95% intervals; no label was looked at."
    )
    return Finding(shorten(text(fingerprint, "reading"), TEXT_LENGTH), bars, note)


def _times(value: float) -> float:
    return math.sqrt(max(value, 0.0) / SOURCE_LIKE)
