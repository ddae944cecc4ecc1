"""The time of one image is that of a call with a batch of one, whatever the first calls take."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headstart.backbones.catalogue import find_backbone
from headstart.features.compiling import compile_trunk
from headstart.features.extract import probe_trunk
from headstart.features.latency import latency


class _Slow:
    """A trunk whose calls take so many seconds of a clock of its own; the last time goes on for ever."""

    batch_size = 4
    identity: Any = None

    def __init__(self, *seconds: float) -> None:
        self.trunk = probe_trunk(find_backbone("lite0", size=64))
        self.now, self.batches = 0.0, list[tuple[int, ...]]()
        self._seconds = list(seconds)

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.batches.append(images.shape)
        self.now += self._seconds.pop(0) if len(self._seconds) > 1 else self._seconds[0]
        return np.zeros((len(images), 1), np.float32)


def test_the_first_calls_and_a_stray_one_do_not_count() -> None:
    slow = _Slow(9.0, 9.0, 7.0, 0.01)
    assert latency(slow, clock=lambda: slow.now) == pytest.approx(0.01)
    assert set(slow.batches) == {(1, 64, 64, 3)}


def test_the_measurement_itself_is_short() -> None:
    for seconds, most in ((0.001, 0.3), (0.1, 1.0), (2.0, 10.0)):
        slow = _Slow(seconds)
        assert latency(slow, clock=lambda slow=slow: slow.now) == pytest.approx(seconds)  # type: ignore[misc]
        assert slow.now <= most


@pytest.mark.real
@pytest.mark.usefixtures("warm")
def test_larger_images_take_longer() -> None:
    small, large = (latency(compile_trunk(probe_trunk(find_backbone("lite0", size=size)))) for size in (64, 256))
    assert 0 < small < large < 5
