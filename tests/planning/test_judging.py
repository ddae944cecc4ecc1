"""Judging keeps its promises: test labels shape nothing, and nobody is judged by a model that knew them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headstart.data import Dataset, resolve
from headstart.data.trees import Files
from headstart.errors import DataError
from headstart.features.table import FeatureTable
from headstart.planning import judging
from headstart.planning.judging import (
    Fitted,
    Judged,
    baseline_scores,
    judge_nested,
    judge_test,
    judge_validation,
    unseen_chances,
)
from headstart.planning.ladder import candidates, climb
from headstart.training.examples import Examples
from headstart.training.gathering import examples_of
from headstart.training.novelty import fit_novelty

MakeExamples = Callable[..., Examples]
CLASSES = ("a", "b", "c")


def _dataset(labels: list[str], splits: list[str | None]) -> Dataset:
    names = [f"{number}.png" for number in range(len(labels))]
    table = pa.table(
        {
            "image": names,
            "file": names,
            "label": labels,
            "split": pa.array(splits, pa.string()),
            "group": pa.array([None] * len(names), pa.string()),
            "hash": names,
        }
    )
    return Dataset("made", "classification", CLASSES, table, Files())


@dataclass(frozen=True)
class Outcome:
    """All that a run decides, as arrays."""

    examples: Examples
    fitted: Fitted
    validation: Judged
    test: Judged

    @property
    def decided(self) -> list[Any]:
        novelty = fit_novelty(self.examples.features(("features",)), self.examples.encoded, seed=0)
        return [
            self.fitted.strategy,
            self.fitted.head.weights,
            self.fitted.head.bias,
            self.fitted.temperature,
            self.validation.probabilities,
            self.validation.scores(self.examples.task, CLASSES, 0),
            novelty.features,
            novelty.threshold,
            self.test.probabilities,
            *self.test.baselines.values(),
        ]


def _whole_way(dataset: Dataset, table: FeatureTable, columns: dict[str, slice]) -> Outcome:
    dataset, protocol = resolve(dataset, test=None, seed=0)
    examples = examples_of(dataset, table, columns, protocol, 0)
    climbed = climb(candidates("auto", examples, "accuracy"), examples, metric="accuracy", cut=9, seed=0)
    fitted = judging.refit_best(climbed, examples)
    validation = judge_validation(climbed, examples, grouped=False, given=protocol.selection == "val")
    places = np.flatnonzero(dataset.splits == "test")
    predicted = fitted.predict(examples, places)
    return Outcome(
        examples,
        fitted,
        validation,
        judge_test(predicted, fitted.thresholds, places, dataset.targets[places], None, frozen=examples),
    )


def _equal(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else one == other


@pytest.mark.parametrize("selection", ["val", "folds"])
def test_test_labels_influence_neither_model_nor_validation(make_examples: MakeExamples, selection: str) -> None:
    made = make_examples([80, 80, 80], top=0.5, stage=0.5)
    order = np.random.default_rng(0).permutation(240)
    splits: list[str | None] = ["train"] * 240
    for number in order[:60]:
        splits[number] = "test"
    if selection == "val":
        for number in order[60:110]:
            splits[number] = "val"
    labels = [CLASSES[target] for target in made.targets]
    changed = [
        CLASSES[(CLASSES.index(label) + 1) % 3] if split == "test" else label
        for label, split in zip(labels, splits, strict=True)
    ]
    before = _whole_way(_dataset(labels, splits), made.table, made.columns)
    after = _whole_way(_dataset(changed, splits), made.table, made.columns)
    assert all(map(_equal, before.decided, after.decided))
    assert before.validation.estimate == ("held_out_rows" if selection == "val" else "out_of_fold")
    assert (before.test.targets != after.test.targets).all()

    labels[order[200]] = CLASSES[(CLASSES.index(labels[order[200]]) + 1) % 3]  # one training label changes a lot
    other = _whole_way(_dataset(labels, splits), made.table, made.columns)
    assert not _equal(before.fitted.head.weights, other.fitted.head.weights)


def test_development_and_test_rows_are_apart_and_complete(make_examples: MakeExamples) -> None:
    made = make_examples([100, 100, 100])
    found = _whole_way(_dataset([CLASSES[t] for t in made.targets], [None] * 300), made.table, made.columns)
    assert sorted([*found.examples.places, *found.test.places]) == list(range(300))
    assert sorted(found.validation.places) == sorted(found.examples.places)
    assert len(found.test.places) == 60


@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_in_the_nested_estimate_no_row_is_predicted_by_a_model_that_knew_its_group(
    make_examples: MakeExamples, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    examples = make_examples([40, 40, 40], groups=np.arange(120) // 2, task=task)
    seen: list[Examples] = []
    predicted: list[np.ndarray] = []
    climb_before, predict_before = judging.climb, Fitted.predict

    def spy_climb(strategies: Any, part: Examples, **options: Any) -> Any:
        seen.append(part)
        return climb_before(strategies, part, **options)

    def spy_predict(self: Fitted, part: Examples, places: np.ndarray) -> Any:
        assert part is seen[-1]
        predicted.append(places)
        return predict_before(self, part, places)

    monkeypatch.setattr(judging, "climb", spy_climb)
    monkeypatch.setattr(Fitted, "predict", spy_predict)
    found = judge_nested(candidates("auto", examples, "accuracy"), examples, metric="accuracy", seed=0, grouped=True)
    assert len(seen) == len(predicted) == 5
    for part, places in zip(seen, predicted, strict=True):
        assert not set(part.groups) & set(examples.groups[places])
        for train, held in part.folds:
            assert not set(part.groups[train]) & set(part.groups[held])
    assert sorted(np.concatenate(predicted)) == sorted(found.places) == list(range(120))
    assert found.estimate == "nested_out_of_fold"
    assert (found.thresholds is not None) == (task == "multilabel")
    assert found.groups is not None


def test_the_nested_estimate_of_shuffled_labels_is_chance(make_examples: MakeExamples) -> None:
    right, loss = [], []
    for seed in range(4):
        examples = make_examples([40, 40, 40], shuffled=True, seed=seed)
        strategies = candidates("auto", examples, "accuracy")
        found = judge_nested(strategies, examples, metric="accuracy", seed=seed, grouped=False)
        scores = found.scores(examples.task, CLASSES, 0)
        right.append(scores["accuracy"])
        loss.append(scores["log_loss"])
    assert np.mean(right) < 1 / 3 + 0.07
    assert np.mean(loss) > np.log(3) - 0.01


def test_a_class_with_one_image_is_not_judged_but_can_be_predicted(make_examples: MakeExamples) -> None:
    examples = make_examples([20, 20, 1])
    found = judge_nested(
        candidates("linear_probe", examples, "accuracy"), examples, metric="accuracy", seed=0, grouped=False
    )
    assert sorted(found.places) == list(range(40))
    assert found.probabilities.shape == (40, 3)
    assert found.scores(examples.task, CLASSES, 0)["per_class"]["c"]["support"] == 0


@pytest.mark.parametrize("counts", [(2, 2), (3, 1), (3, 2), (3, 3, 1)])
def test_a_handful_of_images_is_judged(make_examples: MakeExamples, counts: tuple[int, ...]) -> None:
    examples = make_examples(counts)
    strategies = candidates("auto", examples, "accuracy")
    found = judge_nested(strategies, examples, metric="accuracy", seed=0, grouped=False)
    assert len(found.places)
    assert np.isfinite(found.probabilities).all()
    assert all(np.isfinite(rows).all() for rows in found.baselines.values())


def test_fewer_are_too_few(make_examples: MakeExamples) -> None:
    examples = make_examples((2, 1))
    strategies = candidates("auto", examples, "accuracy")
    with pytest.raises(DataError, match="3 images are too few"):
        judge_nested(strategies, examples, metric="accuracy", seed=0, grouped=False)


def test_baselines_know_the_development_rows_and_nothing_of_the_test(make_examples: MakeExamples) -> None:
    made = make_examples([120, 60, 60], top=0.7)
    splits: list[str | None] = ["test" if number % 4 == 0 else "train" for number in range(240)]
    found = _whole_way(_dataset([CLASSES[t] for t in made.targets], splits), made.table, made.columns)
    scores = baseline_scores(found.test, found.examples.task, "log_loss")
    assert set(scores) == {"majority", "knn", "prototype"}
    assert all(set(values) == {"test_accuracy", "test_log_loss"} for values in scores.values())
    assert scores["majority"]["test_accuracy"] == (found.test.targets == 0).mean() == 0.5
    assert scores["majority"]["test_log_loss"] == pytest.approx(1.5 * np.log(2), abs=0.02)
    assert all(scores[name]["test_log_loss"] < 0.8 for name in ("knn", "prototype"))
    assert all(scores[name]["test_accuracy"] > 0.65 for name in ("knn", "prototype"))


def test_groups_are_named_in_scores_only_where_the_data_have_them(make_examples: MakeExamples) -> None:
    examples = make_examples([40, 40], groups=np.arange(80) // 4)
    climbed = climb(candidates("prototype", examples, "accuracy"), examples, metric="accuracy", cut=9, seed=0)
    with_groups = judge_validation(climbed, examples, grouped=True, given=False)
    scores = with_groups.scores(examples.task, ("a", "b"), 0)
    assert (scores["n"], scores["groups"]) == (80, 20)
    assert replace(with_groups, groups=None).scores(examples.task, ("a", "b"), 0)["groups"] is None


def test_where_the_time_was_over_the_race_alone_says_what_is_known_of_rows(
    make_examples: MakeExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class of one image can't be held out, which is no reason to fit all classes anew."""
    examples = make_examples([30, 30, 1], top=2.0)
    climbed = climb(candidates("auto", examples, "accuracy"), examples, metric="accuracy", cut=9, seed=0)
    late = climb(candidates("auto", examples, "accuracy"), examples, metric="accuracy", cut=9, seed=0, left=lambda: 0.0)
    assert late.record.by_clock
    assert not climbed.record.by_clock
    monkeypatch.setattr(judging, "cross_fitted", lambda *wanted, seed: pytest.fail("all was fitted anew"))
    for race in (climbed, late):
        chances = unseen_chances(race, examples, 0)
        assert np.isnan(chances[60]).all()
        assert (chances[:60].argmax(1) == examples.targets[:60]).mean() > 0.8
    given = replace(examples, folds=((np.arange(10, 61), np.arange(10)),))
    short = climb(candidates("auto", given, "accuracy"), given, metric="accuracy", cut=9, seed=0, left=lambda: 0.0)
    assert np.isfinite(unseen_chances(short, given, 0)).all(1).tolist() == [True] * 10 + [False] * 51


def test_rows_that_train_are_judged_as_well_where_a_split_of_the_users_judges(make_examples: MakeExamples) -> None:
    examples = make_examples([30, 30], top=2.0)
    given = replace(examples, folds=((np.arange(10, 60), np.arange(10)),))
    climbed = climb(candidates("auto", given, "accuracy"), given, metric="accuracy", cut=9, seed=0)
    assert np.isfinite(unseen_chances(climbed, given, 0)).all()
