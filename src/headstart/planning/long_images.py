"""Whether images are so long that they are better squashed into a network's square than cut to their middle."""

from __future__ import annotations

import numpy as np

from headstart.data import Dataset
from headstart.errors import ImageError, MissingExtraError
from headstart.imaging.facts import stored_size
from headstart.planning.outside import outside, test_split
from headstart.planning.plan import Decision
from headstart.planning.rule_table import MOST_CROPPED, SIZES_LOOKED_AT


def typical_loss(dataset: Dataset, *, seed: int) -> float:
    """The share that the largest square leaves out of an image: the median of some that do not test, from 0 to 1.

    Only the headers of files are read.
    """
    rows = outside(dataset, test_split(dataset))
    some = np.random.default_rng(seed).permutation(len(rows))[:SIZES_LOOKED_AT].tolist()
    losses = [1 - min(sides) / max(sides) for row in some if (sides := _sides(rows, row))]
    return float(np.median(losses)) if losses else 0.0


def _sides(dataset: Dataset, row: int) -> tuple[int, int] | None:
    """Width and height of an image; ``None`` where it can't be read, which others say."""
    try:
        return stored_size(dataset.read(row), dataset.files[row])
    except (ImageError, MissingExtraError):
        return None


def squash_rule(loss: float) -> Decision | None:
    """The decision to squash images of which a centre crop leaves out such a share; ``None`` where the crop stays."""
    if loss < MOST_CROPPED:
        return None
    reason = f"a centre crop would cut off {loss:.0%} of the typical image: all of it is kept, squashed into the square"
    return Decision("crop", "fingerprint", "squash", reason, {"crop_loss": loss})
