"""Two pictures laid over each other: how one is turned, scaled and shifted to match the other, and how well it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.float32]

# A side of one picture shows at least this share of the same side of the other, and the centres are at most so far
# apart, in sides of the picture: room for a copy that has lost a fifth at one edge.
LEAST_SCALE = 0.78
MOST_SHIFT = 0.12
# No picture has less contrast, in grey levels: so that nothing is divided by zero.
_FLAT = 1e-3
# Grey levels beyond these may be cut off.
_DARKEST, _BRIGHTEST = 8, 247

_TURNS: tuple[Callable[[Pictures], Pictures], ...] = (
    lambda pictures: pictures,
    lambda pictures: pictures[..., ::-1],
    lambda pictures: pictures[..., ::-1, :],
    lambda pictures: pictures[..., ::-1, ::-1],
    lambda pictures: pictures.swapaxes(-1, -2),
    lambda pictures: pictures.swapaxes(-1, -2)[..., ::-1],
    lambda pictures: pictures.swapaxes(-1, -2)[..., ::-1, :],
    lambda pictures: pictures.swapaxes(-1, -2)[..., ::-1, ::-1],
)
TURN_NAMES = (
    "",
    "mirrored left to right",
    "mirrored top to bottom",
    "turned by 180°",
    "mirrored along the diagonal",
    "turned by 90° anticlockwise",
    "turned by 90° clockwise",
    "mirrored along the other diagonal",
)
"""What sets a second picture apart that is turned back by the turn of this number."""


def turned(pictures: Pictures, turns: NDArray[np.intp]) -> Pictures:
    """Each of the square pictures (n, s, s) turned by its own number in 0..7 (n,)."""
    out = np.empty_like(pictures)
    for number in np.unique(turns):
        rows = turns == number
        out[rows] = _TURNS[number](pictures[rows])
    return out


def turn_scores(a: Pictures, b: Pictures) -> NDArray[np.float32]:
    """The correlation of a with each turn of b, as they lie: two times (n, s, s) → (n, 8) in -1..1."""
    a, b = standardised(a), standardised(b)
    size = a.shape[1] * a.shape[2]
    return np.stack([np.einsum("nij,nij->n", a, turn(b)) / size for turn in _TURNS], axis=1)


@dataclass(frozen=True, eq=False)
class Placement:
    """Where the pictures b lie in the pictures a: a(scale * (u - 1/2) + 1/2 + shift) shows what b(u) does, u in 0..1.

    Attributes
    ----------
    scale, shift:
        float32 (n, 2), along rows and along columns, in sides of a picture.
    """

    scale: NDArray[np.float32]
    shift: NDArray[np.float32]

    @classmethod
    def same(cls, count: int) -> Placement:
        """Pictures that lie exactly over each other."""
        return cls(np.ones((count, 2), np.float32), np.zeros((count, 2), np.float32))

    def select(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Placement:
        """Some of them."""
        return Placement(self.scale[rows], self.shift[rows])

    def is_plausible(self) -> NDArray[np.bool_]:
        """Which of them a slight crop explains, bool (n,): those at the limits of the search have found nothing."""
        inside = (self.scale > 1.01 * LEAST_SCALE) & (self.scale < 0.99 / LEAST_SCALE)
        return np.asarray((inside & (np.abs(self.shift) < 0.99 * MOST_SHIFT)).all(axis=1))


def place(a: Pictures, b: Pictures, start: Placement, steps: int) -> Placement:
    """Move b over a, from a start on, to where they match best.

    By inverse compositional image alignment (Baker and Matthews 2004) with a scale and a shift along each axis, a gain
    and an offset. Only the middle of b is compared, :data:`LEAST_SCALE` of each side, as a crop may have taken the rest
    from a.

    Parameters
    ----------
    a, b:
        (n, s, s), smooth: what is off by more than a pixel or two of them is not found.
    steps:
        Of Gauss-Newton.
    """
    count, side, _ = b.shape
    at = _centres(side)
    middle = (np.abs(at) <= LEAST_SCALE / 2).astype(np.float32)
    window = np.outer(middle, middle)
    pixels = window.sum()
    template = _windowed(b, window)
    down, across = side * np.gradient(b, axis=1), side * np.gradient(b, axis=2)
    slopes = np.stack([down * at[:, None], down, across * at, across], axis=1) * window
    slopes = (slopes / _deviation(template, pixels)[:, None]).reshape(count, 4, -1)
    inverse = _damped_inverse(slopes @ slopes.transpose(0, 2, 1))
    template = (template / _deviation(template, pixels)).reshape(count, -1, 1)
    # What the steps need of a moved picture are a few sums of its pixels.
    sums = np.concatenate([slopes, np.broadcast_to(window.reshape(1, 1, -1), (count, 1, side**2))], axis=1)
    flat, aim = slopes.sum(2), (slopes @ template)[..., 0]
    scale, shift = start.scale.copy(), start.shift.copy()
    for _ in range(steps):
        moved = resampled(a, Placement(scale, shift)).reshape(count, -1, 1)
        found = (sums @ moved)[..., 0]
        mean = found[:, 4:] / pixels
        variance = (window.reshape(1, 1, -1) @ moved**2)[..., 0] / pixels - mean**2
        deviation = np.sqrt(variance.clip(_FLAT**2))
        step = (inverse @ ((found[:, :4] - mean * flat) / deviation - aim)[..., None])[..., 0].clip(-0.1, 0.1)
        # The step moves b; its inverse is put before the placement of b in a.
        factor = 1 / (1 + step[:, 0::2])
        shift = (shift - scale * factor * step[:, 1::2]).clip(-MOST_SHIFT, MOST_SHIFT)
        scale = (scale * factor).clip(LEAST_SCALE, 1 / LEAST_SCALE)
    return Placement(scale, shift)


def shown_alike(a: Pictures, b: Pictures, placement: Placement) -> tuple[Pictures, Pictures, Pictures]:
    """Both pictures as b lies, the darker one made as bright as the other, and 1 where they overlap: (n, s, s) each.

    What is overexposed in the brighter one becomes so in the other: a brightened copy shows nothing there.
    """
    moved, inside = resampled(a, placement), _inside(a.shape[1], placement)
    within = inside * ((np.minimum(moved, b) > _DARKEST) & (np.maximum(moved, b) < _BRIGHTEST))
    counts = within.sum((1, 2), keepdims=True).clip(1)
    means = [(picture * within).sum((1, 2), keepdims=True) / counts for picture in (moved, b)]
    centred = [(picture - mean) * within for picture, mean in zip((moved, b), means, strict=True)]
    variances = [(picture**2).sum((1, 2), keepdims=True).clip(_FLAT) for picture in centred]
    gain = np.sqrt(variances[1] / variances[0])
    like_b = (means[1] + gain * (moved - means[0])).clip(0, 255)
    like_a = (means[0] + (b - means[1]) / gain.clip(_FLAT)).clip(0, 255)
    brighter = gain >= 1
    return np.where(brighter, like_b, moved), np.where(brighter, b, like_a), inside


def correlation(a: Pictures, b: Pictures, placement: Placement) -> NDArray[np.float32]:
    """The correlation of pictures on their overlap, (n,) in -1..1."""
    moved, inside = resampled(a, placement), _inside(a.shape[1], placement)
    product = (standardised(moved, inside) * standardised(b, inside)).sum((1, 2))
    found: NDArray[np.float32] = product / inside.sum((1, 2)).clip(1)
    return found


def block_correlations(
    a: Pictures, b: Pictures, inside: Pictures, *, block: int, least_contrast: float
) -> NDArray[np.float32]:
    """The correlation in each square of ``block`` pixels, (n, squares); NaN where neither picture shows anything.

    Parameters
    ----------
    a, b, inside:
        As :func:`shown_alike` gives them.
    least_contrast:
        A square shows something where the standard deviation of either picture there is this or more, in its units.
    """
    there = _blocks(inside, block)
    counts = there.sum(2)
    first, second = (_centred(_blocks(picture, block), there, counts) for picture in (a, b))
    variances = [(values**2).sum(2) / counts.clip(1) for values in (first, second)]
    covariance = (first * second).sum(2) / counts.clip(1)
    shows = (counts > 0.6 * block**2) & (np.maximum(*variances) >= least_contrast**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = covariance / np.sqrt(variances[0] * variances[1])
    # Where only one picture shows something they do not agree.
    return np.where(shows, np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0), np.nan).astype(np.float32)


def standardised(pictures: Pictures, inside: Pictures | None = None) -> Pictures:
    """Pictures (n, s, s) with mean 0 and variance 1 each, over the pixels where ``inside`` is 1; 0 elsewhere."""
    window = np.ones_like(pictures) if inside is None else inside
    counts = window.sum((1, 2), keepdims=True).clip(1)
    centred = (pictures - (pictures * window).sum((1, 2), keepdims=True) / counts) * window
    found: Pictures = centred / np.sqrt((centred**2).sum((1, 2), keepdims=True) / counts).clip(_FLAT)
    return found


def quantiles(squares: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """The value that about this share of the squares of each pair is below, (n,); -1 where none shows anything."""
    counts = (~np.isnan(squares)).sum(1)
    ordered = np.sort(squares, axis=1)  # NaN comes last
    at = np.floor(share * (counts - 1).clip(0)).astype(np.int64)
    found = np.take_along_axis(ordered, at[:, None], 1)[:, 0]
    return np.where(counts > 0, found, -1).astype(np.float32)


def halved(pictures: Pictures) -> Pictures:
    """Pictures (n, s, s) at half their side, each pixel the mean of four."""
    found: Pictures = pictures.reshape(len(pictures), pictures.shape[1] // 2, 2, -1, 2).mean((2, 4))
    return found


def smoothed(pictures: Pictures, times: int) -> Pictures:
    """Pictures (n, s, s) smoothed by the weights 1, 2, 1 along both axes, so often; each has a deviation of 0.7."""
    for _ in range(times):
        pictures = _smoothed_rows(_smoothed_rows(pictures).swapaxes(1, 2)).swapaxes(1, 2)
    return np.ascontiguousarray(pictures)


def _smoothed_rows(pictures: Pictures) -> Pictures:
    """Along the last axis; the edges are repeated."""
    smooth = 2 * pictures
    smooth[..., 1:] += pictures[..., :-1]
    smooth[..., :-1] += pictures[..., 1:]
    smooth[..., 0] += pictures[..., 0]
    smooth[..., -1] += pictures[..., -1]
    smooth *= np.float32(0.25)
    return smooth


def resampled(pictures: Pictures, placement: Placement) -> Pictures:
    """Pictures a (n, s, s) as b would show them, by bilinear interpolation; beyond their edges these go on."""
    side = pictures.shape[1]
    places = _places(side, placement).clip(0, side - 1)
    # The weight of a pixel falls to 0 over the distance of one.
    weights = np.arange(side, dtype=np.float32) - places[..., None]
    np.abs(weights, out=weights)
    np.subtract(1, weights, out=weights)
    np.maximum(weights, 0, out=weights)
    found: Pictures = weights[:, 0] @ pictures @ weights[:, 1].transpose(0, 2, 1)
    return found


def _inside(side: int, placement: Placement) -> Pictures:
    """1 where the picture a reaches, else 0, (n, s, s)."""
    places = _places(side, placement)
    reach = ((places > -0.5) & (places < side - 0.5)).astype(np.float32)
    return reach[:, 0, :, None] * reach[:, 1, None, :]


def _places(side: int, placement: Placement) -> NDArray[np.float32]:
    """Where the rows and the columns of b lie in a, in pixels, (n, 2, s)."""
    at = _centres(side)
    found: NDArray[np.float32] = placement.scale[..., None] * at + np.float32(0.5) + placement.shift[..., None]
    return side * found - np.float32(0.5)


def _windowed(pictures: Pictures, window: Pictures) -> Pictures:
    """Without their mean over a window (s, s), outside of which they become 0."""
    means = (pictures * window).sum((1, 2), keepdims=True) / window.sum()
    found: Pictures = (pictures - means) * window
    return found


def _deviation(centred: Pictures, pixels: float) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.sqrt((centred**2).sum((1, 2), keepdims=True) / pixels).clip(_FLAT)
    return found


def _damped_inverse(hessian: NDArray[np.float32]) -> NDArray[np.float32]:
    """The inverses of (n, 4, 4), also of those of pictures that show nothing."""
    damping = 1e-3 * np.trace(hessian, axis1=1, axis2=2) / 4 + 1e-6
    found: NDArray[np.float32] = np.linalg.inv(hessian + damping[:, None, None] * np.eye(4, dtype=np.float32))
    return found


def _blocks(pictures: Pictures, block: int) -> Pictures:
    count, side, _ = pictures.shape
    squares = side // block
    cut = pictures[:, : squares * block, : squares * block].reshape(count, squares, block, squares, block)
    return cut.transpose(0, 1, 3, 2, 4).reshape(count, squares**2, block**2)


def _centred(values: Pictures, inside: Pictures, counts: NDArray[np.float32]) -> Pictures:
    centred: Pictures = (values - ((values * inside).sum(2) / counts.clip(1))[..., None]) * inside
    return centred


def _centres(side: int) -> NDArray[np.float32]:
    """Of the pixels of a row, from its middle, in sides."""
    found: NDArray[np.float32] = ((np.arange(side) + 0.5) / side - 0.5).astype(np.float32)
    return found
