"""What the loop reads: right rows in order, computed once, found again, and no work left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from headstart.backbones.backbone import Segment
from headstart.backbones.bundled import BundledBackbone
from headstart.errors import ImageError
from headstart.features.engine import EngineIdentity
from headstart.features.store import Store
from headstart.files import sha256
from headstart.imaging import encode
from headstart.training.finetuning.augmentation import Augmenter
from headstart.training.finetuning.views import CachedViews, OnlineViews, TrainingImages

SHAPE = (320, 1, 1)


class CornerTrunk:
    """A trunk to the boundary before the last stage whose rows hold the view's top left value."""

    batch_size = 4

    def __init__(self) -> None:
        self.trunk: Segment = BundledBackbone("tf_efficientnet_lite0", size=32).trunk(8)
        self.identity = EngineIdentity("openvino", "0", "f32", "cpu")
        self.images = 0
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        assert self.gate.wait(10)
        self.images += len(images)
        return np.repeat(images[:, 0, 0, :1].astype(np.float32), self.trunk.width, axis=1)


def _bytes(number: int) -> bytes:
    ramp = np.arange(40, dtype=np.uint8)[None, :] + np.uint8(5 * number)
    return encode(np.repeat(ramp, 40, axis=0))


@pytest.fixture
def images() -> TrainingImages:
    data = [_bytes(number) for number in range(21)]
    return TrainingImages(data.__getitem__, [f"{i}.png" for i in range(21)], [sha256(x) for x in data])


@pytest.fixture
def open_store(tmp_path: Path) -> Callable[[], Store]:
    return lambda: Store(tmp_path, limit_bytes=10**9, say=pytest.fail)


def _augmenter(compiled: CornerTrunk) -> Augmenter:
    return Augmenter("light", compiled.trunk.backbone.preprocessing, seed=0)


def _expected(images: TrainingImages, augmenter: Augmenter, rows: list[int], number: int) -> npt.NDArray[np.uint8]:
    return np.stack([augmenter.load(images.read(row), "x", number) for row in rows])


def test_batches_are_the_boundary_of_the_asked_rows_and_view(
    images: TrainingImages, open_store: Callable[[], Store]
) -> None:
    compiled = CornerTrunk()
    augmenter, rows = _augmenter(compiled), [7, 0, 20, 7]
    with CachedViews(images, compiled, augmenter, kept=2, open_store=open_store) as views:
        for number in (0, 1):
            views.start_epoch(number, np.arange(21), 4)
            batch = views.batch(np.array(rows), number)
            corners = _expected(images, augmenter, rows, number)[:, 0, 0, 0]
            assert (batch.shape, batch.dtype) == ((4, *SHAPE), np.float32)
            np.testing.assert_array_equal(batch, np.broadcast_to(corners[:, None, None, None], batch.shape))
    assert compiled.images == 42


def test_views_are_found_again_and_prefetched_ones_are_not_computed_twice(
    images: TrainingImages, open_store: Callable[[], Store]
) -> None:
    compiled = CornerTrunk()
    for _ in range(2):
        with CachedViews(images, compiled, _augmenter(compiled), kept=1, open_store=open_store) as views:
            for number in range(4):
                if number < 3:
                    views.prefetch(number + 1)
                    views.prefetch(number + 1)
                views.start_epoch(number, np.arange(21), 4)
                views.batch(np.arange(21), number)
    assert compiled.images == 4 * 21


def test_views_in_use_stay_though_the_store_holds_next_to_nothing(images: TrainingImages, tmp_path: Path) -> None:
    compiled = CornerTrunk()

    def open_store() -> Store:
        return Store(tmp_path, limit_bytes=1, say=pytest.fail)

    with CachedViews(images, compiled, _augmenter(compiled), kept=2, open_store=open_store) as views:
        first = views.batch(np.arange(21), 0)
        views.batch(np.arange(21), 1)
        np.testing.assert_array_equal(views.batch(np.arange(21), 0), first)
        assert compiled.images == 42
        assert open_store().stats().rows == 42
        views.batch(np.arange(21), 2)  # lets view 0 go
        assert open_store().stats().rows <= 63
        open_store().prune()
        assert open_store().stats().rows == 42
        np.testing.assert_array_equal(views.batch(np.arange(21), 0), first)
    assert compiled.images == 4 * 21


