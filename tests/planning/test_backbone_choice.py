"""The backbone of a run: asked for, planned, or raced, within limits, and the same after an interruption."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.backbones.catalogue import DEFAULT_BACKBONE, find_backbone
from headstart.data import Dataset, Protocol, load, resolve
from headstart.errors import OptionError, RunError
from headstart.planning import backbone_choice, backbone_race
from headstart.planning.backbone_choice import BackboneChoice, Chooser, entrants_of
from headstart.planning.backbone_race import Pace
from headstart.planning.entrants import Entrants, label_of
from headstart.planning.following import followed
from headstart.planning.options import Options
from headstart.planning.plan import DataIdentity, Decision, Plan, Validation
from headstart.planning.rule_table import LEAST_RACE, USUAL_SHARE
from headstart.records import to_json
from headstart.runs import Run, SilentProgress, Stopwatch
from headstart.runs.budget import Budget, Countdown

LABEL = f"{DEFAULT_BACKBONE}@{{}}"


def _countdown(text: str) -> Countdown:
    return Countdown(Budget.parse(text), 0.0, 0.0, lambda: 0.0)


def _labels(entrants: Entrants) -> list[str]:
    return [label_of(one) for one in entrants.backbones]


def _plan(**changed: Any) -> Plan:
    plan = Plan(
        schema=1,
        data=DataIdentity("leaves", 280, 7, "0" * 64),
        backbone=DEFAULT_BACKBONE,
        stages=9,
        image_size=96,
        crop="crop",
        metric="accuracy",
        first="linear_probe",
        rungs=(),
        validation=Validation("folds", 5, 1, False),
        budget="5m",
        quality="fast",
        max_size=None,
        max_latency=None,
        seed=0,
        decisions=(Decision("image_size", "fixed", "96", "so it is"), Decision("first", "fixed", "x", "y")),
    )
    return dataclasses.replace(plan, **changed)


@pytest.mark.parametrize(
    ("options", "budget", "labels"),
    [
        (Options(), "1s", [LABEL.format(224)]),
        (Options(), "24s", [LABEL.format(224)]),
        (Options(backbone=DEFAULT_BACKBONE), "10m", [LABEL.format(224)]),
        (Options(image_size=64), "10m", [LABEL.format(64)]),
        (Options(backbones="lite0@64,lite0"), "1s", [LABEL.format(64), LABEL.format(224)]),
        (Options(backbones="lite0@64,lite0", image_size=96), "1s", [LABEL.format(64), LABEL.format(96)]),
    ],
)
def test_who_may_race(options: Options, budget: str, labels: list[str]) -> None:
    assert _labels(entrants_of(options, _countdown(budget), print)) == labels


def test_the_usual_ones_race_where_nothing_is_said_and_there_is_time() -> None:
    assert USUAL_SHARE * 25 == LEAST_RACE
    for budget in ("25s", "10m", "none"):
        assert _labels(entrants_of(Options(), _countdown(budget), print))[:2] == [LABEL.format(224), LABEL.format(288)]
    assert _labels(entrants_of(Options(strategy="full"), None, print)) == [LABEL.format(224)]


def test_a_plan_names_its_backbone_image_size_and_limits(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(to_json(_plan(max_size="20MB")))
    options, _ = followed(Options(plan=str(path)))
    assert _labels(entrants_of(options, _countdown("10m"), print)) == [LABEL.format(96)]
    assert options.limits().size == 20e6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(backbones="lite0,lite1", backbone="lite0"), "--backbones compares several, and --backbone lite0"),
        (Options(backbones="lite0,lite1", plan="plan.json"), "and --plan plan.json has one"),
        (Options(backbones="lite0,,"), "empty name"),
        (Options(max_size="10"), "--max-size '10' has no unit"),
        (Options(max_latency="soon"), "--max-latency 'soon' can't be read"),
    ],
)
def test_what_can_not_be_is_refused(options: Options, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        options.check()


@pytest.fixture(scope="module")
def dataset(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """300 digits and a file that is no image."""
    folder = tmp_path_factory.mktemp("data") / "digits"
    for label in digits.iterdir():
        (folder / label.name).mkdir(parents=True)
        for image in label.iterdir():
            (folder / label.name / image.name).write_bytes(image.read_bytes())
    (folder / "0" / "broken.png").write_bytes(b"\x89PNG no more")
    return load(folder)


def _resolved(dataset: Dataset, options: Options) -> tuple[Dataset, Protocol]:
    return resolve(dataset, test=options.test, seed=options.seed)


def _chooser(options: Options, run: Run | None = None, budget: str = "10m") -> Chooser:
    return Chooser(options, _resolved, run, _countdown(budget), Stopwatch(), SilentProgress(), lambda line: None)


def _two(*sizes: int) -> Entrants:
    return Entrants(tuple(find_backbone("lite0", size=size) for size in sizes), ("a reason",))


def _run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", "x", {})


def test_a_single_one_is_taken_as_it_is_if_it_is_within_the_limits(dataset: Dataset) -> None:
    chosen = _chooser(Options()).choose(dataset, _two(64))
    assert chosen.dataset is dataset
    assert (chosen.race, chosen.decisions) == (None, ())
    assert chosen.told(_plan()) == _plan()
    assert _chooser(Options(max_size="13.5MB")).choose(dataset, _two(64)).race is None
    with pytest.raises(OptionError, match=r"no model is within --max-size 10MB: the nearest, .*lite0@64, takes 13.5MB"):
        _chooser(Options(max_size="10MB")).choose(dataset, _two(64))


@pytest.mark.real
@pytest.mark.usefixtures("warm")
def test_a_race_is_kept_taken_over_and_told(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(backbones="lite0@32,lite0@64")
    with _run(tmp_path) as run:
        chosen = _chooser(options, run).choose(dataset, _two(32, 64))
        assert chosen.race is not None
        assert label_of(chosen.backbone) == chosen.race.label
        assert chosen.race.left_out == ("a reason",)
        assert [entry.kind for entry in chosen.dataset.left_out] == ["undecodable"]
        assert set(chosen.dataset.splits) == {""}, "the run deals its own splits, which are the same"
        assert chosen.race.ranking.rows == (~np.isin(_resolved(chosen.dataset, options)[0].splits, "test")).sum()
        told = chosen.told(_plan())
        assert [decision.key for decision in told.decisions] == ["backbone", "first"]
        assert told.considered == chosen.race.considered

        def never(*arguments: Any, **named: Any) -> None:
            raise AssertionError("raced again")

        monkeypatch.setattr(backbone_choice, "race", never)
        again = _chooser(options, run).choose(dataset, _two(64, 32))
        assert (again.race, again.decisions) == (chosen.race, chosen.decisions)
        assert label_of(again.backbone) == label_of(chosen.backbone)
        with pytest.raises(RunError, match="can't be loaded any more"):
            _chooser(options, run).choose(dataset, _two(96, 128))
        (tmp_path / "run" / "kept").touch()


@pytest.mark.real
@pytest.mark.usefixtures("warm")
def test_the_usual_ones_race_only_as_far_as_the_time_holds(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone_choice, "pace_of", lambda course, compiled, running: Pace(0.0, 0.02))
    monkeypatch.setattr(backbone_race, "cpu_count", lambda: 2)

    def chosen(budget: str) -> BackboneChoice:
        return _chooser(Options(test=0.2), budget=budget).choose(dataset, _two(32, 64, 160))

    hurried = chosen("1s")
    assert (label_of(hurried.backbone), hurried.race) == (LABEL.format(32), None)
    (decision,) = hurried.decisions
    assert (decision.key, decision.by_clock) == ("backbone", True)
    assert "0 s of the time are for it" in decision.reason
    assert [one.key for one in hurried.told(_plan()).decisions] == ["backbone", "image_size", "first"]
    some = chosen("80s").race
    assert some is not None
    assert {one.image_size for one in some.considered} == {32, 64}
    assert some.by_clock
    assert some.left_out[1].startswith(f"{LABEL.format(160)}: left out, since with them a comparison would take about")


@pytest.mark.real
@pytest.mark.usefixtures("warm")
def test_nothing_is_chosen_by_labels_that_a_nested_test_will_use(dataset: Dataset) -> None:
    few = dataset.select(np.arange(0, len(dataset), 2))
    chosen = _chooser(Options()).choose(few, _two(32, 64))
    assert (label_of(chosen.backbone), chosen.race) == (LABEL.format(32), None)


@pytest.mark.real
@pytest.mark.usefixtures("warm")
def test_a_run_that_was_interrupted_after_its_probes_goes_on_with_its_backbone(
    dataset: Dataset, tmp_path: Path
) -> None:
    with _run(tmp_path) as run:
        run.path("model").mkdir()
    with _run(tmp_path) as run:
        chosen = _chooser(Options(), run).choose(dataset, _two(64, 32))
        assert (label_of(chosen.backbone), chosen.race) == (LABEL.format(64), None)
