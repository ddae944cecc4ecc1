"""The text of a plan has each rung with its numbers, and each decision with its reason under what it rests on."""

from __future__ import annotations

import pytest

from headstart.planning.plan import DataIdentity, Decision, ExpectedGain, Plan, PlannedRung, Validation
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
