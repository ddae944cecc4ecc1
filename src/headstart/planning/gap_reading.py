"""What a domain gap says to a person, in one sentence."""

from __future__ import annotations

import math
from typing import Literal

from headstart.planning.domain_gap import DomainGap, Estimate
from headstart.planning.rule_table import FAR, FITS, LEAST_GAP_IMAGES, SOURCE_LIKE

Level = Literal["fits", "partly", "far"]

_SURE = 1.96  # standard errors on each side of a 95 % interval

_VERBS = {"fits": "fit", "partly": "fit only in part", "far": "do not fit"}


def read_gap(gap: DomainGap) -> str:
    """One sentence on where a network's features stop fitting, or on how two data sets compare.

    What fine-tuning gains it does not tell: the number of images and the score of a probe foretell that better
    (``docs/benchmarks.md``, "What the prior knows").
    """
    if gap.against is not None:
        return _read_pair(gap, gap.against)
    described = which_fit(gap)
    if not described:
        return f"{_counted(gap.images)} {_are(gap.images)} too few to say how far they lie from what the network knows."
    early, *later = _levels(gap)
    return f"{described.capitalize()}: {_meaning(early, later)}."


def which_fit(gap: DomainGap) -> str:
    """Which layers fit, as a clause; empty where the images are too few to say."""
    if gap.images < LEAST_GAP_IMAGES or any(map(_unclear, (gap.early, gap.middle, gap.late))):
        return ""
    return _described(_levels(gap))


def level_of(gap: DomainGap) -> Level | None:
    """What the total gap is called; ``None`` where the images are too few to say."""
    return None if gap.images < LEAST_GAP_IMAGES or _unclear(gap.total) else level(gap.total.value)


def level(value: float) -> Level:
    """What a gap of so many nats is called, by how many times as far it is as a sample of the source data."""
    times = math.sqrt(max(value, 0.0) / SOURCE_LIKE)
    return "fits" if times < FITS else "partly" if times < FAR else "far"


def _read_pair(gap: DomainGap, other: str) -> str:
    counted = f"{_counted(gap.images)} of {gap.of} and {gap.against_images} of {other}"
    if min(gap.images, gap.against_images or 0) < LEAST_GAP_IMAGES or _unclear(gap.total):
        return f"{counted} are too few to say how far the two lie apart."
    if gap.total.value <= _SURE * gap.total.error:
        return f"No difference shows between {counted}."
    return {
        "fits": f"{gap.of} and {other} differ measurably, but little.",
        "partly": f"{gap.of} and {other} differ clearly: try a model of one on labelled images of the other first.",
        "far": f"{gap.of} and {other} are images of different kinds: do not expect a model of one to serve the other.",
    }[level(gap.total.value)]


def _unclear(part: Estimate) -> bool:
    """Whether the interval reaches from a gap that fits to one that does not."""
    if math.isnan(part.error):
        return True
    margin = _SURE * part.error
    return level(part.value - margin) == "fits" and level(part.value + margin) == "far"


def _levels(gap: DomainGap) -> list[Level]:
    return [level(part.value) for part in (gap.early, gap.middle, gap.late)]


def _described(levels: list[Level]) -> str:
    """Which layers fit, neighbours of one level together."""
    if len(set(levels)) == 1:
        return f"the layers {_VERBS[levels[0]]} from the first to the last"
    runs: list[tuple[list[str], Level]] = []
    for name, found in zip(("first", "middle", "last"), levels, strict=True):
        if runs and runs[-1][1] == found:
            runs[-1][0].append(name)
        else:
            runs.append(([name], found))
    said = [
        f"the {' and '.join(names)}{'' if place else ' layers'} {_VERBS[v]}" for place, (names, v) in enumerate(runs)
    ]
    return ", ".join(said)


def _meaning(early: Level, later: list[Level]) -> str:
    """Where the images differ, first layers against the rest.

    Where only the first layers do not fit, they differ in looks rather than in what they show, and the first layers are
    what to tune (Lee et al. 2023, surgical fine-tuning).
    """
    if all(found == "fits" for found in (early, *later)):
        return "such images are what the network knows"
    if early == "fits":
        return "if you fine-tune, the top is what differs"
    if all(found == "fits" for found in later):
        return "if you fine-tune, the first layers are what differs"
    return "if you fine-tune, layers differ from the first on"


def _counted(images: int) -> str:
    return f"{images} image{'' if images == 1 else 's'}"


def _are(images: int) -> str:
    return "is" if images == 1 else "are"
