"""A plan's outlook is made where the data allow it and the time does, quickly and the same each time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from headstart.planning.ladder import Climbed, candidates, climb
from headstart.planning.layer_map import LayerMap
from headstart.planning.outlook import Outlook, look_ahead
from headstart.planning.rule_table import CURVE_ROWS, LEAST_OUTLOOK, MAPPED_ROWS
from headstart.records import from_json, to_json
from headstart.training.examples import Examples

MakeExamples = Callable[..., Examples]
NAMES = ("low", "top")


def _climbed(examples: Examples) -> Climbed:
    return climb(candidates("linear_probe", examples, "accuracy"), examples, metric="accuracy", cut=2, seed=0)


def _look(examples: Examples, seconds: float = math.inf, seed: int = 0) -> Outlook:
    return look_ahead(examples, _climbed(examples), NAMES, seconds=seconds, seed=seed)


def test_the_map_and_the_forecast_are_of_these_examples(make_examples: MakeExamples) -> None:
    examples = make_examples([60, 60, 60], top=0.4, stage=0.1)
    found = _look(examples)
    assert found.layers is not None
    assert found.forecast is not None
    assert found.decisions == ()
    assert [stage.name for stage in found.layers.stages] == list(NAMES)
    assert found.layers.rows == 180
    assert [one.rows for one in found.forecast.predictions] == [360, 720]
    top = found.layers.stages[-1]
    assert top.accuracy == pytest.approx(found.forecast.accuracy, abs=0.03), "both are the linear probe"
    assert from_json(LayerMap, to_json(found.layers)) == found.layers


def test_it_is_the_same_each_time(make_examples: MakeExamples) -> None:
    examples = make_examples([50, 50], top=0.3)
    assert _look(examples) == _look(examples)
    other = _look(examples, seed=1).forecast
    first = _look(examples).forecast
    assert other is not None
    assert first is not None
    assert first.points != other.points


def test_much_data_is_judged_in_part_and_forecast_in_whole(make_examples: MakeExamples) -> None:
    examples = make_examples([1000, 1000], top=0.5)
    found = _look(examples)
    assert found.layers is not None
    assert found.forecast is not None
    assert MAPPED_ROWS <= found.layers.rows < len(examples)
    assert found.forecast.predictions[0].rows == 4000
    assert found.forecast.points[-1].rows == pytest.approx(1600), "fitted on four fifths of all"
    share = found.forecast.points[-1].error * CURVE_ROWS
    assert share == pytest.approx(round(share)), "400 rows judged it"


@pytest.mark.parametrize(
    ("counts", "reason"),
    [([2, 2], "the smallest class has 2 images"), ([60, 60, 3], "the smallest class has 3 images, and 5 are needed")],
)
def test_too_few_images_of_a_class_have_none(make_examples: MakeExamples, counts: list[int], reason: str) -> None:
    found = _look(make_examples(counts))
    assert (found.layers, found.forecast) == (None, None)
    assert reason in found.decisions[0].reason
    assert not found.decisions[0].by_clock


def test_several_labels_an_image_have_none(make_examples: MakeExamples) -> None:
    found = _look(make_examples([40, 40], task="multilabel"))
    assert found.layers is None
    assert "several labels" in found.decisions[0].reason


def test_little_time_has_none_and_the_decision_says_that_it_hung_on_the_clock(make_examples: MakeExamples) -> None:
    examples = make_examples([40, 40])
    found = _look(examples, seconds=LEAST_OUTLOOK - 1)
    assert found.layers is None
    assert found.decisions[0].by_clock
    assert "and 9 s are left" in found.decisions[0].reason
    climbed = _climbed(examples)
    slow = tuple(replace(rung, seconds=60.0) for rung in climbed.record.rungs)
    slowly = replace(climbed, record=replace(climbed.record, rungs=slow))
    assert look_ahead(examples, slowly, NAMES, seconds=LEAST_OUTLOOK + 30).layers is None, "as slow as the probes"


def test_groups_and_a_validation_split_have_an_outlook(make_examples: MakeExamples) -> None:
    grouped = make_examples([60, 60], top=0.4, groups=np.arange(120) // 3)
    given = replace(grouped, folds=grouped.folds[:1])
    for examples in (grouped, given):
        found = _look(examples)
        assert found.layers is not None
        assert found.layers.rows == len(examples.judged)
