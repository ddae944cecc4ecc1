"""What an image file says of itself, once it has been decoded whole."""

from __future__ import annotations

from dataclasses import dataclass

from headstart.imaging.arrays import is_array
from headstart.imaging.decoding import decoding_errors, identify, needs_planes, read_planes
from headstart.imaging.modes import orientation


@dataclass(frozen=True)
class ImageFacts:
    """Format and mode in Pillow's words (``JPEG``, ``RGB``), size in pixels, and EXIF orientation (1 is upright).

    Size and orientation are as stored, save for TIFF, whose reader turns the image itself. What Pillow has no words for
    is of format ``NPY`` or ``TIFF`` and of a mode like ``13 x uint16``: channels and the dtype of their values.
    """

    format: str
    mode: str
    width: int
    height: int
    orientation: int


def image_facts(data: bytes, name: str) -> ImageFacts:
    """Decode an image at the least cost and say what it is.

    Raises
    ------
    ImageError, MissingExtraError
        As :func:`headstart.imaging.decode` does.
    """
    with decoding_errors(name):
        if needs_planes(data, name):
            values = read_planes(data, name)
            height, width, channels = values.shape
            return ImageFacts("NPY" if is_array(data) else "TIFF", f"{channels} x {values.dtype}", width, height, 1)
        image = identify(data, name)
        mode, (width, height) = image.mode, image.size
        image.draft(None, (1, 1))  # a JPEG at an eighth: every byte is still read
        image.load()
        return ImageFacts(image.format or "", mode, width, height, orientation(image))
