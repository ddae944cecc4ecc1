"""Backbones race on ever more development rows, within limits and time; the test rows are never read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headstart.backbones.backbone import Backbone, Segment
from headstart.backbones.catalogue import find_backbone
from headstart.data import Dataset, load, resolve
from headstart.errors import EngineError, OptionError
from headstart.features.compiling import compile_trunk
from headstart.features.engine import CompiledTrunk, EngineIdentity
from headstart.features.extract import extract, probe_trunk
from headstart.features.store import Store
from headstart.features.table import FeatureTable
from headstart.imaging import encode
from headstart.planning import backbone_race
from headstart.planning.backbone_race import (
    BackboneRace,
    Course,
    Pace,
    forecast,
    nested_samples,
    race,
    round_sizes,
)
from headstart.planning.limits import Limits
from headstart.records import from_json, to_json
from headstart.runs import SilentProgress
from headstart.training.examples import Examples
from headstart.training.gathering import examples_of

MakeExamples = Callable[..., Examples]
LABEL = "bundled/tf_efficientnet_lite0@{}"


@dataclass(eq=False)
class _Network:
    """Features that show the colour of an image as clearly as its ``signal`` says, in noise of their own."""

    trunk: Segment
    signal: float
    images: list[int] = field(default_factory=list)
    batch_size = 16
    identity = EngineIdentity("openvino", "of this test", "f32", "cpu")

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.images.append(len(images))
        rows = np.zeros((len(images), self.trunk.width), np.float32)
        last = self.trunk.columns["features"]
        for row, image in zip(rows, images, strict=True):
            rng = np.random.default_rng(int(image.sum()))
            row[last.start : last.start + 4] = rng.normal(size=4)
            row[last.start] += self.signal * (image[..., 0].mean() - image[..., 2].mean()) / 30
        return rows


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """480 reddish and bluish pictures, a sixth of them a test."""
    rng = np.random.default_rng(0)
    images, labels = [], []
    for number in range(480):
        tint = (30, 0, 0) if number % 2 else (0, 0, 30)
        pixels = rng.integers(0, 200, (32, 32, 3)).repeat(2, 0).repeat(2, 1) + np.array(tint)
        images.append(encode(pixels.astype(np.uint8)))
        labels.append("red" if number % 2 else "blue")
    return resolve(load((images, labels)), test=1 / 6, seed=0)[0]


@pytest.fixture
def watched(dataset: Dataset) -> tuple[Dataset, list[str]]:
    """The pictures, and which of them were read."""
    read: list[str] = []

    @dataclass(frozen=True)
    class Watch:
        def read(self, image: str) -> bytes:
            read.append(image)
            return dataset.read_image(image)

    return dataclasses.replace(dataset, reader=Watch()), read


def _course(dataset: Dataset, signals: Mapping[int, float], said: list[str] | None = None) -> Course:
    """A course on which the backbone of each size shows so much; a size that is not named can't be compiled."""

    def compiled(backbone: Backbone) -> CompiledTrunk:
        size = backbone.preprocessing.size
        if size not in signals:
            raise EngineError(f"no engine for {size} pixels")
        return _Network(probe_trunk(backbone), signals[size])

    blank = FeatureTable.from_array(np.zeros((len(dataset), 1), np.float32))
    protocol = resolve(dataset, test="test", seed=0)[1]
    examples = examples_of(dataset, blank, {"features": slice(0, 1)}, protocol, 0)
    heard = said if said is not None else []
    return Course(dataset, examples, compiled, SilentProgress(), heard.append, 0)


def _entrants(*sizes: int) -> list[Backbone]:
    return [find_backbone("lite0", size=size) for size in sizes]


def _names(sizes: Sequence[int]) -> tuple[str, ...]:
    return tuple(LABEL.format(size) for size in sizes)


@pytest.mark.parametrize(
    ("entrants", "rows", "sizes"),
    [
        (1, 5000, (1000,)),
        (2, 5000, (1000,)),
        (3, 5000, (500, 1000)),
        (6, 5000, (250, 500, 1000)),
        (20, 5000, (200, 250, 500, 1000)),
        (6, 300, (250, 300)),
        (6, 90, (90,)),
    ],
)
def test_rounds_double_up_to_all_or_a_thousand_images(entrants: int, rows: int, sizes: tuple[int, ...]) -> None:
    assert round_sizes(entrants, rows) == sizes


