"""A budget is read as people write it, and its clock counts every second from the process's start."""

from __future__ import annotations

import math
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.errors import OptionError
from headstart.runs.budget import Budget, Countdown, at_least, process_age


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("1h", 3600),
        ("1h30m", 5400),
        ("1h 30m 5s", 5405),
        ("1H30M", 5400),
        (" 90s ", 90),
        ("1.5h", 5400),
        ("0.5s", 0.5),
        ("none", None),
        ("Unlimited", None),
    ],
)
def test_people_write_budgets_like_this(text: str, seconds: float | None) -> None:
    assert Budget.parse(text) == Budget(seconds)


@pytest.mark.parametrize(
    ("text", "way_out"),
    [
        ("30", "30s for seconds or 30m for minutes"),
        ("1.5", "1.5s for seconds or 1.5m"),
        ("+5", "5s for seconds"),
        ("-5m", "write for example"),
        ("-5", "write for example"),
        ("", "write for example"),
        ("   ", "write for example"),
        ("5 minutes", "write for example"),
        ("30m1h", "write for example"),
        ("1h1h", "write for example"),
        ("2d", "write for example"),
        ("1e3s", "write for example"),
        ("nan", "write for example"),
        ("inf", "write for example"),
        ("0s", "no time at all"),
        ("0h0m", "no time at all"),
        ("9999h", "write none"),
        ("9" * 400 + "h", "write none"),
    ],
)
def test_everything_else_is_refused_with_the_way_out(text: str, way_out: str) -> None:
    with pytest.raises(OptionError, match=way_out):
        Budget.parse(text)


@given(st.text(max_size=12))
def test_any_text_is_a_budget_or_an_option_error(text: str) -> None:
    try:
        seconds = Budget.parse(text).seconds
    except OptionError:
        return
    assert seconds is None or seconds > 0


@given(st.integers(1, 400 * 3600) | st.floats(0.001, 1e6))
def test_what_is_written_is_read_again(seconds: float) -> None:
    read = Budget.parse(str(Budget(float(seconds)))).seconds
    assert read == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("seconds", "text"), [(5400, "1h30m"), (120, "2m"), (59.5, "59.5s"), (3605, "1h5s"), (None, "none")]
)
def test_budgets_are_shown_as_people_write_them(seconds: float | None, text: str) -> None:
    assert str(Budget(seconds)) == text
    assert Budget.minutes(2) == Budget(120)


def test_time_runs_down_to_the_reserve_and_not_below_zero() -> None:
    clock = Clock()
    countdown = Countdown.from_now(Budget(100), clock).keeping(20)
    assert (countdown.elapsed(), countdown.remaining(), countdown.until_end()) == (0, 80, 100)
    clock.now += 30
    assert (countdown.remaining(), countdown.left_for(0.5), countdown.until_end()) == (50, 25, 70)
    assert countdown.holds(50)
    assert not countdown.holds(50.1)
    clock.now += 60
    assert (countdown.remaining(), countdown.left_for(1), countdown.until_end()) == (0, 0, 10)
    clock.now += 60
    assert (countdown.remaining(), countdown.until_end(), countdown.elapsed()) == (0, -50, 150)
    assert countdown.keeping(-3).reserve == 0


def test_without_a_limit_everything_fits() -> None:
    countdown = Countdown.from_now(Budget(None), Clock())
    assert countdown.remaining() == countdown.left_for(0.1) == countdown.until_end() == math.inf
    assert countdown.holds(1e12)


@pytest.mark.parametrize("share", [0, -0.1, 1.1, math.nan])
def test_only_a_share_can_be_left(share: float) -> None:
    with pytest.raises(ValueError, match="no share"):
        Countdown.from_now(Budget(10)).left_for(share)


@given(st.floats(0.001, 1e7))
def test_the_reserve_leaves_at_least_half_for_the_work(seconds: float) -> None:
    budget = Budget(seconds)
    assert 0 < budget.reserve <= seconds / 2
    assert budget.reserve <= 30


def test_the_real_clock_never_goes_back() -> None:
    countdown = Countdown.of_process(Budget.minutes(60))
    seen = [countdown.remaining() for _ in range(1000)]
    assert seen == sorted(seen, reverse=True)


def test_the_process_is_counted_from_its_start() -> None:
    code = "import time; time.sleep(0.4); from headstart.runs.budget import process_age; print(process_age())"
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    whole = time.perf_counter() - started
    assert 0.4 * sys.platform.startswith("linux") <= float(done.stdout) <= whole + 0.05
    assert process_age() > 0


def test_some_seconds_are_left_whatever_the_budget() -> None:
    assert at_least(60.0, lambda: 100.0)() == 100.0
    left = at_least(60.0, lambda: 0.0)
    before = left()
    assert 0 < before <= 60.0
    assert left() < before, "they go by"
    assert at_least(0.0, lambda: 0.0)() <= 0.0
