"""The layer map finds the stage after which features stop telling the classes apart, and no such stage in noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from headstart.data.splits import folds
from headstart.features.table import FeatureTable
from headstart.planning.layer_map import LayerMap, map_layers
from headstart.records import from_json, to_json
from headstart.tasks import TASKS
from headstart.training.examples import Examples

MakeExamples = Callable[..., Examples]


def _stages(strengths: list[float], *, rows: int = 150, copied: bool = False, seed: int = 0) -> Examples:
    """Features of several stages, each telling the three classes apart as far as its strength says."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    centres = np.random.default_rng(7).normal(size=(3, 8))
    blocks = [rng.normal(size=(rows, 8)) + strength * centres[labels] for strength in strengths]
    if copied:
        blocks = [blocks[0]] * len(strengths)
    names = [*(f"stage{number}" for number in range(1, len(strengths))), "features"]
    columns = {name: slice(8 * i, 8 * i + 8) for i, name in enumerate(names)}
    numbers = np.arange(rows)
    table = FeatureTable.from_array(np.hstack(blocks).astype(np.float32))
    pairs = tuple(folds(labels, None, 5, seed))
    return Examples(table, numbers, columns, labels, 3, numbers, pairs, TASKS["classification"])


NAMES = ("stem", "low", "high", "head")


def test_the_last_stage_that_adds_something_is_found() -> None:
    found = map_layers(_stages([0.2, 0.7, 2.0, 0.3]), NAMES)
    assert (found.transfers_to, found.top_is_worse) == (3, True)
    assert "stop transferring after stage 3 of 4 (high" in found.sentence
    assert [stage.name for stage in found.stages] == list(NAMES)
    assert [stage.number for stage in found.stages] == [1, 2, 3, 4]
    assert found.stages[2].accuracy > found.stages[3].accuracy
    assert from_json(LayerMap, to_json(found)) == found


def test_features_that_get_better_to_the_top_transfer_all_the_way() -> None:
    found = map_layers(_stages([0.2, 0.5, 1.0, 2.5]), NAMES)
    assert (found.transfers_to, found.top_is_worse) == (4, False)
    assert "up to the top" in found.sentence


def test_stages_that_say_the_same_are_not_better_than_the_first_of_them() -> None:
    found = map_layers(_stages([1.0] * 4, copied=True), NAMES)
    assert (found.transfers_to, found.top_is_worse) == (1, False)
    assert "within noise" in found.sentence
    assert [stage.better for stage in found.stages] == [True, False, False, False]


def test_differences_that_are_noise_are_seldom_called_differences() -> None:
    wrong = sum(map_layers(_stages([0.8] * 4, seed=seed, rows=90), NAMES).transfers_to > 1 for seed in range(12))
    assert wrong <= 2


def test_no_stage_beats_guessing_where_labels_mean_nothing() -> None:
    found = map_layers(_stages([0.0] * 4), NAMES)
    assert found.transfers_to == 0
    assert "no stage" in found.sentence.lower()


def test_intervals_hold_the_accuracy_and_are_wider_over_groups() -> None:
    alone = _stages([0.5, 1.0])
    grouped = replace(alone, groups=np.arange(150) // 30)
    for found in (map_layers(alone, NAMES[:2]), map_layers(grouped, NAMES[:2])):
        for stage in found.stages:
            assert stage.accuracy_ci95[0] <= stage.accuracy <= stage.accuracy_ci95[1]
    one_group = map_layers(replace(alone, groups=np.zeros(150, np.int64)), NAMES[:2])
    low, high = one_group.stages[0].accuracy_ci95
    assert high - low > 0.5  # a single group is a single trial
    assert one_group.transfers_to == 0


def test_labels_that_do_not_exclude_each_other_have_a_map(make_examples: MakeExamples) -> None:
    found = map_layers(make_examples([60, 60], stage=0.3, top=2.0, task="multilabel"), ("low", "top"))
    assert found.transfers_to == 2
    assert 0 <= found.stages[0].accuracy <= 1


def test_every_stage_needs_a_name(make_examples: MakeExamples) -> None:
    with pytest.raises(ValueError, match="3 names for the features of 2 stages"):
        map_layers(make_examples([20, 20]), ("a", "b", "c"))


def test_the_map_is_the_same_each_time() -> None:
    examples = _stages([0.3, 1.0])
    assert map_layers(examples, NAMES[:2]) == map_layers(examples, NAMES[:2])
