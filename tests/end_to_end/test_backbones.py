"""Several backbones as a user compares them, and limits on what a model may cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headstart.planning.backbone_race import BackboneRace
from headstart.records import from_json

pytestmark = pytest.mark.real
TWO = ("--backbones", "lite0@32,lite0@64,bundled/lite9")


@pytest.mark.soak
def test_backbones_are_compared_and_the_best_is_taken(
    headstart: Callable[..., Any], digits: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    done = headstart("fit", digits, *TWO, "--strategy", "linear_probe", "--out", "run", "--json")
    assert done.code == 0, done.err
    assert "left out of the comparison: unknown backbone 'bundled/lite9'" in done.err
    race = from_json(BackboneRace, (work / "run" / "backbones.json").read_bytes())
    assert race.ranking.rows == 240, "a fifth of the images is the test, and has no part in it"
    assert {one.image_size for one in race.considered} == {32, 64}
    assert race.ranking.sentence in done.err
    model = json.loads((work / "run" / "model" / "model.json").read_text())
    assert model["preprocessing"]["size"] == race.image_size
    assert done.json["protocol"]["test"] == "held_out"

    planned = headstart("plan", digits, *TWO, "--budget", "20s", "--max-latency", "10s", "--out", "plan.json")
    assert planned.code == 0, planned.err
    plan = json.loads((work / "plan.json").read_text())
    assert [one["image_size"] for one in plan["considered"] if one["chosen"]] == [plan["image_size"]]
    assert plan["max_latency"] == "10s"
    assert f"{plan['backbone']}@{plan['image_size']}" in planned.out
    assert plan["decisions"][0]["key"] == "backbone"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--max-size", "10MB"), "no model is within --max-size 10MB: the nearest, bundled/tf_efficientnet_lite0@224"),
        (("--max-latency", "1us"), "no model is within --max-latency 0.001ms"),
        (("--max-size", "ten"), "--max-size 'ten' can't be read: write for example 10MB"),
        (("--backbones", "lite8,lite9"), "no backbone can be loaded; left out of the comparison: unknown backbone"),
        (("--backbones", "lite0", "--backbone", "lite1"), "leave one of the options out"),
    ],
)
def test_what_can_not_be_is_refused_and_leaves_no_run_behind(
    headstart: Callable[..., Any], digits: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    done = headstart("fit", digits, *options, "--budget", "1s")
    assert done.code == 2
    assert words in " ".join(done.err.split())
    assert "Traceback" not in done.err
    assert not (tmp_path / "work" / "runs").exists()
