"""Whether an engine gives the same features as the float32 reference, on a fixed set of real photographs.

Random images or weights would always look perfect: what makes low precision go wrong are the rare large activations
that real weights give on real photographs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from headstart.backbones.backbone import Segment
from headstart.errors import EngineError
from headstart.imaging.decoding import decode

Rows = npt.NDArray[np.float32]
Run = Callable[[npt.NDArray[Any]], Rows]

# Lowest median and lowest single cosine over the photographs, per precision. bf16 keeps 8 bits of mantissa: with the
# bundled weights 22 % of a real data set's images lie below 0.999 while a probe's predictions agree on 98 %.
_BARS = {"bf16": (0.999, 0.98), "f32": (0.9999, 0.9999)}
# Left, top, width and height of the views, as fractions of the photograph: whole, halves and quarters.
_VIEWS = (
    (0.0, 0.0, 1.0, 1.0),
    (0.0, 0.0, 0.5, 1.0),
    (0.5, 0.0, 0.5, 1.0),
    (0.0, 0.0, 1.0, 0.5),
    (0.0, 0.0, 0.5, 0.5),
    (0.5, 0.0, 0.5, 0.5),
    (0.0, 0.5, 0.5, 0.5),
    (0.5, 0.5, 0.5, 0.5),
)


@dataclass(frozen=True)
class Parity:
    """Cosine similarity to the float32 reference.

    Attributes
    ----------
    median, minimum:
        Over the photographs; 1 is equal.
    passed:
        Whether both reach the bar of the precision.
    """

    median: float
    minimum: float
    passed: bool


def check(trunk: Segment, precision: str, candidate: Run, reference: Run, above: Run | None = None) -> Parity:
    """Compare a compiled trunk with the reference on the fixed photographs.

    Compared are the last output and the whole row. Pooled features of a single lower stage are not: the means of a
    linear bottleneck with sixteen channels lie so close to zero that their direction is noise on flat images.

    Parameters
    ----------
    above:
        The stages above the trunk, in float32. A map at a cut is judged by the embedding that they make of it: what
        rounds differently at each of its positions, they average away.
    """
    preprocessing = trunk.backbone.preprocessing
    images = photographs(preprocessing.size, preprocessing.channels)
    wanted, found = reference(images), candidate(images)
    last = list(trunk.columns.values())[-1]
    if above is not None:
        wanted, found = (_with_embedding(trunk, rows, last, above) for rows in (wanted, found))
        last = slice(last.start, None)
    cosines = [_cosine(wanted[:, columns], found[:, columns]) for columns in (last, slice(None))]
    median = float(min(np.median(values) for values in cosines))
    minimum = float(min(values.min() for values in cosines))
    lowest_median, lowest_minimum = _BARS[precision]
    return Parity(median, minimum, bool(median >= lowest_median and minimum >= lowest_minimum))


def photographs(size: int, channels: int = 3) -> npt.NDArray[np.uint8]:
    """Sixteen views of scikit-learn's two sample photographs, uint8 (16, size, size, channels).

    One channel is the luma; any other number takes red, green and blue in turn.
    """
    views = []
    for name in ("china.jpg", "flower.jpg"):
        pixels = decode(_sample_folder().joinpath(name).read_bytes(), name, channels=1 if channels == 1 else 3)
        photograph = Image.fromarray(pixels.squeeze())
        width, height = photograph.size
        for left, top, w, h in _VIEWS:
            box = (left * width, top * height, (left + w) * width, (top + h) * height)
            view = np.asarray(photograph.resize((size, size), Image.Resampling.BICUBIC, box=box))
            views.append(view.reshape(size, size, -1))
    stack = np.stack(views)
    return stack if channels == stack.shape[3] else stack[..., np.arange(channels) % 3]


def _with_embedding(trunk: Segment, rows: Rows, boundary: slice, above: Run) -> Rows:
    """Rows whose map at the cut has given way to its embedding."""
    maps = rows[:, boundary].reshape(-1, *trunk.outputs[-1].shape)
    return np.concatenate([rows[:, : boundary.start], above(maps)], axis=1)


def _cosine(a: Rows, b: Rows) -> npt.NDArray[np.float64]:
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = (a * b).sum(1) / lengths
    return np.where(np.isfinite(cosines), cosines, np.where((a == b).all(1), 1.0, 0.0))


def _sample_folder() -> Path:
    """scikit-learn's folder of sample images, found without importing it."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise EngineError("scikit-learn's sample photographs are missing; reinstall scikit-learn")
    return Path(package.origin).parent / "datasets" / "images"
