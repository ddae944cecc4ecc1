"""The text of a plan has each rung with its numbers, and each decision with its reason under what it rests on."""

from __future__ import annotations

import dataclasses

import pytest

from headstart.planning.forecast import AccuracyForecast
from headstart.planning.layer_map import LayerMap, StageProbe
from headstart.planning.plan import Considered, DataIdentity, Decision, ExpectedGain, Plan, PlannedRung, Validation
from headstart.reporting.plan_table import show_plan


def _plan(*decisions: Decision, rungs: tuple[PlannedRung, ...] = ()) -> Plan:
    return Plan(
        schema=1,
        data=DataIdentity("leaves [2]", 280, 7, "0" * 64),
        backbone="bundled/tf_efficientnet_lite0",
        stages=9,
        image_size=224,
        crop="crop",
        metric="accuracy",
        first="linear_probe",
        rungs=rungs,
        validation=Validation("folds", 5, 1, False),
        budget="5m",
        quality="fast",
        max_size=None,
        max_latency=None,
        seed=0,
        decisions=decisions,
    )


def test_rungs_and_reasons_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    rung = PlannedRung("partial", 7, 4, 12, 1e-3, "medium", 41.2, ExpectedGain(2.54, 1.0))
    show_plan(_plan(Decision("tuning", "fingerprint", "yes", "few [rare] images"), rungs=(rung,)))
    text = capsys.readouterr().out
    assert "leaves [2]: 280 images, 7 classes" in " ".join(text.split())
    assert "partial above cut 7" in text
    for part in ("12", "0.001", "41 s", "+2.5 ± 1.0 points", "few [rare] images", "because of what the data is"):
        assert part in text
    assert "measured here" not in text


def test_what_was_compared_is_shown_with_its_cost(capsys: pytest.CaptureFixture[str]) -> None:
    lite = "bundled/tf_efficientnet_lite0"
    considered = (
        Considered(lite, 288, 0.8274, 0.4521, 13_484_032, 0.02251, True),
        Considered(lite, 224, 0.8, 0.525, 13_484_032, None, False),
    )
    show_plan(dataclasses.replace(_plan(), considered=considered))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [f"{lite}@288", "82.7%", "0.452", "13.5", "MB", "22.5", "ms", "taken"] in lines
    assert [f"{lite}@224", "80.0%", "0.525", "13.5", "MB"] in lines
    show_plan(_plan())
    assert "weights" not in capsys.readouterr().out


def _stage(number: int, accuracy: float) -> StageProbe:
    return StageProbe(number, f"blocks.{number}", 8, accuracy, (accuracy - 0.1, accuracy + 0.05), 0.5, None, True)


def test_stages_are_lines_with_bars_and_the_last_that_adds_something_is_marked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    layers = LayerMap((_stage(1, 0.5), _stage(2, 0.9), _stage(3, 0.91)), 244, 2, False, "Up to [stage] 2.")
    show_plan(dataclasses.replace(_plan(), layers=layers))
    text = capsys.readouterr().out
    lines = [line.split() for line in text.splitlines()]
    assert ["1", "blocks.1", "█" * 10, "50%", "(40", "to", "55)"] in lines
    assert ["2", "blocks.2", "█" * 18, "90%", "(80", "to", "95)", "up", "to", "here"] in lines
    assert text.count("up to here") == 1
    assert "gets right of 244 images" in text
    assert "  Up to [stage] 2." in text
    assert max(map(len, text.splitlines())) <= 100


def test_what_more_data_would_bring_is_told_where_it_was_forecast(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = "Would more data help? That can't be said: only 2 of 244 images are predicted wrong."
    forecast = AccuracyForecast("linear_probe", 0.99, (), None, (), sentence)
    show_plan(dataclasses.replace(_plan(), forecast=forecast))
    text = capsys.readouterr().out
    assert "accuracy of linear_probe" in text
    assert sentence in text
    show_plan(_plan())
    text = capsys.readouterr().out
    assert "more data" not in text
    assert "features carry" not in text
