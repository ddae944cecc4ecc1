"""Image bytes in, uint8 out: the one place where files are opened, checked, decoded, resized and cropped."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from headstart.errors import HeadstartError, ImageError, MissingExtraError
from headstart.imaging.arrays import is_array, read_array
from headstart.imaging.channels import GREY, RGB, check_channels, images_of, stacked
from headstart.imaging.modes import Box, eight_bit, eight_bit_planes, upright
from headstart.imaging.preprocessing import Preprocessing
from headstart.imaging.tiffs import is_tiff, read_tiff, tiff_samples

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".bmp", ".dib", ".tif", ".tiff", ".gif"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif"}
)
"""Suffixes, in lower case, of the files that are taken for images when a folder is searched."""

ARRAY_SUFFIXES = frozenset({".npy"})
"""Suffixes of files that are taken for images where nothing else is: beside photographs they hold something else."""

MAX_PIXELS = 120_000_000
"""Images that claim more pixels are refused before they are decoded.

The largest common phone sensor has 108 megapixels. Pillow holds 4 bytes a pixel, so one image costs 0.5 GB at most.
"""

MAX_BYTES = 4 * MAX_PIXELS
"""The same limit for images of any number of channels, whose values may be wider than a byte."""

DECODE_VERSION = 1
"""Raised whenever the same bytes give other pixels; stored features are keyed by it."""

# Pillow's other readers are never tried: some start programs (PostScript), most are rarely used and little tested.
_PLUGINS = (
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    WebPImagePlugin.WebPImageFile,
    AvifImagePlugin.AvifImageFile,
    TiffImagePlugin.TiffImageFile,
    BmpImagePlugin.BmpImageFile,
    GifImagePlugin.GifImageFile,
    PpmImagePlugin.PpmImageFile,
)
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}

# A JPEG may be decoded at 1/2, 1/4 or 1/8 while this many pixels are left for each wanted one. With 1, views differ
# from those of a full decode by 1 to 6 grey levels on average, with 2 by 0.2 to 0.5, at a quarter more time.
_DRAFT_MARGIN = 2

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def decode(data: bytes, name: str, at_least: int | None = None, *, channels: int = RGB) -> NDArray[np.uint8]:
    """Decode one image, upright, whatever its format and mode.

    Parameters
    ----------
    data:
        The bytes of a JPEG, PNG, WebP, AVIF, TIFF, BMP, GIF, PPM or, with the extra ``heic``, HEIC file. Of an
        animation or of several pages, the first is taken. Or those of a ``.npy`` file
        (:func:`headstart.imaging.arrays.read_array`), which like a TIFF may have any number of channels.
    name:
        The file's name, for the error's message.
    at_least:
        A JPEG may be decoded at reduced scale as long as its shorter side keeps this many pixels.
    channels:
        3 gives RGB, of a grey image three equal channels. 1 gives grey: the values of a grey image, exactly those of
        each channel of its RGB; the luma (ITU-R 601) of a coloured one. Any other number must be the file's own, and
        of TIFF files :func:`headstart.imaging.tiffs.read_tiff` says which that is.

    Returns
    -------
    numpy.ndarray
        uint8, (height, width, channels). Transparency is laid on white; what is wider than 8 bits is scaled, not
        clipped (:func:`headstart.imaging.modes.eight_bit` and ``eight_bit_planes`` have the rules).

    Raises
    ------
    ImageError
        If the bytes are empty, of no known format, broken, have another number of channels, or claim more than
        ``MAX_PIXELS`` pixels (``MAX_BYTES`` of values for more channels than three).
    MissingExtraError
        If the bytes are HEIC, or TIFF of neither one nor three channels, and the reader is not installed.
    """
    with decoding_errors(name):
        images, _ = _pictures(data, name, channels, at_least)
        return stacked(images, channels)


def preview(data: bytes, name: str, at_least: int | None = None) -> NDArray[np.uint8]:
    """An image of any number of channels for the eye: uint8 (height, width, 3).

    What can be decoded as RGB is; of more channels the first three are shown as red, green and blue, of two the first
    as grey. Parameters and errors are those of :func:`decode`.
    """
    with decoding_errors(name):
        if not needs_planes(data, name):
            return stacked(_pictures(data, name, RGB, at_least)[0], RGB)
        values = read_planes(data, name)
        shown = RGB if values.shape[2] >= RGB else GREY
        return stacked(islice(eight_bit_planes(values), shown), RGB)


def load_view(data: bytes, preprocessing: Preprocessing, name: str) -> NDArray[np.uint8]:
    """Decode one image to the view that the weights were trained on: resize the shorter side, crop the centre.

    Weights that were trained on squashed images get both sides resized to one length.

    The geometry is that of timm's and torchvision's evaluation transform, rounding included. Only the kept part is
    computed; it equals "resize, then crop" to one grey level, save for about one pixel in ten thousand: Pillow chooses
    the order of the horizontal and the vertical pass by their cost, and between the two it clips.

    Parameters
    ----------
    data, name:
        As for :func:`decode`.
    preprocessing:
        Size, crop, interpolation and channels; mean and deviation are not applied here.

    Returns
    -------
    numpy.ndarray
        uint8, (size, size, channels), with channels as for :func:`decode`. Each is resized as if it were alone.

    Raises
    ------
    ImageError, MissingExtraError
        As for :func:`decode`.
    """
    with decoding_errors(name):
        wanted = preprocessing.channels
        images, region = _pictures(data, name, wanted, _DRAFT_MARGIN * preprocessing.shorter_side)
        size = (preprocessing.size, preprocessing.size)
        box = seen_box(region, preprocessing)
        resample = _FILTERS[preprocessing.interpolation]
        return stacked((image.resize(size, resample, box=box) for image in images), wanted)


def load_whole(data: bytes, preprocessing: Preprocessing, name: str) -> NDArray[np.uint8]:
    """Decode one image for a network that resizes it itself: whole, but not much larger than it needs to be.

    Parameters
    ----------
    data, preprocessing, name:
        As for :func:`load_view`; a JPEG is decoded at the same reduced scale as there.

    Returns
    -------
    numpy.ndarray
        uint8, (height, width, channels).

    Raises
    ------
    ImageError, MissingExtraError
        As for :func:`decode`.
    """
    return decode(data, name, _DRAFT_MARGIN * preprocessing.shorter_side, channels=preprocessing.channels)


def read_planes(data: bytes, name: str, channels: int | None = None) -> NDArray[Any]:
    """The values of a ``.npy`` or TIFF file, (height, width, channels), upright and not yet scaled to 8 bits."""
    read = read_array if is_array(data) else read_tiff
    return read(data, name, channels, MAX_BYTES)


def _pictures(data: bytes, name: str, channels: int, at_least: int | None) -> tuple[Iterable[Image.Image], Box]:
    """The upright picture as one image in mode RGB, or images in mode L, and the region that is not padding."""
    if is_array(data) or (is_tiff(data) and channels not in (GREY, RGB)):
        values = read_planes(data, name, channels)
        return images_of(values, channels), (0, 0, values.shape[1], values.shape[0])
    image, region = _load(data, name, channels, at_least)
    return [image.convert("L") if channels == GREY else image], region


def _load(data: bytes, name: str, channels: int, at_least: int | None) -> tuple[Image.Image, Box]:
    """The upright picture in mode L or RGB, and the region of it that is not padding."""
    try:
        image = identify(data, name)
    except SyntaxError:
        if is_tiff(data):  # Pillow has no mode for more channels than four
            check_channels(tiff_samples(data), channels, name)
        raise
    check_channels(GREY if Image.getmodebase(image.mode) == "L" else RGB, channels, name)
    width, height = image.size
    if width * height > MAX_PIXELS:
        limit = f"{MAX_PIXELS // 1_000_000} megapixels"
        raise ImageError(f"{name}: claims {width} x {height} pixels, more than the {limit} that are decoded; shrink it")
    drafted = None
    if at_least is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
        drafted = image.draft(None, (at_least, at_least))
    image.load()
    # A reduced JPEG whose sides are no multiple of the scale ends in a column or row that is part padding.
    region: Box = drafted[1] if drafted else (0, 0, *image.size)
    turned, region = upright(image, region)
    return eight_bit(turned), region


def seen_box(region: Box, preprocessing: Preprocessing) -> Box:
    """The part of ``region`` that :func:`load_view` shows of it, after resizing its shorter side (or both).

    Both are left, top, right and bottom, in pixels; of a whole picture the region is ``(0, 0, width, height)``.
    """
    left, top, right, bottom = region
    width, height = right - left, bottom - top
    shorter, squash = preprocessing.shorter_side, preprocessing.aspect == "squash"
    resized_width = shorter if squash or width <= height else int(shorter * width / height)
    resized_height = shorter if squash or height <= width else int(shorter * height / width)
    x = round((resized_width - preprocessing.size) / 2)
    y = round((resized_height - preprocessing.size) / 2)
    per_x, per_y = width / resized_width, height / resized_height
    return (
        left + x * per_x,
        top + y * per_y,
        min(left + (x + preprocessing.size) * per_x, right),
        min(top + (y + preprocessing.size) * per_y, bottom),
    )


def needs_planes(data: bytes, name: str) -> bool:
    """Whether only :func:`read_planes` can read the bytes: a ``.npy`` file, or a TIFF that Pillow has no mode for."""
    if is_array(data):
        return True
    if not is_tiff(data):
        return False
    try:
        identify(data, name)
    except SyntaxError:
        return tiff_samples(data) not in (GREY, RGB)
    return False


def identify(data: bytes, name: str) -> ImageFile:
    """Open the bytes with the first reader that knows them; only the header is read. See :func:`decode` for errors."""
    if not data:
        raise ImageError(f"{name}: the file is empty")
    if _is_heif(data):
        return _open_heif(data, name)
    # Not Image.open: above 89 megapixels it warns before the size can be checked here.
    for plugin in _PLUGINS:
        factory, accept = Image.OPEN[plugin.format]
        accepted = accept(data[:16]) if accept else True
        if isinstance(accepted, str):
            raise ImageError(f"{name}: this installation of Pillow can't decode it ({accepted})")
        if accepted:
            return factory(BytesIO(data), "")
    formats = ", ".join(plugin.format for plugin in _PLUGINS)
    raise ImageError(f"{name}: not an image, or of a format that is not read (read are {formats}, HEIC)")


def _is_heif(data: bytes) -> bool:
    """Whether an ISO media file declares brands of HEIC, and none of AVIF, which shares some with it."""
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12], *(data[start : start + 4] for start in range(16, end, 4))}
    return bool(brands & _HEIF_BRANDS) and not brands & _AVIF_BRANDS


def _open_heif(data: bytes, name: str) -> ImageFile:
    for reader in ("pi_heif", "pillow_heif"):  # the same reader without and with an encoder
        with contextlib.suppress(ImportError):
            importlib.import_module(reader).register_heif_opener()
            return Image.OPEN["HEIF"][0](BytesIO(data), "")
    raise MissingExtraError(f"{name}: a HEIC image", "heic")


@contextlib.contextmanager
def decoding_errors(name: str) -> Iterator[None]:
    """Whatever a reader raises on broken or hostile bytes becomes an :class:`ImageError` that names the file."""
    try:
        yield
    except HeadstartError:
        raise
    except Exception as error:  # OSError, SyntaxError, struct.error, zlib.error, MemoryError, ...: no closed list
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageError(f"{name}: can't be decoded ({reason})") from error
