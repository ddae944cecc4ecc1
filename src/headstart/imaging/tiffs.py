"""TIFF files of any number of channels, through tifffile: satellite scenes, microscope channels, stacks of pages."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import ImageError, MissingExtraError
from headstart.imaging.arrays import DTYPES
from headstart.imaging.channels import check_channels

_QUIET = logging.NullHandler()  # one for all calls: a logger takes the same handler only once
_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION, _SAMPLES_PER_PIXEL = 274, 277
# Every other compression needs a decoder that can't be stopped half-way, or is made for photographs.
_NONE, _LZW, _DEFLATE = 1, 5, (8, 32946)
_AS_STORED = (1, 2, 5)  # photometric: black is 0, RGB, inks; others need a palette, an inversion or a colour space


def is_tiff(data: bytes) -> bool:
    """Whether the bytes start as a TIFF or BigTIFF file does."""
    return data[:4] in _MAGICS


def tiff_samples(data: bytes) -> int:
    """How many samples a pixel of the first page has: its tag 277, or 1. Broken bytes raise ``struct.error``."""
    is_big = data[2:4] in (b"\0\x2b", b"\x2b\0")
    order = "<" if data[:2] == b"II" else ">"
    (page,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)
    (entries,) = struct.unpack_from(order + ("Q" if is_big else "H"), data, page)
    first, width, value = (page + 8, 20, 12) if is_big else (page + 2, 12, 8)
    for entry in range(first, min(first + width * entries, len(data)), width):
        if struct.unpack_from(order + "H", data, entry)[0] == _SAMPLES_PER_PIXEL:
            return int(struct.unpack_from(order + "H", data, entry + value)[0])
    return 1


def read_tiff(data: bytes, name: str, channels: int | None, max_bytes: int) -> NDArray[Any]:
    """The values of a TIFF file, upright, (height, width, channels).

    The channels are the samples of the first page's pixels, interleaved or in planes. Where pixels have one sample, as
    microscopes and ImageJ store them, they are the pages, if the file has exactly as many as are asked for, all of one
    size and dtype: whether these are wavelengths, depths or times is for the user to know. Descriptions in the makers'
    own formats are not read, and no other file is opened.

    Parameters
    ----------
    channels:
        How many are asked for; ``None`` takes what the first page has.
    max_bytes:
        Files that claim more values are refused.

    Raises
    ------
    ImageError
        If the number of channels is another, values are none of ``headstart.imaging.arrays.DTYPES``, the compression is
        not none, deflate or (with imagecodecs) LZW, or a strip unpacks to more than it may hold.
    MissingExtraError
        If tifffile is not installed.
    """
    if importlib.util.find_spec("tifffile") is None:
        raise MissingExtraError(f"{name}: a TIFF image of this kind", "multichannel")
    logging.getLogger("tifffile").addHandler(_QUIET)  # it logs what it finds odd; errors are raised here
    # The flags keep readers of makers' own variants away: they follow offsets of their own, without bounds.
    flags = {"is_lsm": False, "is_scanimage": False, "is_ndpi": False, "_multifile": False}
    with importlib.import_module("tifffile").TiffFile(BytesIO(data), **flags) as file:
        pages = _pages(file.pages, channels)
        first = pages[0]
        if channels is not None and len(pages) > channels:
            raise ImageError(f"{name}: has more pages of 1 channel than the {channels} channels that are asked for")
        if channels is not None:
            check_channels(int(first.samplesperpixel) * len(pages), channels, name)
        for page in pages:
            _check_page(page, first, data, name, max_bytes // len(pages))
        # (separate samples, 1, height, width, interleaved samples): one of the two numbers of samples is 1
        parts = [page.asarray(squeeze=False, maxworkers=1)[:, 0] for page in pages]
    values = np.concatenate(parts)
    values = np.moveaxis(values[..., 0], 0, 2) if values.shape[3] == 1 else values[0]
    return _upright(values, first.tags.valueof(_ORIENTATION, 1))


def _pages(pages: Any, channels: int | None) -> list[Any]:
    """The first page, or the pages that are a channel each; one too many at most, so that a circle of pages ends."""
    found = [pages[0]]
    while channels is not None and found[0].samplesperpixel == 1 and len(found) <= channels:
        try:
            found.append(pages[len(found)])
        except IndexError:
            break
    return found


def _check_page(page: Any, first: Any, data: bytes, name: str, max_bytes: int) -> None:
    """Refuse a page that is no image or not like the first, or would take more memory than an image may."""
    dtype, shaped = page.dtype, tuple(map(int, page.shaped))
    if dtype is None or dtype.name not in DTYPES or page.photometric not in _AS_STORED:
        kind = f"{page.bitspersample} bits a sample, format {page.sampleformat}, photometric {page.photometric}"
        raise ImageError(f"{name}: can't be read as channels ({kind}); save plain integers or floats")
    if (shaped, dtype) != (first.shaped, first.dtype) or shaped[1] != 1 or min(shaped) < 1:
        raise ImageError(f"{name}: its pages differ in size or kind, or are volumes; save one page with all channels")
    size = math.prod(shaped) * dtype.itemsize
    if size > max_bytes or (page.compression == _NONE and size > len(data)):
        raise ImageError(
            f"{name}: claims {shaped[3]} x {shaped[2]} pixels of {shaped[0] * shaped[4]} channels, "
            "more than it holds or than is decoded; shrink it"
        )
    _check_compression(page, data, name, max_bytes)


def _check_compression(page: Any, data: bytes, name: str, max_bytes: int) -> None:
    """Refuse compressions that can't be undone here, and deflated strips or tiles that would fill the memory."""
    if page.compression == _LZW and importlib.util.find_spec("imagecodecs") is None:
        raise ImageError(f"{name}: compressed with LZW: pip install imagecodecs, or save it with deflate")
    if page.compression not in (_NONE, _LZW, *_DEFLATE):
        raise ImageError(f"{name}: compressed in a way that is not read ({page.compression!r}); save it with deflate")
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    limit = int(rows) * int(columns) * int(page.shaped[4]) * page.dtype.itemsize
    if not 0 < limit <= max_bytes:
        raise ImageError(f"{name}: claims strips or tiles of {columns} x {rows} pixels, more than is decoded")
    if page.compression in _DEFLATE:
        for start, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            if len(zlib.decompressobj().decompress(data[start : start + count], limit + 1)) > limit:
                raise ImageError(f"{name}: a strip or tile of it unpacks to more than it may hold")


def _upright(values: NDArray[Any], orientation: Any) -> NDArray[Any]:
    """Turned as the tag of the orientation says: columns and rows swapped from 5 on, then mirrored."""
    if orientation not in range(2, 9):
        return values
    turned = values.transpose(1, 0, 2) if orientation >= 5 else values
    flips_y, flips_x = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return turned[:: -1 if flips_y else 1, :: -1 if flips_x else 1]
