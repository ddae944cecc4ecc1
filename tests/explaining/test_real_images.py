"""On real images with real weights, what the map shows is what the answer rests on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import headstart
from headstart.explaining.explain import Explainer
from headstart.explaining.neighbours import TrainingImages

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def flowers(shared: Path, tmp_path_factory: pytest.TempPathFactory, warm_cache: Path) -> tuple[Path, list[Path]]:
    """A run on 24 images a class, and 10 other images."""
    folder, others = tmp_path_factory.mktemp("flowers") / "data", []
    for kind in sorted((shared / "data" / "flowers5").iterdir()):
        images = sorted(kind.iterdir())
        (folder / kind.name).mkdir(parents=True)
        for path in images[:24]:
            (folder / kind.name / path.name).symlink_to(path)
        others += images[30:50:10]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(warm_cache))
        patch.setenv("HEADSTART_BUDGET", "1s")
        options = headstart.Options(backbone="lite0", strategy="linear_probe")
        return headstart.fit(folder, options, out=folder.parent / "run").folder, others


@pytest.mark.usefixtures("warm")
def test_the_answer_falls_sooner_along_the_map_than_at_random(flowers: tuple[Path, list[Path]]) -> None:
    run, others = flowers
    explainer = Explainer(headstart.open(run))
    curves = [explainer.deletion(path, one) for path, one in zip(others, explainer.explain(others), strict=True)]
    gains = np.array([curve.random_auc - curve.auc for curve in curves])
    assert gains.mean() > 0.03
    assert (gains > 0).mean() >= 0.6


@pytest.mark.usefixtures("warm")
def test_neighbours_mostly_have_the_class(flowers: tuple[Path, list[Path]]) -> None:
    run, others = flowers
    model = headstart.open(run)
    found = Explainer(model, training=TrainingImages.of_run(run, model)).explain(others, neighbours=3)
    agree = [near.label == path.parent.name for one, path in zip(found, others, strict=True) for near in one.neighbours]
    assert np.mean(agree) > 0.6
