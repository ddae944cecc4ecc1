"""A model of flowers to export, and what it says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import headstart
from headstart.export import parity
from headstart.export.parity import Reference, reference_of
from headstart.export.rows import development_of
from headstart.export.source import Source
from headstart.runs import find_run

IMAGES_A_CLASS = 42


@pytest.fixture(scope="session")
def flowers(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """210 photographs of five kinds of flower: few enough that all of them are development rows."""
    folder = tmp_path_factory.mktemp("data") / "flowers"
    for kind in sorted((shared / "data" / "flowers5").iterdir()):
        (folder / kind.name).mkdir(parents=True)
        for image in sorted(kind.iterdir())[:IMAGES_A_CLASS]:
            shutil.copy(image, folder / kind.name)
    return folder


@pytest.fixture(scope="session")
def flowers_run(flowers: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A probe on all stages of the flowers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(warm_cache))
        patch.setenv("HEADSTART_BUDGET", "1s")
        options = headstart.Options(strategy="linear_probe_all_stages")
        return headstart.fit(flowers, options, out=tmp_path_factory.mktemp("run") / "flowers").folder


@pytest.fixture(scope="session")
def source(flowers_run: Path) -> Source:
    return Source.open(flowers_run)


@pytest.fixture(scope="session")
def reference(source: Source, flowers_run: Path) -> Reference:
    """What the model says about seventy of them."""
    rows = development_of(find_run(flowers_run), source.saved.record.classes, None, None).to_compare()
    return reference_of(source.in_float32(), rows.select(range(0, len(rows), 3)))


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is timed."""
    monkeypatch.setattr(parity, "BATCHES", ())
