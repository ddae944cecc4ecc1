"""Images in memory are data like any other."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.data import load
from headstart.errors import DataError, ImageError
from headstart.imaging import decode

RNG = np.random.default_rng(0)
ARRAYS = RNG.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)


def test_arrays_and_numbers() -> None:
    dataset = load((ARRAYS, np.array([1, 0, 1, 0])))
    assert dataset.classes == ("0", "1")
    assert dataset.targets.tolist() == [1, 0, 1, 0]
    assert dataset.images == [f"memory://{i}" for i in range(4)]
    assert all(np.array_equal(decode(dataset.read(i), "a"), ARRAYS[i]) for i in range(4))


def test_paths_pictures_and_bytes_together(tmp_path: Path) -> None:
    Image.fromarray(ARRAYS[0]).save(tmp_path / "a.png")
    buffer = BytesIO()
    Image.fromarray(ARRAYS[1]).save(buffer, "PNG")
    images = ["a.png", buffer.getvalue(), Image.fromarray(ARRAYS[2]), ARRAYS[3]]
    dataset = load((images, ["x", "y", "x", "y"]), root=tmp_path)
    assert dataset.files == ["a.png", "memory://1", "memory://2", "memory://3"]
    assert all(np.array_equal(decode(dataset.read(i), "a"), ARRAYS[i]) for i in range(4))


def test_lists_of_labels() -> None:
    dataset = load((list(ARRAYS), [["a", "b"], [], ("b",), {"a"}]))
    assert dataset.task == "multilabel"
    assert dataset.targets.tolist() == [[True, True], [False, False], [False, True], [True, False]]


def test_equal_arrays_are_duplicates() -> None:
    dataset = load(([*ARRAYS, ARRAYS[0]], list("xyxyx")))
    assert [(entry.file, entry.kind) for entry in dataset.left_out] == [("memory://4", "duplicate")]


def test_what_does_not_fit() -> None:
    with pytest.raises(DataError, match="4 images, but 3 labels"):
        load((ARRAYS, [1, 2, 3]))
    with pytest.raises(DataError, match="no label in row 2"):
        load((ARRAYS, ["x", "", "y", "x"]))
    with pytest.raises(DataError, match=r"no\.jpg \(row 2\)"):
        load(([ARRAYS[0], "no.jpg"], ["x", "y"]))
    with pytest.raises(ImageError, match="image 1: an array of dtype int64"):
        load(([ARRAYS[0], ARRAYS[1].astype(int)], ["x", "y"]))
