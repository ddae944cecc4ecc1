"""What an image looks like: blur and enlargement alone take its detail, tones and rings are where they should be."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageFilter

from headstart.errors import ImageError
from headstart.imaging.appearance import GRID, appearance_of
from headstart.imaging.facts import examine, image_facts


def _scene(width: int = 320, height: int = 240, seed: int = 0) -> Image.Image:
    """Rectangles of all sizes, which look alike at every scale, as photographs do (the dead leaves model)."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3), np.uint8)
    for _ in range(1500):
        half = int(min(60, 1 + rng.pareto(1.2)))
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        pixels[max(0, y - half) : y + half, max(0, x - half) : x + half] = rng.integers(30, 226, 3)
    return Image.fromarray(pixels)


def _bytes(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


SCENE = _scene()


def _detail(image: Image.Image) -> float:
    found = appearance_of(image).detail
    assert found is not None
    return found


def test_blur_and_enlargement_take_the_detail_and_nothing_else_does() -> None:
    sharp = _detail(SCENE)
    assert sharp > 0.4
    assert _detail(SCENE.filter(ImageFilter.GaussianBlur(2.5))) < 0.15
    assert _detail(SCENE.resize((80, 60), Image.Resampling.LANCZOS).resize((320, 240), Image.Resampling.BICUBIC)) < 0.15
    assert _detail(SCENE.point(lambda value: value // 3 + 80)) == pytest.approx(sharp, rel=0.15)
    assert _detail(_scene(1280, 960)) > 0.3, "a larger file is judged at the size that networks see"


def test_strong_blur_is_seen_by_sharpness() -> None:
    """Of what is hardly there the rounding of grey levels remains, and that has detail."""
    sharp, faint = (appearance_of(image).sharpness for image in (SCENE, SCENE.filter(ImageFilter.GaussianBlur(9))))
    assert sharp is not None
    assert faint is not None
    assert sharp > 1000 > 40 > faint


def test_a_sharp_object_before_a_soft_background_is_sharp() -> None:
    soft = SCENE.filter(ImageFilter.GaussianBlur(6))
    soft.paste(SCENE.crop((120, 80, 220, 180)), (120, 80))
    assert _detail(soft) > 0.3


def test_what_is_smooth_everywhere_comes_near_to_a_sixteenth() -> None:
    x = np.linspace(0, 12 * np.pi, 512)
    waves = (127 + 60 * np.sin(x)[:, None] + 60 * np.sin(x)[None, :]).round().astype(np.uint8)
    assert _detail(Image.fromarray(waves)) < 0.2


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (40, 40), (63, 500)])
def test_small_and_flat_images_have_no_detail_to_judge(size: tuple[int, int]) -> None:
    assert appearance_of(SCENE.resize(size)).detail is None
    assert appearance_of(SCENE.resize(size)).sharpness is None
    assert appearance_of(Image.new("L", (300, 300), 90)).detail is None


def test_tones_of_known_images() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    found = appearance_of(Image.fromarray(ramp))
    assert found.dark_end == pytest.approx(12, abs=1)
    assert found.bright_end == pytest.approx(253, abs=1)
    assert found.clipped == pytest.approx(6 / 256)
    assert found.contrast == pytest.approx(np.arange(256).std())
    assert appearance_of(Image.new("RGB", (90, 70), (200, 10, 20))).colour == (200, 10, 20, 0, 0, 0)


def test_a_border_is_on_the_border_and_not_inside() -> None:
    image = Image.new("RGB", (256, 256), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 256, 256 // GRID))  # the top alone
    found = appearance_of(image)
    assert found.border.values[:4] == (255, 0, 0, 0)
    assert found.border.values[4:8] == (0, 0, 255, 0)
    assert all(value in (0, 255) for value in found.inside.values[:4])
    assert found.inside.values[:4] == (0, 0, 255, 0)


@pytest.mark.parametrize(
    "data",
    [
        _bytes(SCENE),
        _bytes(_scene(900, 700)),
        _bytes(SCENE.convert("L")),
        _bytes(SCENE.convert("CMYK")),
        _bytes(SCENE.quantize(32), "PNG"),
        _bytes(SCENE.convert("RGBA"), "PNG"),
        _bytes(SCENE.convert("L").convert("RGB"), quality=70),
        _bytes(Image.fromarray(np.asarray(SCENE.convert("L")).astype(np.uint16) * 257), "PNG"),
    ],
)
def test_the_facts_are_those_of_the_cheaper_look(data: bytes) -> None:
    found = examine(data, "a")
    assert found.facts == image_facts(data, "a")
    assert found.bytes == len(data)
    assert found.camera == ""


def _array(values: np.ndarray) -> bytes:
    buffer = BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


@pytest.mark.parametrize("channels", [1, 2, 3, 7])
def test_arrays_of_any_number_of_channels_have_an_appearance(channels: int) -> None:
    values = np.repeat(np.asarray(SCENE.convert("L"))[:, :, None], channels, axis=2)
    found = examine(_array(values), "a.npy")
    assert found.facts == image_facts(_array(values), "a.npy")
    assert found.appearance == replace(appearance_of(SCENE.convert("L")), colour=found.appearance.colour)


def test_what_exif_says_and_the_upright_border() -> None:
    image = Image.new("RGB", (128, 96), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 128, 6))  # the top as stored; turned by 90 degrees it is the right side
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Acme\0", 6
    found = examine(_bytes(image, exif=exif, quality=95), "a")
    assert found.camera == "Acme, 6"
    assert found.appearance.border.values[12] > 200 > 60 > found.appearance.border.values[0]


def test_encodings_differ_by_quality() -> None:
    high, low, other = (examine(_bytes(SCENE, quality=quality), "a").encoding for quality in (90, 60, 90))
    assert high == other != low
    assert examine(_bytes(SCENE, "PNG"), "a").encoding == "PNG RGB"


def test_a_truncated_image_is_named() -> None:
    with pytest.raises(ImageError, match=r"a\.jpg"):
        examine(_bytes(SCENE)[:4000], "a.jpg")
