"""What an image file says of itself, once it has been decoded whole."""

from __future__ import annotations

from dataclasses import dataclass

from headstart.imaging.decoding import MAX_PIXELS, decoding_errors, identify
from headstart.errors import ImageError

_ORIENTATION = 0x0112


@dataclass(frozen=True)
class ImageFacts:
    """Format and mode in Pillow's words (``JPEG``, ``RGB``), size in pixels as stored, and EXIF orientation (1 to 8)."""

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
        image = identify(data, name)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ImageError(f"{name}: claims {width} x {height} pixels; shrink it")
        facts = ImageFacts(image.format or "", image.mode, width, height, image.getexif().get(_ORIENTATION, 1))
        image.draft(None, (1, 1))  # a JPEG at an eighth: every byte is still read
        image.load()
        return facts
