"""TIFF files of many channels: every layout gives the same pixels, and hostile ones are refused in bounded memory."""

from __future__ import annotations

import importlib.util
import struct
import sys
import tracemalloc
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart.errors import ImageError, MissingExtraError
from headstart.imaging import Preprocessing, decode, load_view, preview
from headstart.imaging.facts import ImageFacts, image_facts
from headstart.imaging.tiffs import tiff_samples

tifffile = pytest.importorskip("tifffile", reason="the extra multichannel is not installed")

BANDS = np.random.default_rng(0).integers(0, 256, (50, 70, 5), dtype=np.uint8)
PLANES = np.moveaxis(BANDS, 2, 0)
INTERLEAVED: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig"}


def tiff(array: np.ndarray, **options: Any) -> bytes:
    buffer = BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow does not know big-endian BigTIFF
@pytest.mark.parametrize(
    ("array", "options"),
    [
        (BANDS, INTERLEAVED),
        (BANDS, {**INTERLEAVED, "compression": "deflate", "rowsperstrip": 7}),
        (BANDS, {**INTERLEAVED, "compression": "deflate", "predictor": 2, "tile": (32, 16)}),
        (BANDS, {**INTERLEAVED, "byteorder": ">", "bigtiff": True}),
        (BANDS, {"photometric": "rgb", "planarconfig": "contig", "extrasamples": (0, 0)}),
        (BANDS.astype(np.uint16) * 257, INTERLEAVED),
        (BANDS.astype(np.uint16) * 257, {**INTERLEAVED, "byteorder": ">", "compression": "deflate", "predictor": 2}),
        ((BANDS / 255).astype(np.float32), {**INTERLEAVED, "tile": (16, 16)}),
        (PLANES, {"photometric": "minisblack", "planarconfig": "separate"}),
        (PLANES, {"photometric": "minisblack", "planarconfig": "separate", "compression": "deflate", "tile": (16, 16)}),
        (PLANES, {"photometric": "minisblack"}),
        (PLANES, {"photometric": "minisblack", "compression": "deflate"}),
        (PLANES, {"imagej": True, "metadata": {"axes": "CYX"}}),
        (PLANES, {"ome": True, "photometric": "minisblack", "metadata": {"axes": "CYX"}}),
    ],
)
def test_every_layout_gives_the_same_pixels(array: np.ndarray, options: dict[str, Any]) -> None:
    data = tiff(array, **options)
    np.testing.assert_array_equal(decode(data, "a", channels=5), BANDS)
    preprocessing = Preprocessing(32, 0.875, "bicubic", (0, 0, 0), (1, 1, 1), 5)
    buffer = BytesIO()
    np.save(buffer, BANDS)
    np.testing.assert_array_equal(load_view(data, preprocessing, "a"), load_view(buffer.getvalue(), preprocessing, "a"))
    assert tiff_samples(data) == (1 if array is PLANES and "planarconfig" not in options else 5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_that_of_pillow(orientation: int) -> None:
    """Ink images of four channels are read by both: by Pillow as CMYK, here as they are stored."""
    buffer, exif = BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    inks = Image.fromarray(np.ascontiguousarray(BANDS[:, :, :4]), "CMYK")
    inks.save(buffer, "TIFF", exif=exif)
    with Image.open(BytesIO(buffer.getvalue())) as opened:
        opened.load()
        wanted = np.asarray(opened)
    np.testing.assert_array_equal(decode(buffer.getvalue(), "a", channels=4), wanted)


def test_facts_and_preview_of_many_channels() -> None:
    data = tiff(BANDS.astype(np.uint16) * 257, **INTERLEAVED)
    assert image_facts(data, "a") == ImageFacts("TIFF", "5 x uint16", 70, 50, 1, channels=5, bits=16, is_grey=False)
    np.testing.assert_array_equal(preview(data, "a"), BANDS[:, :, :3])


@pytest.mark.parametrize(
    ("data", "wanted", "reason"),
    [
        (tiff(BANDS, **INTERLEAVED), 3, "has 5 channels, but 3 are asked for; --channels 5"),
        (tiff(BANDS, **INTERLEAVED), 1, "has 5 channels, but 1 is asked for; --channels 5"),
        (tiff(BANDS, **INTERLEAVED), 6, "has 5 channels, but 6 are asked for; --channels 5"),
        (tiff(PLANES, photometric="minisblack"), 6, "has 5 channels, but 6"),
        (tiff(PLANES, photometric="minisblack"), 4, "has more pages of 1 channel than the 4 channels"),
        (tiff(BANDS[:, :, 0]), 5, "has 1 channel, but 5 are asked for; --channels 3"),
        (tiff(BANDS[:, :, :3], photometric="rgb"), 5, "has 3 channels, but 5 are asked for; --channels 3"),
        (tiff(BANDS.astype(np.complex64), **INTERLEAVED), 5, "can't be read as channels"),
        (tiff(BANDS.astype(np.int64), **INTERLEAVED), 5, "can't be read as channels"),
    ],
)
def test_another_number_or_kind_of_channels_is_refused(data: bytes, wanted: int, reason: str) -> None:
    with pytest.raises(ImageError, match=rf"cats/1\.tif: .*{reason}"):
        decode(data, "cats/1.tif", channels=wanted)


def test_pages_that_differ_are_refused() -> None:
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(BANDS[:, :, 0], photometric="minisblack")
        writer.write(BANDS[:40, :, 0], photometric="minisblack")
    with pytest.raises(ImageError, match="pages differ"):
        decode(buffer.getvalue(), "a", channels=2)


def test_grey_and_colour_need_no_extra_and_many_channels_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert decode(tiff(BANDS[:, :, :3], photometric="rgb"), "a").shape == (50, 70, 3)
    with pytest.raises(ImageError, match="--channels 5"):
        decode(tiff(BANDS, **INTERLEAVED), "a")
    with pytest.raises(MissingExtraError, match=r'scene\.tif.*pip install "headstart\[multichannel\]"'):
        decode(tiff(BANDS, **INTERLEAVED), "scene.tif", channels=5)


def rewritten(data: bytes, tag: int, value: int) -> bytes:
    """The file with another value of a tag of the first page, little-endian, kept where the tag is."""
    spoiled = bytearray(data)
    (page,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, page)
    for start in range(page + 2, page + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", data, start)[0] == tag:
            width = {3: "<H", 4: "<I"}[struct.unpack_from("<H", data, start + 2)[0]]
            struct.pack_into(width, spoiled, start + 8, value)
    assert spoiled != data
    return bytes(spoiled)


WIDTH, HEIGHT, COMPRESSION, SAMPLES = 256, 257, 259, 277
PACKED = tiff(BANDS, **INTERLEAVED, compression="deflate")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (rewritten(tiff(BANDS, **INTERLEAVED), WIDTH, 65535), "claims 65535 x 50 pixels"),
        (rewritten(tiff(BANDS, **INTERLEAVED), HEIGHT, 60_000), "claims 70 x 60000 pixels"),
        (rewritten(rewritten(PACKED, WIDTH, 65535), HEIGHT, 65535), "claims 65535 x 65535 pixels"),
        (rewritten(PACKED, HEIGHT, 0), "can't be|differ"),
        (rewritten(PACKED, COMPRESSION, 5), "imagecodecs"),
        (rewritten(PACKED, COMPRESSION, 50000), "save it with deflate"),
        (rewritten(PACKED, COMPRESSION, 7), "save it with deflate"),
        (rewritten(PACKED, SAMPLES, 60_000), "60000 channels"),
        (PACKED[: len(PACKED) // 2], "can't be decoded"),
        (b"II*\0\x08\0\0\0", "can't be decoded"),
        (b"II*\0\x08\0\0\0\0\0\0\0\0\0", "has 1 channel"),
        (b"MM\0*" + b"\xff" * 200, "can't be decoded"),
    ],
)
def test_absurd_and_broken_files_are_named(data: bytes, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ImageError, match=rf"cats/1\.tif: .*({reason})"):
        decode(data, "cats/1.tif", channels=5)


def test_a_strip_that_unpacks_to_more_than_it_may_hold_is_refused() -> None:
    bomb = zlib.compress(b"\0" * 100_000_000, 9)
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(iter([bomb]), shape=(50, 70, 5), dtype=np.uint8, compression="deflate", **INTERLEAVED)
    tracemalloc.start()
    with pytest.raises(ImageError, match="unpacks to more"):
        decode(buffer.getvalue(), "bomb.tif", channels=5)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_circle_of_pages_ends() -> None:
    data = bytearray(tiff(BANDS[:, :, 0], photometric="minisblack"))
    (page,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, page)
    struct.pack_into("<I", data, page + 2 + 12 * entries, page)
    with pytest.raises(ImageError, match="more pages of 1 channel"):
        decode(bytes(data), "a", channels=5)


def outcome(data: bytes, channels: int) -> str:
    try:
        assert decode(data, "a", channels=channels).shape[2] == channels
    except ImageError as error:
        return str(error)
    return "decoded"


@pytest.mark.filterwarnings("ignore")
def test_altered_files_decode_or_raise_only_image_errors() -> None:
    rng, outcomes = np.random.default_rng(1), set[str]()
    for data in (PACKED, tiff(BANDS, **INTERLEAVED), tiff(PLANES, photometric="minisblack")):
        for _ in range(150):
            spoiled = bytearray(data)
            for position in rng.integers(0, min(len(data), 400), int(rng.integers(1, 4))):
                spoiled[position] = int(rng.integers(0, 256))
            for channels in (3, 5):
                outcomes.add(outcome(bytes(spoiled), channels))
    assert outcomes >= {"decoded"}
    assert all(words == "decoded" or (words.startswith("a: ") and "\n" not in words) for words in outcomes)
