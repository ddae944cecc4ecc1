"""The overlay shows the map where the network looked, in colours whose order everybody sees."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from headstart.errors import ImageError
from headstart.explaining.overlay import _COLOURS, overlay, png, render, strength
from headstart.imaging import Preprocessing, encode, load_view

PREPROCESSING = Preprocessing(224, 0.875, "bicubic", (0.5,) * 3, (0.5,) * 3)
# Dichromats' view of linear RGB (Machado et al. 2009, severity 1).
VISION = {
    "all colours": np.eye(3),
    "protanopia": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "tritanopia": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}


@pytest.mark.parametrize("vision", VISION)
def test_the_colours_grow_lighter_for_every_kind_of_vision(vision: str) -> None:
    linear = (_COLOURS / 255) ** 2.2
    seen = (linear @ VISION[vision].T).clip(0, 1)
    light = seen @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) > 0).all()


def test_what_is_the_same_everywhere_points_nowhere() -> None:
    assert not strength(np.full((7, 7), 3.0, np.float32)).any()
    assert not strength(np.full((7, 7), -3.0, np.float32)).any()


def test_only_what_speaks_for_the_class_is_drawn() -> None:
    evidence = np.full((7, 7), -5.0, np.float32)
    evidence[2, 3] = -1.0
    assert not strength(evidence).any()
    evidence[2, 3] = 8.0
    drawn = strength(evidence)
    assert drawn[2, 3] > 0.9
    assert np.count_nonzero(drawn) == 1


def test_a_faint_map_is_drawn_faintly() -> None:
    evidence = np.full((7, 7), 1.0, np.float32)
    evidence[0, 0] = 1.1
    assert 0 < strength(evidence)[0, 0] < 0.2


def test_no_evidence_leaves_a_grey_picture() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    drawn = overlay(pixels, np.zeros((7, 7), np.float32))
    assert drawn.shape == pixels.shape
    assert np.ptp(drawn, axis=2).max() < 1e-3


@pytest.mark.parametrize("size", [(400, 200), (200, 400), (300, 300)])
def test_the_map_lies_where_the_network_looked(size: tuple[int, int]) -> None:
    """A white spot in the picture, found again in the view that the network saw, is under the map's peak."""
    width, height = size
    pixels = np.full((height, width, 3), 60, np.uint8)
    y, x = height // 2 - 30, width // 2 + 40
    pixels[y - 6 : y + 6, x - 6 : x + 6] = 255
    data = encode(pixels)
    view = load_view(data, PREPROCESSING, "spot").astype(np.float32).mean(2)
    evidence = view.reshape(28, 8, 28, 8).mean((1, 3))
    evidence -= evidence.min()
    drawn = np.asarray(render(data, "spot", evidence, PREPROCESSING, side=max(size)), np.float32)
    assert drawn.shape == pixels.shape
    heat = drawn[:, :, 0] - drawn[:, :, 2]  # the map's strong colours have much red and little blue
    found = np.argwhere(heat > 0.8 * heat.max()).mean(0)
    assert np.abs(found - (y, x)).max() < 8


def test_what_was_cropped_away_is_dark_and_has_no_map() -> None:
    data = encode(np.full((200, 400, 3), 200, np.uint8))
    drawn = np.asarray(render(data, "wide", np.linspace(0, 9, 49, dtype=np.float32).reshape(7, 7), PREPROCESSING))
    assert drawn.shape == (320, 640, 3)
    assert np.ptp(drawn[:, :100], axis=2).max() == 0
    assert drawn[160, 20, 0] < 0.6 * drawn[60, 200, 0]
    assert np.ptp(drawn[250, 400].astype(int)) > 20


@pytest.mark.parametrize("shape", [(30, 50), (30, 50, 2), (30, 50, 5), (2, 90, 3)])
def test_pictures_of_any_channels_and_size_are_drawn(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    drawn = render(encode(pixels), "odd", np.eye(7, dtype=np.float32), PREPROCESSING, side=100)
    assert max(drawn.size) == 100
    with Image.open(BytesIO(png(drawn))) as read:
        assert (read.format, read.mode, read.size) == ("PNG", "RGB", drawn.size)


def test_what_is_no_image_is_named() -> None:
    with pytest.raises(ImageError, match=r"notes\.txt"):
        render(b"some words", "notes.txt", np.zeros((7, 7), np.float32), PREPROCESSING)
