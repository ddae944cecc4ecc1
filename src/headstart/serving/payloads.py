"""The images in a request's body: raw bytes, multipart/form-data, or JSON with base64."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from headstart.serving.refusals import RefusedError

RAW, JSON, MULTIPART = "application/octet-stream", "application/json", "multipart/form-data"

_LONGEST_NAME = 200


@dataclass(frozen=True)
class Sent:
    """One image as it came: what the answer calls it, and its bytes."""

    name: str
    data: bytes


def images_of(content_type: str, body: bytes, most: int) -> list[Sent]:
    """The images in a body.

    Parameters
    ----------
    content_type:
        The header; where it is empty the body is one image.
    most:
        More images are refused.

    Raises
    ------
    RefusedError
        400 for a body that is not what its type says, 413 for too many images, 415 for another type.
    """
    kind, options = parse_options_header(content_type.encode("latin-1", "replace")[:1000])
    kind = kind.strip().lower()
    if kind in (b"", RAW.encode()) or kind.startswith(b"image/"):
        images = [Sent("image 0", body)] if body else []
    elif kind == JSON.encode():
        images = _of_json(body, most)
    elif kind == MULTIPART.encode():
        images = _of_multipart(options.get(b"boundary", b""), body, most)
    else:
        shown = kind.decode("latin-1")[:100]
        message = f"bodies of type {shown!r} are not read: send image/*, {RAW}, {MULTIPART} or {JSON}"
        raise RefusedError(415, "unsupported_type", message)
    if not images:
        raise RefusedError(400, "no_image", "there is no image in the request")
    return images


def _of_json(body: bytes, most: int) -> list[Sent]:
    try:
        plain = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(400, "malformed_json", 'the body is not JSON: send {"images": [base64, ...]}') from None
    if not isinstance(plain, dict) or set(plain) != {"images"} or not isinstance(plain["images"], list):
        raise RefusedError(400, "malformed_json", 'the body must be {"images": [base64, ...]}')
    if len(plain["images"]) > most:
        raise _too_many(most)
    return [Sent(f"image {number}", _decoded(text, number)) for number, text in enumerate(plain["images"])]


def _decoded(text: Any, number: int) -> bytes:
    if not isinstance(text, str):
        raise RefusedError(400, "malformed_json", f"image {number} must be a string of base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError(400, "malformed_base64", f"image {number} is not base64") from None


def _of_multipart(boundary: bytes, body: bytes, most: int) -> list[Sent]:
    parts = _Parts(most)
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise _malformed("the body is not multipart/form-data with the boundary that the header names") from None
    if not parts.ended:
        raise _malformed("the body ends before its last boundary")
    return parts.images


class _Parts:
    """Gathers the parts of a multipart body as the parser finds them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.images: list[Sent] = []
        self.ended = False
        self._field, self._value, self._disposition, self._data = bytearray(), bytearray(), b"", bytearray()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_part_data": lambda data, start, end: self._data.extend(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._all,
        }

    def _begin(self) -> None:
        if len(self.images) == self._most:
            raise _too_many(self._most)
        self._disposition, self._data = b"", bytearray()

    def _header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._field, self._value = bytearray(), bytearray()

    def _end(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data":
            raise _malformed("a part of the body is not form-data")
        name = options.get(b"filename", b"").decode("utf-8", "replace")
        shown = "".join(letter for letter in name if letter.isprintable())[:_LONGEST_NAME]
        self.images.append(Sent(shown or f"image {len(self.images)}", bytes(self._data)))

    def _all(self) -> None:
        self.ended = True


def _malformed(message: str) -> RefusedError:
    return RefusedError(400, "malformed_multipart", message)


def _too_many(most: int) -> RefusedError:
    return RefusedError(413, "too_many_images", f"more than the {most} images that a request may have")
