"""Policies: which view an epoch sees, and what can be computed ahead."""

from __future__ import annotations

from collections import Counter

import pytest

from headstart.errors import OptionError
from headstart.training.finetuning.view_policy import Policy, needed, next_fresh, view_number

POLICIES = [Policy("fixed", 1), Policy("fixed", 3), Policy("online"), Policy("rolling", 1), Policy("rolling", 4)]


def _numbers(policy: Policy, epochs: int) -> list[int]:
    return [view_number(policy, epoch) for epoch in range(epochs)]


def test_each_policy_gives_the_numbers_it_promises() -> None:
    assert _numbers(Policy("fixed", 3), 7) == [0, 1, 2, 0, 1, 2, 0]
    assert _numbers(Policy("online", 3), 4) == [0, 1, 2, 3]
    assert _numbers(Policy("rolling", 3), 10) == [0, 1, 2, 0, 3, 1, 4, 2, 5, 3]
    assert _numbers(Policy("rolling", 1), 6) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("views", [1, 2, 4, 8])
def test_rolling_sees_every_view_twice_and_holds_no_more_than_its_views(views: int) -> None:
    numbers = _numbers(Policy("rolling", views), 40)
    assert set(Counter(numbers[: 40 - 2 * views]).values()) <= {1, 2}
    last = {number: epoch for epoch, number in enumerate(numbers)}
    first = {number: epoch for epoch, number in reversed(list(enumerate(numbers)))}
    for epoch in range(40):
        assert len([n for n in last if first[n] <= epoch <= last[n]]) <= views


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_needed_is_the_views_of_all_epochs(policy: Policy) -> None:
    assert needed(policy, 0) == []
    assert needed(policy, 11) == sorted(set(_numbers(policy, 11)))


@pytest.mark.parametrize("policy", POLICIES)
def test_the_next_fresh_view_is_named_before_the_epoch_that_needs_it(policy: Policy) -> None:
    seen: set[int] = set()
    ready = {view_number(policy, 0)}
    for epoch, number in enumerate(_numbers(policy, 12)):
        assert number in ready
        seen.add(number)
        fresh = next_fresh(policy, epoch, 12)
        assert fresh is None or fresh not in seen
        ready |= {fresh} if fresh is not None else set()
    assert ready == set(needed(policy, 12))


def test_bad_policies_are_refused() -> None:
    with pytest.raises(OptionError, match="0 views"):
        Policy("rolling", 0)
    with pytest.raises(OptionError, match="unknown policy"):
        Policy("sometimes")  # type: ignore[arg-type]
