"""The one decoder: image bytes of any common format and mode in, uint8 of the wanted size and channels out."""

from headstart.imaging.decoding import (
    ARRAY_SUFFIXES,
    DECODE_VERSION,
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    decode,
    load_view,
    load_whole,
    preview,
    seen_box,
)
from headstart.imaging.encoding import encode
from headstart.imaging.preprocessing import MAX_CHANNELS, Preprocessing
from headstart.imaging.reading import read_image_file

__all__ = [
    "ARRAY_SUFFIXES",
    "DECODE_VERSION",
    "IMAGE_SUFFIXES",
    "MAX_CHANNELS",
    "MAX_PIXELS",
    "Preprocessing",
    "decode",
    "encode",
    "load_view",
    "load_whole",
    "preview",
    "read_image_file",
    "seen_box",
]
