"""Limits of size and latency are read as people write them, and leave out what is beyond them."""

from __future__ import annotations

import pytest

from headstart.errors import OptionError
from headstart.planning.limits import NO_LIMITS, Cost, Limits, within

SMALL, LARGE = Cost(13_400_000, 0.004), Cost(90_000_000, 0.025)


@pytest.mark.parametrize(
    ("text", "size"), [("10MB", 1e7), ("10 mb", 1e7), ("500kB", 5e5), ("1.5GB", 1.5e9), ("1MiB", 2**20), ("7b", 7)]
)
def test_sizes(text: str, size: float) -> None:
    assert Limits.parse(text, None) == Limits(size, None)


@pytest.mark.parametrize(("text", "seconds"), [("20ms", 0.02), ("0.1s", 0.1), ("500us", 0.0005)])
def test_latencies(text: str, seconds: float) -> None:
    assert Limits.parse(None, text).latency == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["10", "", "MB", "-1MB", "10 potatoes", "0MB", "nanMB", "1e3MB", "9" * 400 + "GB"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(OptionError, match=r"--max-size .*write for example 10MB"):
        Limits.parse(text, None)
    with pytest.raises(OptionError, match=r"--max-latency .*write for example 20ms"):
        Limits.parse(None, text)


def test_what_is_beyond_a_limit_is_left_out() -> None:
    costs = {"small": SMALL, "large": LARGE}
    assert within(NO_LIMITS, costs) == ["small", "large"]
    assert within(Limits.parse("20MB", None), costs) == ["small"]
    assert within(Limits.parse(None, "5ms"), costs) == ["small"]
    assert within(Limits.parse("90MB", "25ms"), costs) == ["small", "large"], "up to and with the limit"


def test_where_nothing_is_left_the_nearest_is_named() -> None:
    with pytest.raises(OptionError) as refused:
        within(Limits.parse("10MB", "20ms"), {"large": LARGE, "small": SMALL})
    assert "no model is within --max-size 10MB --max-latency 20ms" in str(refused.value)
    assert "the nearest, small, takes 13.4MB and 4ms" in str(refused.value)
    with pytest.raises(OptionError, match="no model"):
        within(NO_LIMITS, {})


def test_a_latency_that_is_limited_must_have_been_measured() -> None:
    with pytest.raises(ValueError, match="must be measured"):
        within(Limits.parse(None, "20ms"), {"a": Cost(1)})
    assert within(Limits.parse("20MB", None), {"a": Cost(1)}) == ["a"]
