"""The one decoder: image bytes of any common format and mode in, RGB uint8 at the wanted size out."""

from headstart.imaging.decoding import DECODE_VERSION, IMAGE_SUFFIXES, MAX_PIXELS, decode, load_view
from headstart.imaging.encoding import encode
from headstart.imaging.preprocessing import Preprocessing

__all__ = ["DECODE_VERSION", "IMAGE_SUFFIXES", "MAX_PIXELS", "Preprocessing", "decode", "encode", "load_view"]
