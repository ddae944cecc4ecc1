"""Pictures laid over each other: known scales, shifts and turns are found again, and squares are compared fairly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from headstart.auditing.alignment import (
    TURN_NAMES,
    Placement,
    block_correlations,
    correlation,
    halved,
    place,
    quantiles,
    resampled,
    shown_alike,
    smoothed,
    turn_scores,
    turned,
)

Scene = Callable[..., Image.Image]


def _grey(image: Image.Image, side: int = 64) -> NDArray[np.float32]:
    return np.asarray(image.convert("L").resize((side, side), Image.Resampling.BICUBIC), np.float32)


@pytest.fixture(scope="module")
def pictures(scene: Scene) -> NDArray[np.float32]:
    return smoothed(np.stack([_grey(scene(seed)) for seed in range(6)]), 1)


@pytest.mark.parametrize("number", range(8))
def test_a_turn_is_recognised_and_named_by_what_was_done(pictures: NDArray[np.float32], number: int) -> None:
    done = turned(pictures, np.full(len(pictures), number))
    back = turn_scores(pictures, done).argmax(1)
    np.testing.assert_allclose(turned(done, back), pictures)
    assert len(set(TURN_NAMES)) == 8


@pytest.mark.parametrize(
    ("number", "how"),
    [(5, Image.Transpose.ROTATE_90), (6, Image.Transpose.ROTATE_270), (1, Image.Transpose.FLIP_LEFT_RIGHT)],
)
def test_turn_names_say_what_makes_the_second_from_the_first(scene: Scene, number: int, how: Image.Transpose) -> None:
    first = scene(3, 64, 64)
    second = first.transpose(how)
    found = int(turn_scores(_grey(first)[None], _grey(second)[None]).argmax())
    assert found == number
    words = {5: "90° anticlockwise", 6: "90° clockwise", 1: "left to right"}
    assert words[number] in TURN_NAMES[found]


@pytest.mark.parametrize(
    ("left", "top", "right", "bottom"), [(0, 0, 0, 0), (20, 0, 0, 9), (3, 14, 15, 2), (0, 0, 19, 15)]
)
def test_a_crop_is_placed_where_it_was_cut_out(scene: Scene, left: int, top: int, right: int, bottom: int) -> None:
    whole = scene(1)
    width, height = whole.size
    crop = whole.crop((left, top, width - right, height - bottom))
    found = Placement.same(1)
    for side, steps in ((16, 10), (32, 6), (64, 5)):
        first, second = (_grey(image) for image in (whole, crop))
        pair = [picture[None] for picture in (first, second)]
        while pair[0].shape[1] > side:
            pair = [halved(picture) for picture in pair]
        found = place(*(smoothed(picture, 1) for picture in pair), found, steps)
    np.testing.assert_allclose(found.scale[0], [crop.height / height, crop.width / width], atol=0.01)
    centre = [(top - bottom) / 2 / height, (left - right) / 2 / width]
    np.testing.assert_allclose(found.shift[0], centre, atol=0.01)
    assert found.is_plausible().all()
    first, second = (smoothed(_grey(image)[None], 1) for image in (whole, crop))
    assert correlation(first, second, found)[0] > 0.97


def test_what_is_not_alike_is_placed_anywhere_but_does_not_agree(pictures: NDArray[np.float32]) -> None:
    first, second = pictures[:3], pictures[3:]
    found = place(first, second, Placement.same(3), 10)
    squares = block_correlations(*shown_alike(first, second, found), block=8, least_contrast=3)
    assert (quantiles(squares, 0.25) < 0.3).all()


def test_flat_pictures_are_no_error_and_agree_with_nothing() -> None:
    flat = np.full((2, 32, 32), 255, np.float32)
    found = place(flat, flat, Placement.same(2), 5)
    assert np.isfinite(found.scale).all()
    squares = block_correlations(*shown_alike(flat, flat, found), block=8, least_contrast=3)
    assert np.isnan(squares).all()
    assert (quantiles(squares, 0.1) == -1).all()


def test_an_overexposed_copy_agrees_wherever_it_shows_something(pictures: NDArray[np.float32]) -> None:
    bright = (1.9 * pictures).clip(0, 255)
    assert (bright == 255).mean() > 0.2
    for pair in ((pictures, bright), (bright, pictures)):
        squares = block_correlations(*shown_alike(*pair, Placement.same(len(bright))), block=8, least_contrast=3)
        assert (quantiles(squares, 0.1) > 0.9).all()


def test_a_square_that_only_one_picture_fills_disagrees(pictures: NDArray[np.float32]) -> None:
    other = pictures.copy()
    other[:, 8:16, 24:32] = 90
    squares = block_correlations(*shown_alike(pictures, other, Placement.same(len(other))), block=8, least_contrast=3)
    np.testing.assert_allclose(squares[:, 8 + 3], 0, atol=1e-3)
    assert np.nanmin(np.delete(squares, 8 + 3, axis=1)) > 0.95


def test_resampling_by_nothing_changes_nothing(pictures: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(resampled(pictures, Placement.same(len(pictures))), pictures, atol=1e-3)


def test_smoothing_keeps_the_mean_level_and_the_edges() -> None:
    step = np.repeat([[0.0, 0.0, 8.0, 8.0]], 4, axis=0).astype(np.float32)[None]
    np.testing.assert_allclose(smoothed(step, 1)[0], np.repeat([[0, 2, 6, 8]], 4, axis=0))
