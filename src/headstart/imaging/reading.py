"""The bytes of an image file, where nothing that could block or fill the memory is read."""

from __future__ import annotations

import stat
from pathlib import Path

from headstart.errors import ImageError

MAX_BYTES = 256 * 2**20
"""Files that are larger are not read: no photograph is, and a zip's member may unpack to a thousand times its size."""


def read_image_file(image: str | Path) -> bytes:
    """The bytes of one image file; nothing that could block or fill the memory is read.

    Raises
    ------
    ImageError
        If it is missing, no regular file (a pipe, a device), larger than ``MAX_BYTES``, or can't be read.
    """
    path = Path(image)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{image}: can't be read (not a regular file)")
        if status.st_size > MAX_BYTES:
            raise ImageError(f"{image}: {megabytes(status.st_size)}, more than is read of an image")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ImageError(f"{image}: can't be read ({getattr(error, 'strerror', None) or error})") from error


def megabytes(size: int) -> str:
    """A number of bytes in words."""
    return f"{size / 2**20:.0f} MB"
