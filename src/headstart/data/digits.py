"""The data of ``headstart demo``: scikit-learn's handwritten digits (Alpaydin and Kaynak 1998) as an image folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from headstart.files import cache_root, clear_storage_errors, replacing


def digits_folder() -> Path:
    """1,797 grey images of 8 × 8 pixels in ten folders, written to the cache once.

    Raises
    ------
    StorageError
        If the cache can't be written.
    """
    folder = cache_root() / "demo" / "digits"
    if folder.is_dir():
        return folder
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    with clear_storage_errors(folder), replacing(folder) as temporary:
        for digit in range(10):
            (temporary / str(digit)).mkdir(parents=True)
        for number, (image, digit) in enumerate(zip(pixels, digits.target, strict=True)):
            Image.fromarray(image).save(temporary / str(digit) / f"{number:04d}.png")
    return folder
