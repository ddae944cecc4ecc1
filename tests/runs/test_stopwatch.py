"""A stopwatch adds up what was spent in each section."""

from __future__ import annotations

import pytest

from headstart.runs import Stopwatch


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_sections_add_up_and_total_counts_everything() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    for seconds in (1.0, 2.0):
        with watch.section("features"):
            clock.now += seconds
    clock.now += 0.5
    with watch.section("train"):
        clock.now += 4
    assert watch.seconds() == {"total": 7.5, "features": 3.0, "train": 4.0}


def test_a_section_that_fails_counts() -> None:
    clock = Clock()
    watch = Stopwatch(clock)

    def fail() -> None:
        with watch.section("features"):
            clock.now += 2
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert watch.seconds()["features"] == 2


def test_sections_may_be_nested() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    with watch.section("outer"):
        clock.now += 1
        with watch.section("inner"):
            clock.now += 2
    assert watch.seconds() == {"total": 3.0, "inner": 2.0, "outer": 3.0}
