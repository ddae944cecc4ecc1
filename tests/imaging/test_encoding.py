"""In-memory images come back from their bytes exactly, and what is no image is refused."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from headstart.errors import ImageError
from headstart.imaging import decode, encode

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = COLOUR[:, :, 0]


@pytest.mark.parametrize(
    ("array", "wanted"),
    [
        (COLOUR, COLOUR),
        (COLOUR[:, ::-1], COLOUR[:, ::-1]),
        (GREY, np.stack([GREY] * 3, 2)),
        (GREY[:, :, None], np.stack([GREY] * 3, 2)),
        (np.dstack([COLOUR, np.full_like(GREY, 255)]), COLOUR),
        (np.dstack([COLOUR, np.zeros_like(GREY)]), np.full_like(COLOUR, 255)),
        (COLOUR.astype(np.uint16) * 257, COLOUR),
        (GREY.astype(np.uint16) * 257, np.stack([GREY] * 3, 2)),
        (COLOUR / 255, COLOUR),
        ((COLOUR / 255).astype(np.float32), COLOUR),
    ],
)
def test_arrays_come_back(array: np.ndarray, wanted: np.ndarray) -> None:
    assert np.array_equal(decode(encode(array), "a"), wanted)


def test_equal_pixels_give_equal_bytes() -> None:
    assert encode(COLOUR) == encode(Image.fromarray(COLOUR)) == encode(COLOUR / 255)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "I", "F"]
)
def test_pillow_images_of_every_mode_are_taken(mode: str) -> None:
    rgba = Image.fromarray(COLOUR).convert("RGBA")
    intermediate = {"La": "LA", "PA": "P"}.get(mode, "RGBA" if mode == "RGBa" else "RGB")
    image = rgba.convert(intermediate).convert(mode)
    assert decode(encode(image), "a").shape == (5, 7, 3)


def test_an_opened_file_and_its_bytes_give_the_same_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = BytesIO()
    Image.fromarray(COLOUR).resize((70, 50)).save(buffer, "JPEG", exif=exif)
    with Image.open(buffer) as image:
        assert np.array_equal(decode(encode(image), "a"), decode(buffer.getvalue(), "a"))


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (COLOUR.astype(np.int64), "dtype int64"),
        (GREY > 0, "dtype bool"),
        (COLOUR.astype(np.float32), r"0\.\.1"),
        (np.full((4, 4), np.nan), r"0\.\.1"),
        (COLOUR.transpose(2, 0, 1), r"\(3, 5, 7\)"),
        (COLOUR[None], "shape"),
        (np.zeros((0, 4), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.float32), "0, 4, 3"),
    ],
)
def test_other_arrays_are_refused_by_name(array: np.ndarray, reason: str) -> None:
    with pytest.raises(ImageError, match=f"image 3.*{reason}"):
        encode(array, "image 3")


def test_a_broken_pillow_image_is_an_image_error() -> None:
    buffer = BytesIO()
    Image.fromarray(COLOUR).resize((200, 200)).save(buffer, "PNG")
    with Image.open(BytesIO(buffer.getvalue()[:400])) as image, pytest.raises(ImageError, match="image 3"):
        encode(image, "image 3")
