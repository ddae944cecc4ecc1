"""One image's bytes to what the graph takes, refused with a status where that can't or should not be done."""

from __future__ import annotations

from headstart.errors import ImageError, MissingExtraError
from headstart.imaging.arrays import is_array
from headstart.imaging.decoding import decoding_errors, identify
from headstart.imaging.tiffs import is_tiff
from headstart.runtime import Model
from headstart.runtime.session import Images
from headstart.serving.memory import Share
from headstart.serving.payloads import Sent
from headstart.serving.refusals import RefusedError


def prepare(model: Model, sent: Sent, pixels: int, share: Share) -> Images:
    """Check an image by its header, then decode it; meant for a thread of its own.

    Parameters
    ----------
    pixels:
        Images that claim more are not decoded.
    share:
        Holds the decoded image's bytes.

    Returns
    -------
    numpy.ndarray
        uint8 (height, width, channels), as :meth:`headstart.runtime.Model.prepare` gives it.

    Raises
    ------
    RefusedError
        415 for what is no image that is read here, 413 for too many pixels, 422 for a broken one.
    """
    claimed = _claimed_pixels(sent)
    if claimed > pixels:
        message = f"{sent.name}: claims {claimed} pixels, more than the {pixels} that are taken; shrink it"
        raise RefusedError(413, "too_many_pixels", message)
    try:
        image = model.prepare(sent.data, sent.name)
    except ImageError as error:
        raise RefusedError(422, "broken_image", str(error)) from None
    except MissingExtraError as error:
        raise RefusedError(415, "unsupported_image", str(error)) from None
    share.grow(image.nbytes)
    return image


def _claimed_pixels(sent: Sent) -> int:
    """Width times height by the header; 0 where the size is that of the bytes, or the decoder checks it itself."""
    if not sent.data:
        raise RefusedError(422, "broken_image", f"{sent.name}: it is empty")
    if is_array(sent.data):
        return 0
    try:
        with decoding_errors(sent.name):
            try:
                width, height = identify(sent.data, sent.name).size
            except SyntaxError:
                if is_tiff(sent.data):  # of more channels than Pillow knows
                    return 0
                raise
    except MissingExtraError as error:
        raise RefusedError(415, "unsupported_image", str(error)) from None
    except ImageError as error:
        known = error.__cause__ is not None  # a reader knew it, and failed on it
        status, code = (422, "broken_image") if known else (415, "unsupported_image")
        raise RefusedError(status, code, str(error)) from None
    return int(width) * int(height)
