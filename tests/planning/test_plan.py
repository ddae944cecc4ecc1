"""A plan is read as strictly as it was written, and says which key of an edited one can't be."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from headstart.errors import OptionError, RecordError
from headstart.planning.forecast import AccuracyForecast, CurvePoint, Prediction
from headstart.planning.layer_map import LayerMap, StageProbe
from headstart.planning.plan import (
    Considered,
    DataIdentity,
    Decision,
    ExpectedGain,
    Plan,
    PlannedRung,
    Validation,
    check_plan,
    read_plan,
)
from headstart.planning.power_law import PowerLaw
from headstart.records import to_json

PLAN = Plan(
    schema=1,
    data=DataIdentity("scans", 300, 2, "ab" * 32, {"sound": 200, "ill": 100}),
    backbone="bundled/tf_efficientnet_lite0",
    stages=9,
    image_size=224,
    crop="crop",
    metric="accuracy",
    first="linear_probe",
    rungs=(
        PlannedRung("progressive", 0, 4, 2, 1e-3, "light", seconds=90.0),
        PlannedRung("partial", 7, 4, 12, 1e-3, "medium", 21.5, ExpectedGain(2.1, 3.0)),
        PlannedRung("partial", 4, 4, 8, 1e-3, "medical", precision="bf16 with float32 depthwise channels-last"),
        PlannedRung("full", 0, None, 6, 1e-3, "none"),
    ),
    validation=Validation("repeated_folds", 5, 4, grouped=True),
    budget="2m",
    quality="balanced",
    max_size="20MB",
    max_latency=None,
    seed=0,
    decisions=(Decision("crop", "fingerprint", "crop", "as the weights expect", {"crop_loss": 0.1}),),
    considered=(Considered("bundled/tf_efficientnet_lite0", 224, 0.8, 0.5, 13_000_000, None, chosen=True),),
)


def _edited(path: Path, *keys: str | int, value: Any) -> Path:
    plain = json.loads(to_json(PLAN))
    inner = plain
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(plain))
    return path


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(to_json(PLAN))
    assert read_plan(path) == PLAN
    assert PLAN.limits.size == 2e7
    assert [rung.name for rung in PLAN.rungs][1:] == ["partial above cut 7", "partial above cut 4", "full"]


def _with_outlook() -> Plan:
    probes = tuple(StageProbe(n, f"s{n}", 8, 0.5, (0.4, 0.6), 0.7, None if n == 1 else 0.1, True) for n in range(1, 10))
    prediction = Prediction(2, 600, 0.95, (0.9, 0.97), None, 2, 3, 0.01, 0.02)
    hidden = Prediction(4, 1200, None, None, "too few", None, 0, None, None)
    law = PowerLaw(240.0, 0.1, 0.01, 0.3)
    points = (CurvePoint(120.0, 0.2), CurvePoint(240.0, 0.1))
    return dataclasses.replace(
        PLAN,
        layers=LayerMap(probes, 300, 7, True, "up to stage 7"),
        forecast=AccuracyForecast("linear_probe", 0.9, points, law, (prediction, hidden), "probably"),
    )


def test_map_and_forecast_are_read_again_and_may_be_left_out(tmp_path: Path) -> None:
    plan, path = _with_outlook(), tmp_path / "plan.json"
    path.write_text(to_json(plan))
    assert read_plan(path) == plan
    plain = json.loads(to_json(plan))
    del plain["layers"], plain["forecast"]
    path.write_text(json.dumps(plain))
    assert read_plan(path) == PLAN


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("layers", "stages", 0, "colour"), "red", r"layers: stages\[0\]: unknown field 'colour'"),
        (("layers", "stages", 0, "accuracy"), "high", r"layers: stages\[0\]: accuracy: expected float"),
        (("layers", "stages", 0, "number"), 4, "layers.stages: they are not numbered 1 to 9"),
        (("layers", "stages"), [], "layers.stages: they are not numbered 1 to 9"),
        (("layers", "transfers_to"), 10, "layers.transfers_to: 10 is no stage: give 1 to 9, or 0 for none"),
        (("forecast", "predictions", 0, "factor"), "2", r"forecast: predictions\[0\]: factor: expected int"),
    ],
)
def test_an_impossible_map_or_forecast_is_refused(tmp_path: Path, keys: Any, value: Any, message: str) -> None:
    plain = json.loads(to_json(_with_outlook()))
    inner = plain
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(plain))
    with pytest.raises(RecordError, match=f"mine.json: {message}"):
        read_plan(path)


def test_a_sensible_edit_is_taken(tmp_path: Path) -> None:
    plan = read_plan(_edited(tmp_path / "p.json", "rungs", 1, "epochs", value=30))
    assert plan.rungs[1].epochs == 30
    plan = read_plan(_edited(tmp_path / "p.json", "backbone", value="timm/resnet18"))
    assert plan.backbone == "timm/resnet18"


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("schema",), 2, "schema: 2 is not 1"),
        (("backbone",), "bundled/lite9", "backbone: unknown backbone 'bundled/lite9'"),
        (("backbone",), "tim/resnet18", "backbone: unknown backbone 'tim/resnet18': did you mean timm/resnet18"),
        (("backbone",), "timm/", "backbone: unknown backbone"),
        (("stages",), 0, "stages: 0"),
        (("image_size",), 0, "image_size: 0"),
        (("image_size",), 100_000, "image_size: 100000"),
        (("image_size",), 224.5, "image_size: expected int"),
        (("crop",), "stretch", "crop: 'stretch' is none of 'crop', 'squash'"),
        (("metric",), "acuracy", "metric: unknown metric 'acuracy'"),
        (("first",), "prototype", "first: 'prototype' can't be: every other rung starts from linear_probe"),
        (("data", "images", "ill"), "many", r"data: images.ill: expected int"),
        (("seed",), -1, "seed: -1 is negative"),
        (("budget",), "30", "budget: a budget of 30 has no unit"),
        (("budget",), "soon", "budget: 'soon' is no budget"),
        (("quality",), "worst", "quality: 'worst' is none of"),
        (("max_size",), "heavy", "max_size: --max-size 'heavy'"),
        (("max_latency",), "0ms", "max_latency: --max-latency '0ms' allows no model"),
        (("validation", "method"), "luck", "validation: method: 'luck' is none of"),
        (("validation", "folds"), 1, "validation.folds: 1 folds leave nothing"),
        (("validation", "repeats"), 0, "validation.repeats: 0 repeats"),
        (("validation", "method"), "split", "validation.folds: a split has 1 fold and 1 repeat"),
        (("validation", "method"), "folds", "validation.repeats: 4 repeats can't be: give 1 with the method folds"),
        (("rungs", 0, "strategy"), "linear_probe", r"rungs\[0\].strategy: linear_probe trains no stage and races"),
        (("rungs", 0, "strategy"), "prototype", r"rungs\[0\].strategy: prototype .* in any case: leave this rung out"),
        (("rungs", 0, "cut"), 4, r"rungs\[0\].cut: progressive chooses its cuts itself: give 0, not 4"),
        (("rungs", 1, "strategy"), "partly", r"rungs\[1\].strategy: unknown strategy 'partly'"),
        (("rungs", 1, "cut"), 9, r"rungs\[1\].cut: 9 is out of range: .* above cut 0 to 8"),
        (("rungs", 1, "cut"), -1, r"rungs\[1\].cut: -1 is out of range"),
        (("rungs", 3, "cut"), 2, r"rungs\[3\].cut: full chooses its cuts itself"),
        (("rungs", 1, "epochs"), 0, r"rungs\[1\].epochs: 0 epochs train nothing"),
        (("rungs", 1, "epochs"), -3, r"rungs\[1\].epochs: -3 epochs train nothing"),
        (("rungs", 1, "epochs"), 10**30, r"rungs\[1\].epochs: 10+ epochs are more than any training needs"),
        (("rungs", 1, "epochs"), None, r"rungs\[1\].epochs: no epochs"),
        (("rungs", 1, "epochs"), "12", r"rungs\[1\]: epochs: expected int"),
        (("rungs", 1, "rate"), -1e-3, r"rungs\[1\].rate: a learning rate of -0.001 can't train"),
        (("rungs", 1, "rate"), None, r"rungs\[1\].rate: a learning rate of None"),
        (("rungs", 1, "rate"), 3, r"rungs\[1\].rate: a learning rate of 3"),
        (("rungs", 1, "views"), 0, r"rungs\[1\].views: 0 views"),
        (("rungs", 1, "augment"), "mediun", r"rungs\[1\].augment: .* did you mean 'medium'"),
        (("rungs", 1, "augment"), None, r"rungs\[1\].augment: unknown augmentation"),
        (("rungs", 1, "precision"), "fp8", r"rungs\[1\].precision: unknown precision 'fp8'; there are 'float32'"),
        (("rungs", 1, "seconds"), -1, r"rungs\[1\].seconds: -1.0 is no time"),
        (("rungs", 1, "gain", "sd"), None, r"rungs\[1\].gain: it has no finite mean"),
        (("rungs", 2, "cut"), 7, r"rungs\[2\]: partial above cut 7 is in the plan already"),
        (("rungs", 1, "batch"), 8, r"rungs\[1\]: unknown field 'batch'"),
        (("colour",), "red", "unknown field 'colour'"),
        (("decisions", 0, "kind"), "whim", r"decisions\[0\]: kind: 'whim' is none of"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_its_key(tmp_path: Path, keys: Any, value: Any, message: str) -> None:
    path = _edited(tmp_path / "mine.json", *keys, value=value)
    with pytest.raises(RecordError, match=f"mine.json: {message}"):
        read_plan(path)


def test_what_is_no_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"absent.json can't be read .*headstart plan writes one"):
        read_plan(tmp_path / "absent.json")
    (tmp_path / "p.json").write_text("{")
    with pytest.raises(RecordError, match="not valid JSON"):
        read_plan(tmp_path / "p.json")
    with pytest.raises(RecordError, match=r"plan.json: stages: 0"):
        check_plan(dataclasses.replace(PLAN, stages=0, rungs=()))
