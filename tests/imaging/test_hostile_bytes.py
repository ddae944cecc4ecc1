"""Altered and shortened files of every format decode, or raise an ImageError that names the file, and no other."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from headstart.errors import ImageError, MissingExtraError
from headstart.imaging import Preprocessing, decode, load_view

SMALL = Preprocessing(size=8, crop=1.0, interpolation="bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
FORMATS = ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM", "MPO"]
TRIALS = 150


def original(format: str, mode: str, rng: np.random.Generator) -> bytes:
    pixels = rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif} if format not in ("BMP", "GIF", "PPM") else {}
    options |= {"compression": "tiff_lzw"} if format == "TIFF" and mode == "P" else {}
    buffer = BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


def altered(data: bytes, rng: np.random.Generator) -> bytes:
    """One of: some bytes replaced (headers more often), a tail cut off, a stretch taken out, a stretch repeated."""
    spoiled = bytearray(data)
    start, end = sorted(int(i) for i in rng.integers(0, len(data), 2))
    match int(rng.integers(0, 5)):
        case 0:
            del spoiled[start:]
        case 1:
            del spoiled[start : min(end, start + 16)]
        case 2:
            spoiled[start:start] = spoiled[start:end]
        case 3:
            for position in rng.integers(0, len(data), 4):
                spoiled[position] = int(rng.integers(0, 256))
        case _:
            for position in rng.integers(0, min(len(data), 80), 3):
                spoiled[position] ^= 1 << int(rng.integers(0, 8))
    return bytes(spoiled)


def decodes_or_says_why(data: bytes) -> bool:
    try:
        view, pixels = load_view(data, SMALL, "photos/7.jpg"), decode(data, "photos/7.jpg")
    except (ImageError, MissingExtraError) as error:  # AVIF whose brand is spoiled passes for HEIC
        message = str(error)
    else:
        assert view.shape == (8, 8, 3)
        assert pixels.ndim == 3
        return True
    assert message.startswith("photos/7.jpg: ")
    assert "\n" not in message
    return False


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
@pytest.mark.parametrize("format", FORMATS)
def test_only_image_errors_are_raised(format: str, mode: str) -> None:
    if mode == "P" and format in ("JPEG", "MPO", "PPM", "WEBP", "AVIF"):
        mode = "1" if format == "PPM" else "CMYK" if format in ("JPEG", "MPO") else "RGBA"
    rng = np.random.default_rng(FORMATS.index(format))
    data = original(format, mode, rng)
    assert decodes_or_says_why(data)
    outcomes = [decodes_or_says_why(altered(data, rng)) for _ in range(TRIALS)]
    assert not all(outcomes)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("length", [1, 2, 7, 15, 16, 17, 64, 300])
def test_noise_behind_every_known_beginning_is_refused(length: int) -> None:
    rng = np.random.default_rng(length)
    avif, avis = b"\0\0\0\x1cftypavif", b"\0\0\0\x1cftypavis\0\0\0\0mif1"
    magics = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x10\0\0\0WEBP", avif, avis, b"II*\0", b"MM\0*"]
    for magic in [*magics, b"BM", b"GIF89a", b"P6\n", b"P1 ", b"Pf\n"]:
        assert not decodes_or_says_why(magic + rng.bytes(length))
