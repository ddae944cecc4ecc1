"""Images of one, two, three and more channels: grey and colour stand for each other, everything else is as stored."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart.errors import ImageError, OptionError
from headstart.imaging import MAX_CHANNELS, Preprocessing, decode, encode, load_view, preview
from headstart.imaging.facts import ImageFacts, image_facts
from headstart.records import from_plain, to_plain

RNG = np.random.default_rng(0)
SMOOTH = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize((90, 70), Image.Resampling.BICUBIC)
)
BANDS = RNG.integers(0, 256, (70, 90, 5), dtype=np.uint8)


def wanting(channels: int, size: int = 32) -> Preprocessing:
    return Preprocessing(size, 0.875, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), channels)


def saved(pixels: np.ndarray | Image.Image, format: str) -> bytes:
    buffer = BytesIO()
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    image.save(buffer, format)
    return buffer.getvalue()


def npy(array: np.ndarray, **options: Any) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def test_channels_are_a_field_that_older_records_lack() -> None:
    plain = to_plain(wanting(3))
    del plain["channels"]
    assert from_plain(Preprocessing, plain) == wanting(3)
    for channels in (0, -1, MAX_CHANNELS + 1):
        with pytest.raises(OptionError, match=f"{channels} channels"):
            wanting(channels)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM", "BMP", "JPEG", "GIF"])
def test_a_grey_file_s_one_channel_is_each_of_its_rgb(format: str) -> None:
    data = saved(SMOOTH[:, :, 0], format)
    for grey, colour in [
        (decode(data, "a", channels=1), decode(data, "a")),
        (load_view(data, wanting(1), "a"), load_view(data, wanting(3), "a")),
    ]:
        assert grey.shape == (*colour.shape[:2], 1)
        assert grey.flags.writeable
        np.testing.assert_array_equal(np.repeat(grey, 3, axis=2), colour)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_keeps_its_scale_as_one_channel(format: str) -> None:
    values = RNG.integers(0, 65536, (70, 90), dtype=np.uint16)
    data = saved(values, format)
    np.testing.assert_array_equal(decode(data, "a", channels=1)[:, :, 0], np.rint(values / 257))
    grey, colour = load_view(data, wanting(1), "a"), load_view(data, wanting(3), "a")
    np.testing.assert_array_equal(np.repeat(grey, 3, axis=2), colour)


@pytest.mark.parametrize("mode", ["LA", "1", "F"])
def test_other_grey_modes_equal_their_rgb_too(mode: str) -> None:
    data = saved(Image.fromarray(SMOOTH).convert("L").convert(mode), "TIFF")
    grey, colour = load_view(data, wanting(1), "a"), load_view(data, wanting(3), "a")
    np.testing.assert_array_equal(np.repeat(grey, 3, axis=2), colour)


def test_a_coloured_file_s_one_channel_is_its_luma() -> None:
    found = decode(saved(SMOOTH, "PNG"), "a", channels=1)[:, :, 0]
    assert np.abs(found - SMOOTH @ [0.299, 0.587, 0.114]).max() <= 1
    pure = np.zeros((4, 4, 3), np.uint8)
    pure[..., 1] = 255
    assert decode(saved(pure, "PNG"), "a", channels=1)[0, 0, 0] == 150
    np.testing.assert_array_equal(decode(npy(SMOOTH), "a", channels=1)[:, :, 0], found)


@pytest.mark.parametrize("size", [17, 32, 64])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_an_array_of_three_channels_has_the_view_of_the_png(size: int, interpolation: str) -> None:
    preprocessing = Preprocessing(size, 0.9, interpolation, (0, 0, 0), (1, 1, 1))  # type: ignore[arg-type]
    wanted = load_view(saved(SMOOTH, "PNG"), preprocessing, "a")
    np.testing.assert_array_equal(load_view(npy(SMOOTH), preprocessing, "a"), wanted)
    np.testing.assert_array_equal(load_view(npy(SMOOTH.transpose(2, 0, 1)), preprocessing, "a"), wanted)
    np.testing.assert_array_equal(decode(npy(SMOOTH), "a"), SMOOTH)


def test_a_grey_array_stands_for_one_channel_and_for_three() -> None:
    for array in (BANDS[:, :, 0], BANDS[:, :, :1], BANDS[None, :, :, 0]):
        np.testing.assert_array_equal(decode(npy(array), "a", channels=1)[:, :, 0], BANDS[:, :, 0])
        np.testing.assert_array_equal(decode(npy(array), "a")[:, :, 2], BANDS[:, :, 0])


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_each_channel_is_resized_as_if_it_were_alone(channels: int) -> None:
    bands = BANDS[:, :, :channels]
    view = load_view(npy(bands), wanting(channels), "a")
    assert view.shape == (32, 32, channels)
    assert view.dtype == np.uint8
    for channel in range(channels):
        alone = load_view(saved(bands[:, :, channel], "PNG"), wanting(1), "a")
        np.testing.assert_array_equal(view[:, :, channel], alone[:, :, 0])


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(BANDS),
        BANDS.transpose(2, 0, 1),
        np.asfortranarray(BANDS.transpose(2, 0, 1)),
        BANDS.astype("<u2") * 257,
        BANDS.astype(">u2") * 257,
        BANDS.astype(np.int32) * 257,
        (BANDS / 255).astype(np.float32),
        (BANDS / 255).astype(">f8"),
        BANDS.astype(np.float16),
    ],
)
def test_layouts_and_dtypes_of_equal_values_give_equal_pixels(array: np.ndarray) -> None:
    np.testing.assert_array_equal(decode(npy(array), "a", channels=5), BANDS)


def test_the_last_axis_is_the_channels_where_both_could_be() -> None:
    cube = RNG.integers(0, 256, (5, 70, 5), dtype=np.uint8)
    np.testing.assert_array_equal(decode(npy(cube), "a", channels=5), cube)


def test_all_channels_of_an_image_are_scaled_alike() -> None:
    signed = np.zeros((2, 2, 2), np.int16)
    signed[..., 0], signed[..., 1] = -100, 300
    assert decode(npy(signed), "a", channels=2)[0, 0].tolist() == [0, 255]
    signed[..., 0] = 100
    assert decode(npy(signed), "a", channels=2)[0, 0].tolist() == [0, 1]
    floats = np.zeros((2, 2, 4), np.float32)
    floats[..., 1:] = 0.5, 20.0, np.nan
    assert decode(npy(floats), "a", channels=4)[0, 0].tolist() == [0, 0, 20, 0]
    floats[..., 2] = 1000
    assert decode(npy(floats), "a", channels=4)[0, 0].tolist() == [0, 0, 255, 0]


@pytest.mark.parametrize(
    ("data", "found", "wanted", "way"),
    [
        (saved(SMOOTH, "PNG"), 3, 5, "--channels 3"),
        (saved(SMOOTH, "JPEG"), 3, 2, "--channels 3"),
        (saved(Image.fromarray(SMOOTH).convert("P"), "GIF"), 3, 4, "--channels 3"),
        (saved(SMOOTH[:, :, 0], "PNG"), 1, 5, "--channels 3"),
        (npy(BANDS), 5, 3, "--channels 5"),
        (npy(BANDS), 5, 1, "--channels 5"),
        (npy(BANDS), 5, 4, "--channels 5"),
        (npy(BANDS[:, :, :2]), 2, 3, "--channels 2"),
        (npy(BANDS.transpose(2, 0, 1)), 5, 3, "--channels 5"),
        (npy(BANDS[:, :, 0]), 1, 2, "--channels 3"),
        (npy(np.zeros((80, 90, 70), np.uint8)), 70, 3, "leave some out"),
    ],
)
def test_another_number_of_channels_is_refused_with_both_and_the_way_out(
    data: bytes, found: int, wanted: int, way: str
) -> None:
    with pytest.raises(ImageError, match=rf"cats/1\.x: has {found} channels?, but {wanted} (is|are) asked for; {way}"):
        load_view(data, wanting(wanted), "cats/1.x")


def test_arrays_in_memory_of_many_channels_come_back() -> None:
    for bands in (BANDS, BANDS[:, :, :2]):
        data = encode(bands)
        assert data == encode(bands.copy())
        np.testing.assert_array_equal(decode(data, "a", channels=bands.shape[2]), bands)
    np.testing.assert_array_equal(decode(encode(BANDS.astype(np.uint16) * 257), "a", channels=5), BANDS)
    with pytest.raises(ImageError, match="no image"):
        encode(BANDS.transpose(2, 0, 1))


def test_facts_and_preview_of_arrays() -> None:
    assert image_facts(npy(BANDS.astype(np.uint16)), "a") == ImageFacts(
        "NPY", "5 x uint16", 90, 70, 1, channels=5, bits=16, is_grey=False
    )
    np.testing.assert_array_equal(preview(npy(BANDS), "a"), BANDS[:, :, :3])
    np.testing.assert_array_equal(preview(npy(BANDS[:, :, :2]), "a")[:, :, 2], BANDS[:, :, 0])
    np.testing.assert_array_equal(preview(saved(SMOOTH, "PNG"), "a"), SMOOTH)
    assert preview(saved(SMOOTH, "JPEG"), "a", at_least=30).shape == (35, 45, 3)
