"""Thumbnails: drawn once, whole whatever the shape, and what can't be decoded is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.auditing.thumbnails import SIDE, thumbnails_of
from headstart.data import Dataset
from headstart.runs import SilentProgress

AsDataset = Callable[[Mapping[str, Image.Image]], Dataset]
Scene = Callable[..., Image.Image]


def test_they_are_drawn_once_and_then_read_from_the_store(
    scene: Scene, as_dataset: AsDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = as_dataset({f"{kind}/{n}.png": scene(n + 10 * (kind == "b"), 90, 50) for kind in "ab" for n in range(3)})
    first = thumbnails_of(dataset, SilentProgress(), print)
    monkeypatch.setattr(Dataset, "read", lambda self, row: pytest.fail("read again"))
    second = thumbnails_of(dataset, SilentProgress(), print)
    rows = np.arange(6)
    np.testing.assert_array_equal(first.pictures(rows), second.pictures(rows))
    np.testing.assert_array_equal(second.shorter_sides(), [50] * 6)
    assert first.pictures(rows[[4]]).shape == (1, SIDE, SIDE)
    wanted = np.asarray(scene(11, 90, 50).convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)
    np.testing.assert_array_equal(first.pictures(rows[[4]])[0], wanted)


def test_what_cannot_be_decoded_is_black_and_named(scene: Scene, as_dataset: AsDataset) -> None:
    dataset = as_dataset({f"{kind}/{n}.png": scene(n + 10 * (kind == "b")) for kind in "ab" for n in range(2)})
    broken = dataset.files.index("b/0.png")
    path = Path(dataset.images[broken])
    path.write_bytes(path.read_bytes()[:200])
    found = thumbnails_of(dataset, SilentProgress(), print)
    assert list(found.failures) == [broken]
    assert "b/0.png" in found.failures[broken]
    assert found.shorter_sides()[broken] == 0
    assert not found.pictures(np.array([broken])).any()
    assert found.pictures(np.array([broken - 1])).any()
