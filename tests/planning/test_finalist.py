"""What is saved of an average answers as the average was judged."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headstart
from headstart.artifact.saved import read_model, write_model
from headstart.backbones.catalogue import find_backbone
from headstart.data import resolve
from headstart.errors import ArtifactError, OptionError
from headstart.export.source import Source
from headstart.features.compiling import compile_trunk
from headstart.features.extract import probe_trunk
from headstart.planning.climbing import Averaged, Climb
from headstart.planning.finalist import of_climb, of_probes, save
from headstart.planning.fine_tuning import Site
from headstart.planning.ladder import candidates, climb
from headstart.planning.options import Options
from headstart.runs import Run, SilentProgress, Stopwatch
from headstart.training.gathering import examples_of, extract_all

pytestmark = pytest.mark.usefixtures("warm")
WEIGHTS = {"prototype": 0.3, "linear_probe": 0.7}


@pytest.fixture
def averaged(digits: Path, tmp_path: Path) -> Any:
    """A run with a model that averages a probe and class means, and the probabilities that its test rows should get."""
    backbone = find_backbone("bundled/tf_efficientnet_lite0")
    compiled = compile_trunk(probe_trunk(backbone), engine="auto", say=print)
    dataset, table = extract_all(headstart.load(digits), compiled, SilentProgress(), print)
    dataset, protocol = resolve(dataset, test=0.2, seed=0)
    examples = examples_of(dataset, table, compiled.trunk.columns, protocol, 0)
    strategies = candidates("auto", examples, "accuracy")
    climbed = climb(strategies, examples, metric="accuracy", cut=compiled.trunk.stop, seed=0)
    with Run.create(tmp_path / "run", "digits", {}, seed=0) as run:
        site = Site(run, dataset, backbone, examples, climbed, False, SilentProgress(), print, lambda: False)
        single = of_probes(climbed, compiled, site)
        average = Averaged(WEIGHTS, {}, single.validation, None)
        found = of_climb(Climb(None, climbed, climbed.record, None, average), compiled, site, Stopwatch())
        save(found, site, Options())
    places = np.flatnonzero(dataset.splits == "test")
    parts = {name: of_probes(climbed.choosing(name), compiled, site).predict(places) for name in WEIGHTS}
    return tmp_path / "run" / "model", dataset, places, parts, found


def test_a_saved_average_answers_with_the_weighted_mean(averaged: Any) -> None:
    folder, dataset, places, parts, found = averaged
    expected = sum(WEIGHTS[name] * parts[name] for name in WEIGHTS)
    np.testing.assert_allclose(found.predict(places), expected, atol=1e-12)
    model = headstart.open(folder)
    images = [dataset.read(place) for place in places.tolist()]
    np.testing.assert_allclose(model.predict_proba(images), expected, atol=1e-9)
    answers = model.predict(images)
    assert [answer.label for answer in answers] == [dataset.classes[row] for row in expected.argmax(1)]
    assert model.record.strategy == "linear_probe"  # the heaviest
    assert [(member.strategy, member.weight) for member in model.record.members] == [("prototype", 0.3)]
    assert model.predict_proba([]).shape == (0, 3)
    with pytest.raises(OptionError, match="averages 2 networks"):
        Source.open(folder)


def test_weights_that_are_no_shares_are_refused(averaged: Any) -> None:
    folder, *_ = averaged
    saved = read_model(folder)
    for weight in (0.0, 1.0, -0.2):
        member = dataclasses.replace(saved.record.members[0], weight=weight)
        write_model(folder, dataclasses.replace(saved, record=dataclasses.replace(saved.record, members=(member,))))
        with pytest.raises(ArtifactError, match="no shares"):
            read_model(folder)
