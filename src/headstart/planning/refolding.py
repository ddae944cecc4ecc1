"""Folds of small data are dealt several times, so that a choice depends less on the luck of one deal."""

from __future__ import annotations

import dataclasses

import numpy as np

from headstart.data.splits import folds
from headstart.planning.rule_table import DEALS, ENOUGH_VALIDATION_ROWS
from headstart.training.examples import Examples


def deals_for(units: int) -> int:
    """How often rows are dealt into folds, where so many independent rows, or groups of rows, judge a choice."""
    return DEALS if units < ENOUGH_VALIDATION_ROWS else 1


def dealt(examples: Examples, seed: int) -> tuple[Examples, ...]:
    """The same rows in as many deals of their folds as their number asks for; one where a split of the user's judges.

    The first are ``examples`` themselves.
    """
    if len(examples.folds) == 1:
        return (examples,)
    return deal_again(examples, deals_for(len(np.unique(examples.groups))), seed)


def deal_again(examples: Examples, times: int, seed: int) -> tuple[Examples, ...]:
    """So many deals: ``examples`` with their own folds, then with others, stratified and grouped alike.

    Which rows are never held out can differ between deals, see :func:`headstart.data.splits.folds`.
    """
    # Seeds of their own: with seed + 1 and so on, the deals of runs with neighbouring seeds would be the same.
    seeds = np.random.SeedSequence(seed).generate_state(times - 1) if times > 1 else ()
    count = len(examples.folds)
    others = (folds(examples.targets, examples.groups, count, int(other)) for other in seeds)
    return (examples, *(dataclasses.replace(examples, folds=tuple(pairs)) for pairs in others))