def test_samples_contain_one_another(make_examples: MakeExamples) -> None:
    examples = make_examples([300, 300])
    small, middle, large = nested_samples(examples, (100, 200, 400), 0)
    assert set(small.places) < set(middle.places) < set(large.places) < set(examples.places)
    assert len(nested_samples(examples, (600, 1000), 0)) == 1
    lumps = make_examples([300, 300], groups=np.repeat([0, 1, 2, 3], 150))
    assert len(nested_samples(lumps, (250, 500), 0)) <= 2


def test_the_better_half_goes_on_and_the_best_wins(
    watched: tuple[Dataset, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbone_race, "LEAST_RACE_ROWS", 60)
    monkeypatch.setattr(backbone_race, "MOST_RACE_ROWS", 240)
    dataset, read = watched
    said: list[str] = []
    course = _course(dataset, {32: 0.0, 40: 0.3, 48: 3.0, 56: 0.1, 64: 1.0}, said)
    found = race(_entrants(32, 40, 48, 56, 64), course)
    assert (found.backbone, found.image_size) == ("bundled/tf_efficientnet_lite0", 48)
    assert [len(one.backbones) for one in found.rounds] == [5, 3, 2]
    assert [one.images for one in found.rounds] == pytest.approx([60, 120, 240], abs=3)
    assert set(found.rounds[2].backbones) == set(_names((48, 64)))
    assert [one.name for one in found.ranking.backbones] == list(_names((48, 64)))
    assert found.ranking.rows == found.rounds[2].images
    assert [(one.image_size, one.chosen) for one in found.considered][:2] == [(48, True), (64, False)]
    assert {one.image_size for one in found.considered} == {32, 40, 48, 56, 64}
    assert found.considered[0].accuracy > 0.9 > found.considered[-1].accuracy
    assert all(one.latency is not None and one.size == 13_484_032 for one in found.considered)
    assert (found.left_out, found.by_clock) == ((), False)
    assert said == [found.ranking.sentence]
    decision = found.decision()
    assert (decision.value, decision.by_clock) == (LABEL.format(48), False)
    assert decision.numbers["images"] == found.rounds[2].images
    assert from_json(BackboneRace, to_json(found)) == found
    assert found == dataclasses.replace(race(_entrants(64, 56, 48, 40, 32), course), considered=found.considered), (
        "but for latencies the order of the entrants changes nothing"
    )
    tests = set(dataset.test().images)
    assert read
    assert not tests & set(read)


def test_what_is_beyond_a_limit_is_shown_and_never_chosen(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone_race, "latency", lambda compiled: compiled.trunk.backbone.preprocessing.size / 1000)
    course = _course(dataset, {32: 0.5, 40: 0.2, 48: 3.0})
    found = race(_entrants(32, 40, 48), course, limits=Limits.parse(None, "40ms"))
    assert found.image_size == 32
    by_size = {one.image_size: one for one in found.considered}
    assert by_size[48].accuracy > by_size[32].accuracy
    assert not by_size[48].chosen
    assert LABEL.format(48) not in {one.name for one in found.ranking.backbones}
    assert found.left_out == (f"{LABEL.format(48)} takes 13.5MB and 48ms, beyond --max-latency 40ms",)
    assert not found.by_clock
    with pytest.raises(OptionError, match=r"no model is within --max-latency 1ms: the nearest, .*@32, takes"):
        race(_entrants(32, 40, 48), course, limits=Limits.parse(None, "1ms"))
    with pytest.raises(OptionError, match="no model is within --max-size 10MB"):
        race(_entrants(32), course, limits=Limits.parse("10MB", None))


def test_what_can_not_run_is_left_out_with_its_reason_unless_nothing_can(dataset: Dataset) -> None:
    said: list[str] = []
    found = race(_entrants(32, 40), _course(dataset, {40: 1.0}, said))
    assert found.image_size == 40
    assert found.left_out == (f"{LABEL.format(32)} is left out: no engine for 32 pixels",)
    assert said[0] == found.left_out[0]
    with pytest.raises(EngineError, match="no engine for 32"):
        race(_entrants(32), _course(dataset, {}))


def test_a_backbone_that_fails_while_it_runs_is_left_out(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = backbone_race.gather

    def gather(name: str, examples: Examples, **rest: Any) -> Any:
        if name == LABEL.format(40):
            raise EngineError("out of memory")
        return plain(name, examples, **rest)

    monkeypatch.setattr(backbone_race, "gather", gather)
    found = race(_entrants(32, 40), _course(dataset, {32: 0.5, 40: 3.0}))
    assert (found.image_size, len(found.considered)) == (32, 1)
    assert "out of memory" in found.left_out[0]
    with pytest.raises(EngineError, match="out of memory"):
        race(_entrants(40), _course(dataset, {40: 3.0}))


def test_what_is_too_slow_is_left_out_and_that_is_said(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    paces = {32: 0.0, 40: 0.001, 48: 1.0}
    monkeypatch.setattr(
        backbone_race, "pace_of", lambda course, compiled, running: Pace(0.0, paces[compiled.trunk.input.shape[0]])
    )
    signals = {32: 0.2, 40: 1.0, 48: 3.0}
    found = race(_entrants(32, 40, 48), _course(dataset, signals), seconds=20, clock=lambda: 0.0)
    assert found.image_size == 40
    assert found.by_clock
    assert found.decision().by_clock
    assert f"{LABEL.format(48)} is left out as too slow" in found.left_out[0]
    assert "of 20 s are left" in found.left_out[0]
    patient = race(_entrants(32, 40, 48), _course(dataset, signals), seconds=math.inf, clock=lambda: 0.0)
    assert (patient.image_size, patient.by_clock) == (48, False)
    hurried = race(_entrants(48, 32, 40), _course(dataset, signals), seconds=0, clock=lambda: 0.0)
    assert hurried.image_size == 32, "the one with the least work runs whatever the time"
    assert len(hurried.considered) == 1


def test_a_round_that_does_not_fit_leaves_the_choice_to_the_one_before(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbone_race, "LEAST_RACE_ROWS", 100)
    monkeypatch.setattr(backbone_race, "MOST_RACE_ROWS", 200)
    monkeypatch.setattr(backbone_race, "pace_of", lambda course, compiled, running: Pace(0.0, 0.001))
    now, plain = [0.0], backbone_race.gather

    def gather(name: str, examples: Examples, **rest: Any) -> Any:
        now[0] += 3.0  # longer than forecast
        return plain(name, examples, **rest)

    monkeypatch.setattr(backbone_race, "gather", gather)
    signals = {32: 0.2, 40: 3.0, 48: 1.0}
    found = race(_entrants(32, 40, 48), _course(dataset, signals), seconds=9, clock=lambda: now[0])
    assert len(found.rounds) == 1
    assert len(found.ranking.backbones) == 3
    assert found.image_size == 40
    assert found.by_clock
    assert "a round of 200 images" in found.left_out[0]


def test_a_forecast_grows_with_the_backbones_their_work_and_the_images() -> None:
    two, far, three = _entrants(64, 96), _entrants(64, 224), _entrants(64, 96, 128)
    pace = Pace(0.002, 0.004)
    assert forecast(_entrants(64), pace, 500, 5) == pytest.approx(0.002 * 500), "its features are there"
    assert forecast(_entrants(64), pace, 500, 1000) == pytest.approx(0.1 * 500), "a thousand classes take their time"
    assert forecast(two, pace, 500, 5) < forecast(far, pace, 500, 5)
    assert forecast(two, pace, 500, 5) < forecast(three, pace, 500, 5)
    assert forecast(two, pace, 300, 5) < forecast(two, pace, 600, 5) < forecast(two, pace, 1000, 5)
    assert forecast(two, pace, 1000, 5) == forecast(two, pace, 100_000, 5)


@pytest.mark.real
@pytest.mark.usefixtures("warm")
def test_the_features_of_a_race_are_those_that_a_fit_goes_on_with(digits: Path) -> None:
    dataset = resolve(load(digits), test=0.2, seed=0)[0]
    course = dataclasses.replace(_course(dataset, {}), compile=lambda backbone: compile_trunk(probe_trunk(backbone)))
    found = race(_entrants(32, 64), course)
    assert {one.image_size for one in found.considered} == {32, 64}
    assert all(one.accuracy > 0.9 for one in found.considered)
    rows = dataset.development()
    with Store.default() as store:
        compiled = course.compile(find_backbone(found.backbone, size=found.image_size))
        again = extract(rows.read, rows.files, rows.hashes, compiled, store, SilentProgress())
    assert (len(rows), again.computed) == (240, 0)
