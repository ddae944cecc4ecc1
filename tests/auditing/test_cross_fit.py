"""Cross-fitted probabilities: every row is judged once by models that had not seen it, nor its group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from headstart.auditing.cross_fit import cross_fitted
from headstart.training.examples import Examples

MakeExamples = Callable[..., Examples]


def test_all_rows_are_judged_even_where_a_split_of_the_users_judges_the_ladder(make_examples: MakeExamples) -> None:
    examples = make_examples([30, 30], top=2.0)
    judged_on_a_few = replace(examples, folds=((np.arange(10, 60), np.arange(10)),))
    chances = cross_fitted(judged_on_a_few, seed=0)
    assert np.isfinite(chances).all()
    assert np.allclose(chances.sum(1), 1)
    assert (chances.argmax(1) == examples.targets).mean() > 0.8


def test_a_label_does_not_vouch_for_itself(make_examples: MakeExamples) -> None:
    """Labels at random can't be told by models that have not seen them."""
    examples = make_examples([40, 40], top=0.0, stage=0.0, shuffled=True)
    right = cross_fitted(examples, seed=0)[np.arange(80), examples.targets]
    assert (right > 0.5).mean() < 0.7


def test_nor_do_rows_of_its_group(make_examples: MakeExamples) -> None:
    """Pairs of equal rows with a label of their own: known at once, if one of a pair could vouch for the other."""
    single = make_examples([40, 40], top=0.0, stage=0.0, shuffled=True)
    rows = np.repeat(np.arange(80), 2)
    paired = replace(single, places=rows, targets=single.targets[rows], groups=rows)
    right = cross_fitted(paired, seed=0)[np.arange(160), paired.targets]
    assert (right > 0.5).mean() < 0.7


def test_a_single_row_of_a_class_is_not_judged(make_examples: MakeExamples) -> None:
    assert np.isnan(cross_fitted(make_examples([1, 1]), seed=0)).all()
