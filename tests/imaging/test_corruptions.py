"""Corruptions keep shape and type, repeat with the image's hash, grow with the strength, and do what they say."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.errors import OptionError
from headstart.imaging.corruptions import CORRUPTIONS, STRENGTHS, corrupt

HASH = "0f" * 32


def picture(height: int = 64, width: int = 64, channels: int = 3) -> np.ndarray:
    """Smooth stripes with fine grain."""
    rows, columns = np.mgrid[:height, :width]
    waves = [127 + 80 * np.sin(rows / (5 + c) + columns / (9 - c % 5)) for c in range(channels)]
    grain = np.random.default_rng(0).normal(0, 12, (height, width, channels))
    return np.clip(np.stack(waves, axis=2) + grain, 0, 255).astype(np.uint8)


def test_there_are_twelve_at_three_strengths() -> None:
    assert len(CORRUPTIONS) == 12
    assert STRENGTHS == (1, 2, 3)


@pytest.mark.parametrize("corruption", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(64, 64, 3), (32, 48, 1), (40, 40, 5), (1, 1, 3)])
def test_any_image_keeps_its_shape_and_is_left_alone(corruption: str, shape: tuple[int, int, int]) -> None:
    pixels = picture(*shape)
    before = pixels.copy()
    for strength in STRENGTHS:
        found = corrupt(pixels, corruption, strength, HASH)
        assert (found.shape, found.dtype) == (shape, np.uint8)
    assert (pixels == before).all()


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_stronger_is_farther_and_the_same_hash_gives_the_same_pixels(corruption: str) -> None:
    pixels = picture()
    found = [corrupt(pixels, corruption, strength, HASH).astype(float) for strength in STRENGTHS]
    distances = [np.abs(one - pixels).mean() for one in found]
    assert distances[0] > 0.5
    if corruption not in ("rotation", "crop", "motion_blur"):  # of a periodic picture these come back
        assert distances == sorted(distances)
    assert (corrupt(pixels, corruption, 2, HASH) == found[1]).all()


@pytest.mark.parametrize("corruption", ["gaussian_noise", "shot_noise", "motion_blur", "crop", "occlusion"])
def test_another_hash_gives_other_pixels(corruption: str) -> None:
    pixels = picture()
    assert (corrupt(pixels, corruption, 3, HASH) != corrupt(pixels, corruption, 3, "a" * 64)).any()


def test_each_does_what_it_says() -> None:
    pixels = picture().astype(float)

    def found(corruption: str, strength: int) -> np.ndarray:
        return corrupt(pixels.astype(np.uint8), corruption, strength, HASH).astype(float)

    assert abs((found("gaussian_noise", 1) - pixels).std() / 255 - 0.08) < 0.01
    noise = (found("shot_noise", 1) - pixels)[(pixels > 100) & (pixels < 150)]
    assert abs(noise.std() / (np.sqrt(125 / 255 * 60) / 60 * 255) - 1) < 0.1
    assert abs((found("brighter", 1) - pixels)[pixels < 200].mean() - 25.5) < 1
    assert abs(found("darker", 2).mean() / pixels.mean() - 0.4) < 0.01
    assert abs(found("low_contrast", 2).std() / pixels.std() - 0.2) < 0.02
    assert abs(found("low_contrast", 2).mean() - pixels.mean()) < 1
    covered = (found("occlusion", 2) == 128).all(axis=2)
    assert abs(covered.mean() - 0.25) < 0.03
    for blur in ("gaussian_blur", "motion_blur", "low_resolution"):
        assert np.abs(np.diff(found(blur, 3), axis=0)).mean() < 0.7 * np.abs(np.diff(pixels, axis=0)).mean()
    assert np.abs(found("jpeg", 1) - pixels).mean() < np.abs(found("jpeg", 3) - pixels).mean() < 30
    flat = np.full((64, 64, 3), 90, np.uint8)
    for name in ("gaussian_blur", "motion_blur", "low_resolution", "crop", "low_contrast"):
        assert np.abs(corrupt(flat, name, 3, HASH).astype(int) - 90).max() <= 2, name


@pytest.mark.parametrize(("corruption", "strength"), [("fog", 1), ("jpeg", 0), ("jpeg", 4)])
def test_what_is_not_there_is_named(corruption: str, strength: int) -> None:
    with pytest.raises(OptionError, match="known are gaussian_noise"):
        corrupt(picture(), corruption, strength, HASH)
