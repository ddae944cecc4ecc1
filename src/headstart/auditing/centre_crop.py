"""Images so long or so tall that the network's centre crop may cut the object off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headstart.auditing.findings import Finding
from headstart.imaging import Preprocessing
from headstart.imaging.facts import ImageFacts

KIND = "centre_crop"
LOST = 0.5
"""The share of an image from which on a crop is called a loss: longer than 2:1. Photographs of 3:2 lose a third and of
16:9 nearly a half, and the source's own photographs were cut like this when the weights were judged."""

SHARE = 0.05
"""Of the images; fewer are named one by one."""


def centre_crop(files: Sequence[str], facts: Sequence[ImageFacts], preprocessing: Preprocessing) -> tuple[Finding, ...]:
    """Images of which the square crop leaves out more than half: one finding each, or one for all if they are many.

    Weights that take images squashed cut nothing off.
    """
    if preprocessing.aspect == "squash" or not facts:
        return ()
    sides = np.array([(fact.width, fact.height) for fact in facts], np.float64)
    lost = 1 - sides.min(1) / sides.max(1)
    rows = [row for row in np.argsort(-lost, kind="stable").tolist() if lost[row] > LOST]
    action = (
        "if what is labelled lies off the centre, crop the images around it; where most are so long, fit squashes them"
    )
    if len(rows) > SHARE * len(facts):
        worst = facts[rows[0]]
        evidence = (
            f"of {len(rows):,} of {len(facts):,} images the crop to a square leaves out more than half, "
            f"up to {lost[rows[0]]:.0%} ({files[rows[0]]}, {worst.width} x {worst.height} pixels)"
        )
        return (Finding("", KIND, evidence, action, round(len(rows) / len(facts), 4)),)
    return tuple(
        Finding(
            files[row],
            KIND,
            f"the crop to a square leaves out {lost[row]:.0%} of its {facts[row].width} x {facts[row].height} pixels",
            action,
            round(float(lost[row]), 4),
        )
        for row in rows
    )
