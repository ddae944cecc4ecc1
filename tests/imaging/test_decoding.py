"""Every format, mode and orientation decodes to the pixels that were meant, and views equal resize-then-crop."""

from __future__ import annotations

import base64
import sys
import zlib
from io import BytesIO
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageDraw

from headstart.errors import ImageError, MissingExtraError
from headstart.imaging import MAX_PIXELS, Preprocessing, decode, load_view
from headstart.imaging.facts import ImageFacts, image_facts
from headstart.records import from_json, to_json

RED, GREEN, BLUE, GREY = (200, 30, 30), (30, 200, 30), (30, 30, 200), (120, 120, 120)


def scene(width: int = 96, height: int = 64) -> Image.Image:
    """Four coloured quarters: tells orientations, channel orders and inversions apart, and survives lossy formats."""
    image = Image.new("RGB", (width, height), RED)
    draw = ImageDraw.Draw(image)
    draw.rectangle((width // 2, 0, width, height // 2 - 1), fill=GREEN)
    draw.rectangle((0, height // 2, width // 2 - 1, height), fill=BLUE)
    draw.rectangle((width // 2, height // 2, width, height), fill=GREY)
    return image


def smooth(width: int, height: int, seed: int = 0) -> Image.Image:
    """A photograph's stand-in: coloured noise of low frequency."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 12 + 2, width // 12 + 2, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def corners(pixels: np.ndarray) -> list[tuple[int, ...]]:
    """The colours of the quarters' centres: top left, top right, bottom left, bottom right."""
    height, width = pixels.shape[:2]
    points = [(y, x) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    return [tuple(map(int, pixels[point])) for point in points]


def assert_close(found: list[tuple[int, ...]], wanted: list[tuple[int, ...]], tolerance: int) -> None:
    assert np.abs(np.array(found) - np.array(wanted)).max() <= tolerance, found


LOSSLESS = ["PNG", "BMP", "TIFF", "PPM"]
LOSSY = [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95}), ("AVIF", {"quality": 95}), ("GIF", {})]


@pytest.mark.parametrize("format", LOSSLESS)
def test_lossless_formats_give_the_pixels_back(format: str) -> None:
    assert np.array_equal(decode(saved(scene(), format), "a"), np.asarray(scene()))


@pytest.mark.parametrize(("format", "options"), LOSSY)
def test_lossy_formats_give_nearly_the_pixels_back(format: str, options: dict[str, object]) -> None:
    assert_close(corners(decode(saved(scene(), format, **options), "a")), [RED, GREEN, BLUE, GREY], 8)


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
def test_every_mode_becomes_writable_rgb_of_8_bits(mode: str) -> None:
    image = scene().convert("L").convert(mode) if mode in ("I;16", "F") else scene().convert(mode)
    pixels = decode(saved(image, "JPEG" if mode == "YCbCr" else "TIFF" if mode in ("CMYK", "F") else "PNG"), "a")
    assert pixels.shape == (64, 96, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable


def test_grey_keeps_its_levels() -> None:
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    for format in ("PNG", "TIFF", "BMP", "PPM"):
        assert np.array_equal(decode(saved(ramp, format), "a")[:, :, 1], np.asarray(ramp))


def test_one_bit_becomes_black_and_white() -> None:
    checks = Image.fromarray(np.indices((8, 8)).sum(0) % 2 == 0)
    for format in ("PNG", "TIFF", "BMP", "PPM"):
        assert np.array_equal(decode(saved(checks, format), "a")[:, :, 0], np.asarray(checks) * 255)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_not_clipped(format: str) -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    pixels = decode(saved(Image.fromarray(values), format), "a")[:, :, 0]
    assert np.array_equal(pixels, np.rint(values / 257))


def test_big_endian_16_bit_tiff_equals_little_endian() -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    big = Image.frombytes("I;16B", (8, 8), values.astype(">u2").tobytes())
    assert np.array_equal(decode(saved(big, "TIFF"), "a")[:, :, 0], np.rint(values / 257))


def test_32_bit_integers_are_scaled_within_16_bits_and_stretched_beyond() -> None:
    inside = np.array([[0, 257], [32896, 65535]], np.int32)
    assert decode(saved(Image.fromarray(inside), "TIFF"), "a")[:, :, 0].tolist() == [[0, 1], [128, 255]]
    beyond = np.array([[-100_000, 0], [50_000, 100_000]], np.int32)
    assert decode(saved(Image.fromarray(beyond), "TIFF"), "a")[:, :, 0].tolist() == [[0, 128], [191, 255]]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([[0.0, 0.5], [0.25, 1.0]], [[0, 128], [64, 255]]),
        ([[0.0, 127.6], [3.0, 255.0]], [[0, 128], [3, 255]]),
        ([[-1.0, 0.0], [1.0, 3.0]], [[0, 64], [128, 255]]),
        ([[np.nan, 0.5], [np.inf, 1.0]], [[0, 128], [0, 255]]),
        ([[300.0, 300.0], [300.0, 300.0]], [[0, 0], [0, 0]]),
    ],
)
def test_float_tiff_is_scaled_by_its_range(values: list[list[float]], wanted: list[list[int]]) -> None:
    image = Image.fromarray(np.array(values, np.float32))
    assert decode(saved(image, "TIFF"), "a")[:, :, 0].tolist() == wanted


def test_alpha_is_laid_on_white() -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[:, :, 3] = [[0, 51], [204, 255]]
    assert decode(saved(Image.fromarray(pixels), "PNG"), "a")[:, :, 0].tolist() == [[255, 204], [51, 0]]
    grey = Image.fromarray(pixels[:, :, 2:])
    assert grey.mode == "LA"
    assert decode(saved(grey, "PNG"), "a")[:, :, 2].tolist() == [[255, 204], [51, 0]]


def test_transparent_palette_entries_and_colours_are_laid_on_white() -> None:
    palette = scene().convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    index = palette.getpixel((0, 0))
    for format in ("PNG", "GIF"):
        found = corners(decode(saved(palette, format, transparency=index), "a"))
        assert_close(found, [(255, 255, 255), GREEN, BLUE, GREY], 3)
    found = corners(decode(saved(scene(), "PNG", transparency=GREEN), "a"))
    assert_close(found, [RED, (255, 255, 255), BLUE, GREY], 0)
    alphas = bytes([0 if entry == index else 255 for entry in range(4)])
    assert_close(corners(decode(saved(palette, "PNG", transparency=alphas), "a"))[:1], [(255, 255, 255)], 0)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_is_not_inverted(format: str) -> None:
    found = corners(decode(saved(scene().convert("CMYK"), format), "a"))
    assert_close(found, [RED, GREEN, BLUE, GREY], 6)


@pytest.mark.parametrize("format", ["GIF", "TIFF", "WEBP", "AVIF", "PNG"])
def test_the_first_frame_is_taken(format: str) -> None:
    frames = [scene(), Image.new("RGB", (96, 64), (255, 255, 255))]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:])
    assert_close(corners(decode(data, "a")), [RED, GREEN, BLUE, GREY], 8)


def test_multi_picture_jpeg_gives_the_first_picture() -> None:
    data = saved(scene(), "MPO", save_all=True, append_images=[Image.new("RGB", (96, 64))], quality=95)
    assert_close(corners(decode(data, "a")), [RED, GREEN, BLUE, GREY], 8)


UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def oriented(image: Image.Image, orientation: int, format: str) -> bytes:
    """The image as a camera held in another way stores it: turned pixels, and the tag that turns them back."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = image.transpose(UNDO[orientation]) if orientation in UNDO else image
    quality = {} if format in ("PNG", "TIFF") else {"quality": 95}
    return saved(turned, format, exif=exif, **quality)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(orientation: int, format: str) -> None:
    pixels = decode(oriented(scene(), orientation, format), "a")
    assert pixels.shape == (64, 96, 3)
    assert_close(corners(pixels), [RED, GREEN, BLUE, GREY], 8)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_orientation_and_reduced_decoding_agree(orientation: int) -> None:
    """Sides that are no multiple of 8 end in a ragged row, which an orientation moves to another edge."""
    preprocessing = Preprocessing(size=32, crop=1.0, interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1))
    image = smooth(1001, 775)
    wanted = load_view(oriented(image, 1, "JPEG"), preprocessing, "a").astype(int)
    found = load_view(oriented(image, orientation, "JPEG"), preprocessing, "a").astype(int)
    assert np.abs(found - wanted).mean() < 0.6
    assert np.abs(found - wanted).max() <= 6


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_and_unknown_orientation_leave_the_picture() -> None:
    data = saved(scene(), "JPEG", quality=95, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert_close(corners(decode(data, "a")), [RED, GREEN, BLUE, GREY], 8)
    assert_close(corners(decode(oriented(scene(), 99, "JPEG"), "a")), [RED, GREEN, BLUE, GREY], 8)


def reference_view(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """Resize and centre crop step by step, with torchvision's integer rules."""
    (width, height), short, side = image.size, preprocessing.shorter_side, preprocessing.size
    size = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    resized = image.resize(size, Image.Resampling[preprocessing.interpolation.upper()])
    top, left = round((size[1] - side) / 2.0), round((size[0] - side) / 2.0)
    return np.asarray(resized.crop((left, top, left + side, top + side)).convert("RGB"), int)


def assert_same_view(view: np.ndarray, wanted: np.ndarray) -> None:
    """Equal to one grey level, save for the rare pixel where the passes' order and the clipping between them show."""
    difference = np.abs(view - wanted)
    assert difference.mean() < 0.25
    assert (difference > 1).mean() < 1e-3


@pytest.mark.parametrize("size", [(320, 213), (213, 320), (64, 64), (500, 333), (31, 200), (257, 256), (700, 40)])
@pytest.mark.parametrize(("side", "crop"), [(224, 0.875), (240, 0.882), (64, 1.0)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_view_equals_resize_then_crop(
    size: tuple[int, int], side: int, crop: float, interpolation: str, mode: str
) -> None:
    preprocessing = Preprocessing(side, crop, interpolation, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # type: ignore[arg-type]
    image = smooth(*size).convert(mode)
    view = load_view(saved(image, "PNG"), preprocessing, "a")
    assert view.shape == (side, side, 3)
    assert view.dtype == np.uint8
    assert_same_view(view, reference_view(image, preprocessing))


def test_a_reduced_jpeg_gives_nearly_the_view_of_a_full_one() -> None:
    preprocessing = Preprocessing(64, 0.875, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    image = smooth(1203, 801)
    data = saved(image, "JPEG", quality=95)
    assert decode(data, "a", at_least=146).shape == (201, 301, 3)
    difference = np.abs(load_view(data, preprocessing, "a") - reference_view(image, preprocessing))
    assert difference.mean() < 1


@pytest.mark.parametrize("at_least", [1, 50, 100, 101, 200, 400, 401])
def test_reduced_decoding_keeps_the_wanted_size(at_least: int) -> None:
    shape = decode(oriented(smooth(600, 400), 6, "JPEG"), "a", at_least=at_least).shape
    assert min(shape[:2]) >= min(at_least, 400)
    assert (shape[0] > shape[1]) == (600 < 400)


def test_very_long_images_have_a_view() -> None:
    preprocessing = Preprocessing(32, 0.875, "bicubic", (0, 0, 0), (1, 1, 1))
    for size in [(1, 1), (1, 3000), (3000, 1)]:
        assert load_view(saved(Image.new("RGB", size, RED), "PNG"), preprocessing, "a")[16, 16].tolist() == list(RED)


def png_that_claims(width: int, height: int) -> bytes:
    """A small valid PNG whose header is rewritten, with the right checksum."""
    data = bytearray(saved(Image.new("1", (8, 8)), "PNG"))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(40_000, 40_000), (MAX_PIXELS // 10_000 + 1, 10_000)])
def test_bombs_are_refused_from_the_header(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=rf"bomb\.png.*{size[0]} x {size[1]}"):
        decode(png_that_claims(*size), "bomb.png")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"this is a text, whatever its name says", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
        (saved(smooth(200, 200), "JPEG")[:1500], "truncated"),
        (saved(smooth(200, 200), "PNG")[:1500], "can't be decoded"),
        (b"\xff\xd8\xff", "can't be decoded"),
    ],
)
def test_broken_files_are_named(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=rf"cats/1\.jpg: .*{reason}"):
        decode(data, "cats/1.jpg")


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64


def test_heic_without_its_reader_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtraError, match=r'1\.heic.*pip install "headstart\[heic\]"'):
        decode(HEIC, "1.heic")


def test_heic_goes_to_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ModuleType("pi_heif")
    reader.register_heif_opener = lambda: Image.register_open("HEIF", lambda *_: scene())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pi_heif", reader)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    assert np.array_equal(decode(HEIC, "1.heic"), np.asarray(scene()))


HALVES = (  # 32 x 16 pixels, the left half red, the right half blue
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAAAA"
    "AERAAAEAAQAAAAABoAABAAAAAAAAALoAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/GlwcnAAAADc"
    "aXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3AAAAMAkAAAAwAA"
    "AwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAAChjbGFw"
    "AAAAIAAAAAEAAAAQAAAAAf///+AAAAAC////0AAAAAIAAAAQcGl4aQAAAAADCAgIAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAAAwm1kYXQAAAC2"
    "KAGvCchnsro5I1d//9i2f/8w/6H8Dt4rf/g4Q+/hVD//szT+U6/07tpE6JbILbD0Opm8R2/qnAkhkmB9aq4SVZqDPmJQmjA0Re++/CfAfJRaxYEo"
    "/cxd796Awz+S6yUntLwcehUls/S0g85OegAdyhzbapm15WG9tFaG7JlbY6f30rkai5yA5qCicRGjthRBDqLoCC+OvnU22hL0NS0PENIFBr28ZJaR"
    "Xag7j+AGWLcn+2Suc58="
)


def test_heic_is_decoded() -> None:
    pytest.importorskip("pi_heif", reason="the extra heic is not installed")
    pixels = decode(base64.b64decode(HALVES), "1.heic")
    assert pixels.shape == (16, 32, 3)
    assert_close([tuple(map(int, pixels[8, 4])), tuple(map(int, pixels[8, 28]))], [RED, BLUE], 10)
    with pytest.raises(ImageError, match=r"1\.heic: can't be decoded"):
        decode(base64.b64decode(HALVES)[:300], "1.heic")


def test_facts_are_those_of_the_file() -> None:
    assert image_facts(oriented(scene(96, 64), 6, "JPEG"), "a") == ImageFacts(
        "JPEG", "RGB", 96, 64, 6, channels=3, bits=8, is_grey=False
    )
    assert image_facts(saved(scene().convert("L"), "PNG"), "a") == ImageFacts(
        "PNG", "L", 96, 64, 1, channels=1, bits=8, is_grey=True
    )
    with pytest.raises(ImageError, match=r"cats/1\.jpg"):
        image_facts(saved(smooth(200, 200), "JPEG")[:1500], "cats/1.jpg")


def test_preprocessing_is_a_record() -> None:
    record = Preprocessing(260, 0.89, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert from_json(Preprocessing, to_json(record)) == record
    assert record.shorter_side == 292


@pytest.mark.real
def test_views_of_real_photographs_equal_resize_then_crop(shared: Path) -> None:
    preprocessing = Preprocessing(224, 0.875, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    for file in sorted((shared / "data/imagenet_sample/images").iterdir())[:20]:
        view = load_view(file.read_bytes(), preprocessing, file.name)
        with Image.open(file) as image:
            assert_same_view(view, reference_view(image.convert("RGB"), preprocessing))


@pytest.mark.parametrize("crop", [1.0, 0.875])
def test_squashing_keeps_the_same_share_of_both_sides(crop: float) -> None:
    """Weights trained on squashed images see the whole width of a wide image, as timm's and open_clip's do."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 160, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    record = Preprocessing(56, crop, "bicubic", (0.5,) * 3, (0.5,) * 3, aspect="squash")
    side = record.shorter_side
    whole = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
    edge = round((side - 56) / 2)
    wanted = np.asarray(whole.crop((edge, edge, edge + 56, edge + 56)), np.int16)
    found = load_view(buffer.getvalue(), record, "wide").astype(np.int16)
    assert np.abs(found - wanted).max() <= 1
