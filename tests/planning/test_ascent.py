"""What the rungs of one ladder share: the choice of a precision, and the judging of transforms."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headstart.planning import ascent
from headstart.planning.empirical_rules import rung_in_full
from headstart.planning.fine_tuning import Site
from headstart.planning.options import Options
from headstart.runs.budget import Budget, Countdown
from headstart.training.finetuning.setting import PrecisionChoice


@pytest.fixture
def trainer(tmp_path: Path) -> Any:
    nothing: Any = None
    run: Any = SimpleNamespace(path=lambda name: tmp_path / name)
    site = Site(run, nothing, nothing, nothing, nothing, False, nothing, nothing, bool)
    return ascent._Trainer(site, Options(), nothing, Countdown.from_now(Budget(None)))


def test_a_second_try_takes_the_precision_of_the_first(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, str | None]] = []

    def tune(site: Site, options: Options, folder: Path, precision: Any) -> Any:
        given.append((folder.name, precision))
        return SimpleNamespace(tuned=SimpleNamespace(precision=f"measured at {options.cut}"))

    monkeypatch.setattr(ascent, "fine_tune_rung", tune)
    for cut, rate in ((7, 1e-3), (7, 1e-4), (4, 1e-3)):
        trainer.tune(dataclasses.replace(rung_in_full(cut), rate=rate))
    assert given == [("partial-7-0.001", None), ("partial-7-0.0001", "measured at 7"), ("partial-4-0.001", None)]
    trainer.tune(dataclasses.replace(rung_in_full(7), precision="float32 channels-last"))
    assert given[-1] == ("partial-7-0.001", PrecisionChoice.given("float32 channels-last")), "the plan's comes first"


def test_transforms_are_judged_before_the_first_rung_only(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(ascent, "timing_of", lambda *wanted, first: asked.append(first))
    tuned = SimpleNamespace(tuned=SimpleNamespace(precision="measured"))
    monkeypatch.setattr(ascent, "fine_tune_rung", lambda *wanted: tuned)
    trainer.time(rung_in_full(7))
    trainer.tune(rung_in_full(7))
    trainer.time(rung_in_full(4))
    assert asked == [True, False]
