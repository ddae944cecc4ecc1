"""Extraction: through the store, in order, with failures listed, and the same after a second call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from headstart.backbones.backbone import Segment
from headstart.backbones.bundled import BundledBackbone
from headstart.errors import ImageError
from headstart.features.engine import EngineIdentity
from headstart.features.extract import CLEAN, embed, extract, row_context
from headstart.features.store import Store
from headstart.files import sha256
from headstart.imaging import Preprocessing, encode, load_view
from headstart.records import to_json
from headstart.runs import SilentProgress


class MeanTrunk:
    """A trunk that is cheap to run: every number of its row is the image's mean."""

    batch_size = 4

    def __init__(self) -> None:
        self.trunk: Segment = BundledBackbone("tf_efficientnet_lite0").trunk(9)
        self.identity = EngineIdentity("openvino", "0", "f32", "cpu")
        self.images = 0

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.images += len(images)
        means = images.reshape(len(images), -1).mean(1, dtype=np.float64).astype(np.float32)
        return np.repeat(means[:, None], self.trunk.width, 1)


@pytest.fixture
def images() -> list[bytes]:
    return [encode(np.full((16, 16), 5 * i, np.uint8)) for i in range(23)]


def _extract(
    images: list[bytes], compiled: MeanTrunk, root: Path
) -> tuple[npt.NDArray[np.float32], dict[int, str], int]:
    names = [f"{i}.png" for i in range(len(images))]
    with Store(root, limit_bytes=10**9, say=pytest.fail) as store:
        found = extract(images.__getitem__, names, [sha256(x) for x in images], compiled, store, SilentProgress())
        return found.table.array(dtype=np.float32)[:, 0], found.failures, found.computed


def test_rows_come_in_order_and_are_computed_once(images: list[bytes], tmp_path: Path) -> None:
    compiled = MeanTrunk()
    rows, failures, computed = _extract(images, compiled, tmp_path)
    np.testing.assert_array_equal(rows, [5 * i for i in range(23)])
    assert (failures, computed) == ({}, 23)
    again, _, computed = _extract([images[3], *images], compiled, tmp_path)
    np.testing.assert_array_equal(again, [15, *(5 * i for i in range(23))])
    assert computed == 0
    assert compiled.images == 23


def test_new_images_cost_only_themselves(images: list[bytes], tmp_path: Path) -> None:
    compiled = MeanTrunk()
    _extract(images[:20], compiled, tmp_path)
    _extract(images, compiled, tmp_path)
    assert compiled.images == 23


def test_broken_images_are_listed_by_position_also_where_their_bytes_repeat(
    images: list[bytes], tmp_path: Path
) -> None:
    images[2] = images[7] = b"not an image"
    rows, failures, _ = _extract(images, MeanTrunk(), tmp_path)
    assert set(failures) == {2, 7}
    assert "2.png" in failures[2]
    np.testing.assert_array_equal(rows, [5 * i for i in range(23) if i not in (2, 7)])


def test_an_image_that_is_gone_since_is_named_where_all_are_needed(images: list[bytes], tmp_path: Path) -> None:
    names, hashes = [f"{i}.png" for i in range(23)], [sha256(x) for x in images]

    def read(row: int) -> bytes:
        if row == 4:
            raise ImageError("4.png: gone")
        return images[row]

    with Store(tmp_path, limit_bytes=10**9, say=pytest.fail) as store:
        found = extract(read, names, hashes, MeanTrunk(), store, SilentProgress())
        with pytest.raises(ImageError, match=r"4\.png: gone \(it could be decoded before\)"):
            found.whole()
        found = extract(images.__getitem__, names, hashes, MeanTrunk(), store, SilentProgress())
        assert found.whole() is found.table


def test_an_interrupted_extraction_keeps_what_it_computed(images: list[bytes], tmp_path: Path) -> None:
    class Interrupted(MeanTrunk):
        def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            if self.images >= 12:
                raise KeyboardInterrupt
            return super().__call__(images)

    with pytest.raises(KeyboardInterrupt):
        _extract(images, Interrupted(), tmp_path)
    compiled = MeanTrunk()
    rows, _, computed = _extract(images, compiled, tmp_path)
    np.testing.assert_array_equal(rows, [5 * i for i in range(23)])
    assert 0 < computed < 23


def test_other_weights_are_another_context(images: list[bytes], tmp_path: Path) -> None:
    first, second = MeanTrunk(), MeanTrunk()
    second.trunk.backbone.weights_sha256 = "0" * 64
    _extract(images, first, tmp_path)
    _extract(images, second, tmp_path)
    assert second.images == 23


def test_a_view_is_a_context_of_its_own_and_shapes_the_pixels(images: list[bytes], tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Negative:
        name: str = "negative"

        def load(self, data: bytes, preprocessing: Preprocessing, name: str) -> npt.NDArray[np.uint8]:
            return 255 - load_view(data, preprocessing, name)

    compiled, names, hashes = MeanTrunk(), [str(i) for i in range(23)], [sha256(x) for x in images]
    assert row_context(compiled) == row_context(compiled, CLEAN) != row_context(compiled, Negative())
    with Store(tmp_path, limit_bytes=10**9, say=pytest.fail) as store:
        for view, sign, offset in [(CLEAN, 5, 0), (Negative(), -5, 255), (CLEAN, 5, 0), (Negative(), -5, 255)]:
            found = extract(images.__getitem__, names, hashes, compiled, store, SilentProgress(), view=view)
            np.testing.assert_array_equal(found.table.array()[:, 0], offset + sign * np.arange(23))
    assert compiled.images == 46


def test_embed_without_a_store_gives_every_position_once(images: list[bytes]) -> None:
    def read(row: int) -> bytes:
        if row == 4:
            raise ImageError("4.png: gone")
        return images[row]

    seen, failed = [], {}
    for positions, rows, failures in embed(read, [str(i) for i in range(23)], MeanTrunk()):
        assert len(positions) == len(rows)
        seen += positions
        failed |= failures
    assert seen == [i for i in range(23) if i != 4]
    assert failed == {4: "4.png: gone"}


def test_sizes_and_channels_are_contexts_of_their_own() -> None:
    contexts = set()
    for size, channels in [(None, 3), (None, 1), (64, 3), (64, 5)]:
        compiled = MeanTrunk()
        compiled.trunk = BundledBackbone("tf_efficientnet_lite0", size=size, channels=channels).trunk(9)
        contexts.add(to_json(row_context(compiled)))
    assert len(contexts) == 4


def test_images_of_many_channels_are_extracted_and_others_listed(images: list[bytes], tmp_path: Path) -> None:
    compiled = MeanTrunk()
    compiled.trunk = BundledBackbone("tf_efficientnet_lite0", size=32, channels=5).trunk(9)
    many = [encode(np.full((16, 16, 5), 5 * i, np.uint8)) for i in range(23)]
    many[4] = images[4]
    rows, failures, _ = _extract(many, compiled, tmp_path)
    np.testing.assert_array_equal(rows, [5 * i for i in range(23) if i != 4])
    assert failures == {4: "4.png: has 1 channel, but 5 are asked for; --channels 3 takes it"}
