"""Facts of a file: its upright size, its channels and depth, and whether it shows colour."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from headstart.errors import ImageError
from headstart.imaging.facts import image_facts

NOISE = np.random.default_rng(0).integers(0, 256, (60, 90), np.uint8)


def _bytes(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _array(values: np.ndarray) -> bytes:
    buffer = BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


GREY = Image.fromarray(NOISE)
RED = Image.merge("RGB", (GREY, GREY.point(lambda value: value // 2), GREY))


@pytest.mark.parametrize(
    ("data", "channels", "bits", "is_grey"),
    [
        (_bytes(GREY), 1, 8, True),
        (_bytes(GREY.convert("1")), 1, 1, True),
        (_bytes(Image.fromarray(NOISE.astype(np.uint16) * 257)), 1, 16, True),
        (_bytes(GREY.convert("RGB")), 3, 8, True),
        (_bytes(GREY.convert("RGB"), "JPEG", quality=60), 3, 8, True),
        (_bytes(GREY.convert("RGBA")), 3, 8, True),
        (_bytes(GREY.convert("P")), 3, 8, True),
        (_bytes(RED), 3, 8, False),
        (_bytes(RED, "JPEG"), 3, 8, False),
        (_bytes(RED.convert("CMYK"), "JPEG"), 3, 8, False),
        (_bytes(RED.quantize(32)), 3, 8, False),
        (_array(NOISE), 1, 8, True),
        (_array(np.repeat(NOISE[:, :, None], 3, 2).astype(np.uint16) * 200), 3, 16, True),
        (_array(np.asarray(RED).astype(np.float32) / 255), 3, 32, False),
        (_array(np.repeat(NOISE[:, :, None], 5, 2).astype(np.uint16)), 5, 16, False),
    ],
)
def test_channels_depth_and_colour(data: bytes, channels: int, bits: int, is_grey: bool) -> None:
    found = image_facts(data, "a")
    assert (found.channels, found.bits, found.is_grey) == (channels, bits, is_grey)
    assert (found.width, found.height, found.orientation) == (90, 60, 1)


@pytest.mark.parametrize(("orientation", "size"), [(1, (90, 60)), (3, (90, 60)), (6, (60, 90)), (8, (60, 90))])
def test_the_size_is_that_of_the_upright_image(orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = image_facts(_bytes(RED, "JPEG", exif=exif), "a")
    assert (found.width, found.height, found.orientation) == (*size, orientation)


def test_a_broken_image_is_named() -> None:
    whole = _bytes(RED, "JPEG")
    with pytest.raises(ImageError, match=r"a\.jpg"):
        image_facts(whole[: len(whole) // 2], "a.jpg")
