"""Data sets of made pictures for the tests of the audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from headstart.auditing.comparison import Copy
from headstart.auditing.material import Material
from headstart.data import Dataset, load
from headstart.features.table import FeatureTable

Scene = Callable[..., Image.Image]
MakeMaterial = Callable[..., Material]


@pytest.fixture(scope="session")
def scene() -> Scene:
    """A picture of clouds and edges in colour, another for each seed."""
    return _scene


def _scene(seed: int, width: int = 200, height: int = 160) -> Image.Image:
    rng = np.random.default_rng(seed)
    layers = []
    for side in (4, 9, 20, 45, 90):
        noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        layers.append(np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), float))
    pixels = np.average(layers, axis=0, weights=(3, 3, 2, 2, 1))
    return Image.fromarray(np.clip(1.6 * (pixels - 128) + 128, 0, 255).astype(np.uint8))


@pytest.fixture
def as_dataset(tmp_path: Path) -> Callable[[Mapping[str, Image.Image]], Dataset]:
    """Write pictures under names such as ``train/cat/1.png`` and load them."""

    def write(pictures: Mapping[str, Image.Image]) -> Dataset:
        for name, picture in pictures.items():
            path = tmp_path / "things" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path, **({"quality": 80} if path.suffix == ".jpg" else {}))
        return load(tmp_path / "things")

    return write


@pytest.fixture
def make_material(tmp_path: Path) -> MakeMaterial:
    """What detectors look at, from a table of file, label, split and group, with copies and features as given."""

    def make(
        rows: Sequence[tuple[str, str, str, str]],
        copies: Sequence[Copy] = (),
        features: NDArray[np.float32] | None = None,
        column: str = "label",
    ) -> Material:
        (tmp_path / "t.csv").write_text(
            "\n".join(",".join(row) for row in [("image", column, "split", "group"), *rows])
        )
        for name, *_ in rows:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        found = np.eye(len(rows), dtype=np.float32) if features is None else features
        table = FeatureTable.from_array(found)
        return Material(load(tmp_path / "t.csv"), table, slice(0, found.shape[1]), tuple(copies))

    return make
