"""What the rules of a plan hear of the probe."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from headstart.evaluation.metrics import score
from headstart.planning.ladder import candidates, climb
from headstart.planning.rule_table import FIRST
from headstart.planning.surveying import _probe
from headstart.training.examples import Examples

MakeExamples = Callable[..., Examples]


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_the_probe_is_scored_as_the_metric_counts_rows(make_examples: MakeExamples, metric: str) -> None:
    examples = make_examples([480, 60, 60], top=0.5, stage=0.1)
    climbed = climb(candidates("linear_probe", examples, metric), examples, metric=metric, cut=9, seed=0)
    found, calibration = _probe(climbed, examples), climbed.tried[FIRST][1]
    wanted = [
        score(name, "classification", examples.targets, calibration.probabilities, calibration.thresholds)
        for name in ("accuracy", metric)
    ]
    assert [found.accuracy, found.counted_accuracy] == pytest.approx(wanted)
    assert found.majority == pytest.approx(0.8)
    assert found.chance_loss == pytest.approx(-0.8 * math.log(0.8) - 0.2 * math.log(0.1), abs=0.01)
    assert found.log_loss < found.chance_loss
    assert 0.001 < found.saved_error < 0.1
