"""A plan to follow."""

from __future__ import annotations

import pytest

from headstart.planning.plan import DataIdentity, Plan, PlannedRung, Validation


@pytest.fixture
def plan() -> Plan:
    """Of a run that wanted other things than the usual ones."""
    return Plan(
        schema=1,
        data=DataIdentity("leaves", 280, 7, "0" * 64),
        backbone="bundled/tf_efficientnet_lite0",
        stages=9,
        image_size=96,
        crop="crop",
        metric="macro_f1",
        first="linear_probe",
        rungs=(
            PlannedRung("partial", 7, 4, 12, 1e-3, "medium", seconds=21.5),
            PlannedRung("full", 0, None, 6, 1e-3, "none", seconds=80.0),
            PlannedRung("progressive", 0, 4, 2, 1e-3, "light", seconds=90.0),
        ),
        validation=Validation("folds", 5, 1, grouped=False),
        budget="5m",
        quality="fast",
        max_size="20MB",
        max_latency=None,
        seed=3,
        decisions=(),
    )
