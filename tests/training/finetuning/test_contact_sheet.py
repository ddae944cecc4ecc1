"""The contact sheet: a row for each image, the clean view first, whatever the channels."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from headstart.imaging import Preprocessing, encode
from headstart.training.finetuning.augmentation import Augmenter
from headstart.training.finetuning.contact_sheet import contact_sheet

STD = (0.5, 0.5, 0.5)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_rows_are_images_and_the_first_tile_is_the_clean_view(channels: int) -> None:
    augmenter = Augmenter("light", Preprocessing(32, 1.0, "bicubic", STD, STD, channels), seed=0)
    images = [(encode(np.full((40, 40, channels), 20 * i + 10, np.uint8)), f"{i}.png") for i in range(8)]
    one, all_of_them = (Image.open(BytesIO(contact_sheet(images[:n], augmenter))) for n in (1, 8))
    assert one.format == "PNG"
    height = (all_of_them.height - one.height) / 5
    assert height == int(height)
    for row in range(6):
        assert all_of_them.getpixel((60, int(one.height / 2 + row * height))) == (20 * row + 10,) * 3


def test_a_name_that_is_too_long_is_shortened() -> None:
    augmenter = Augmenter("none", Preprocessing(32, 1.0, "bicubic", STD, STD), seed=0)
    data = encode(np.zeros((40, 40), np.uint8))
    assert contact_sheet([(data, "x" * 1000)], augmenter) == contact_sheet([(data, "x" * 1001)], augmenter)
