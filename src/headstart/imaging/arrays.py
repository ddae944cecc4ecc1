"""NumPy's ``.npy`` files as images of any number of channels; their headers are checked before a byte is taken."""

from __future__ import annotations

import math
from io import BytesIO
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from headstart.errors import ImageError
from headstart.imaging.channels import check_channels, stand_for

MAGIC = b"\x93NUMPY"

DTYPES = ("uint8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64")
"""What the values of an image may be, in any byte order."""

# NumPy writes 128 bytes for an image. Its parser is safe from code, but nested brackets of any depth could exhaust it.
_MAX_HEADER = 1024


def is_array(data: bytes) -> bool:
    """Whether the bytes start as a ``.npy`` file does."""
    return data[: len(MAGIC)] == MAGIC


def read_array(data: bytes, name: str, channels: int | None, max_bytes: int) -> NDArray[Any]:
    """The values of a ``.npy`` file, (height, width, channels), without a copy.

    Parameters
    ----------
    channels:
        How many are asked for; ``None`` takes what there is. An array of two axes is grey. Of three axes the last are
        the channels; where only the first has a number that fits, the first. Without a number to fit it is the shorter
        of the two.
    max_bytes:
        Arrays that claim more are refused.

    Raises
    ------
    ImageError
        If the array is no image, of another dtype than ``DTYPES`` (objects are refused unread: they would need pickle,
        which runs code), has another number of channels, claims more than ``max_bytes``, or is not as long as it
        claims.
    """
    shape, is_fortran, dtype, start = _header(data, name)
    if dtype.kind not in "uif" or dtype.name not in DTYPES:
        raise ImageError(f"{name}: an array of dtype {dtype} is no image; save it as one of {', '.join(DTYPES)}")
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ImageError(f"{name}: an array of shape {shape} is no image; save it as (height, width, channels)")
    size = math.prod(shape) * dtype.itemsize
    if size > max_bytes:
        raise ImageError(f"{name}: claims the shape {shape}, over the {max_bytes >> 20} MB that are read; shrink it")
    if len(data) - start != size:
        raise ImageError(f"{name}: has {len(data) - start} bytes of values where {shape} of {dtype} has {size}")
    flat = np.frombuffer(data, dtype, offset=start)
    values = _channels_last(flat.reshape(shape[::-1]).T if is_fortran else flat.reshape(shape), channels)
    if channels is not None:
        check_channels(values.shape[2], channels, name)
    return values


def array_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """A ``.npy`` file that :func:`read_array` reads; equal pixels give equal bytes."""
    buffer = BytesIO()
    npy.write_array(buffer, np.ascontiguousarray(pixels), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _header(data: bytes, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether the first axis runs fastest, dtype, and where the values start."""
    file = BytesIO(data)
    version = npy.read_magic(file)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:  # the third is for field names, which images don't have
        raise ImageError(f"{name}: a .npy file of version {version}, which is not for images; save it with numpy.save")
    shape, is_fortran, dtype = readers[version](file, max_header_size=_MAX_HEADER)
    return shape, is_fortran, dtype, file.tell()


def _channels_last(array: NDArray[Any], channels: int | None) -> NDArray[Any]:
    if array.ndim == 2:
        return array[:, :, None]
    first, last = array.shape[0], array.shape[2]
    for number in stand_for(channels) if channels else ():
        if last == number:
            return array
        if first == number:
            return np.moveaxis(array, 0, 2)
    return array if last <= first else np.moveaxis(array, 0, 2)