def test_an_error_of_the_background_reaches_whoever_waits_for_the_view(open_store: Callable[[], Store]) -> None:
    def read(row: int) -> bytes:
        if row == 2:
            raise ImageError("2.png: gone")
        return _bytes(row)

    compiled = CornerTrunk()
    images = TrainingImages(read, [f"{i}.png" for i in range(5)], [sha256(_bytes(i)) for i in range(5)])
    with CachedViews(images, compiled, _augmenter(compiled), kept=1, open_store=open_store) as views:
        views.prefetch(0)
        with pytest.raises(ImageError, match=r"2\.png: gone .*decoded before"):
            views.table(0)


def test_closing_ends_the_background_work_early_and_keeps_what_was_computed(
    images: TrainingImages, open_store: Callable[[], Store]
) -> None:
    compiled, reads = CornerTrunk(), []
    started = threading.Event()

    def read(row: int) -> bytes:
        reads.append(row)
        started.set()
        time.sleep(0.02)
        return images.read(row)

    slow = TrainingImages(read, images.names, images.hashes)
    with CachedViews(slow, compiled, _augmenter(compiled), kept=1, open_store=open_store) as views:
        for number in range(3):
            views.prefetch(number)
        assert started.wait(10)
    assert len(reads) < 21
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("views")]
    with CachedViews(images, compiled, _augmenter(compiled), kept=1, open_store=open_store) as views:
        views.table(0)
    assert compiled.images == 21


def test_the_background_works_while_the_loop_reads(images: TrainingImages, open_store: Callable[[], Store]) -> None:
    compiled = CornerTrunk()
    with CachedViews(images, compiled, _augmenter(compiled), kept=1, open_store=open_store) as views:
        views.start_epoch(0, np.arange(21), 4)
        compiled.gate.clear()
        views.prefetch(1)
        assert views.batch(np.arange(4), 0).shape == (4, *SHAPE)
        compiled.gate.set()
        views.start_epoch(1, np.arange(21), 4)


@pytest.mark.parametrize("threads", [1, 3])
def test_online_batches_are_the_views_themselves_in_and_out_of_order(images: TrainingImages, threads: int) -> None:
    augmenter = _augmenter(CornerTrunk())
    order = np.random.default_rng(0).permutation(21)
    with OnlineViews(images, augmenter, threads=threads) as views:
        for number in (3, 4):
            views.start_epoch(number, order, 4)
            views.prefetch(number + 1)
            for start in range(0, 21, 4):
                rows = order[start : start + 4]
                np.testing.assert_array_equal(
                    views.batch(rows, number), _expected(images, augmenter, rows.tolist(), number)
                )
                other = np.array([start % 21])
                np.testing.assert_array_equal(
                    views.batch(other, number), _expected(images, augmenter, other.tolist(), number)
                )


def test_online_views_read_no_further_ahead_than_they_should_and_stop(images: TrainingImages) -> None:
    reads: list[int] = []

    def read(row: int) -> bytes:
        reads.append(row)
        return images.read(row)

    counted = TrainingImages(read, images.names, images.hashes)
    with OnlineViews(counted, _augmenter(CornerTrunk()), threads=1, ahead=2) as views:
        views.start_epoch(0, np.arange(21), 3)
        views.batch(np.arange(3), 0)
        time.sleep(0.2)
        assert len(reads) <= 9
        views.start_epoch(1, np.arange(21), 3)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("online-views")]


def test_an_online_image_that_is_gone_is_named(images: TrainingImages) -> None:
    def read(row: int) -> bytes:
        raise ImageError(f"{row}.png: gone")

    with OnlineViews(TrainingImages(read, images.names, images.hashes), _augmenter(CornerTrunk())) as views:
        views.start_epoch(0, np.arange(21), 4)
        with pytest.raises(ImageError, match=r"0\.png: gone"):
            views.batch(np.arange(4), 0)
