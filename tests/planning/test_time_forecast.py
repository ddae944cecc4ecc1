"""The seconds of a rung are the sum of its parts, and measured rates leave the warm-up out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headstart.planning.time_forecast import (
    Rates,
    TimeForecast,
    Work,
    choosing_seconds,
    epochs_within,
    forecast_seconds,
)
from headstart.records import from_json, to_json

RATES = Rates(startup=3.0, trunk=100.0, step=50.0, judge=200.0, whole=120.0)
WORK = Work(train_rows=400, held_rows=100, embedded=600, views=8, epochs=12, judgings=14)


def test_the_parts_are_counted_as_they_happen_and_add_up() -> None:
    found = forecast_seconds(RATES, WORK)
    assert found.views == pytest.approx(8 * 400 / 100)
    assert found.steps == pytest.approx(12 * 400 / 50)
    assert found.judging == pytest.approx(100 / 100 + 14 * 100 / 200)
    assert found.features == pytest.approx(600 / 120)
    assert found.seconds == pytest.approx(3 + found.views + found.steps + found.judging + found.features)
    assert from_json(TimeForecast, to_json(found)) == found
    assert from_json(Rates, to_json(RATES)) == RATES


def test_nothing_is_computed_below_cut_0() -> None:
    found = forecast_seconds(replace(RATES, trunk=1e-9), replace(WORK, views=0))
    assert found.views == 0
    assert found.judging == pytest.approx(14 * 100 / 200)


@pytest.mark.parametrize("seconds", [0.0, 45.0, 60.0, 100.0, 140.0, 1e4])
def test_the_epochs_that_fit_are_the_most_that_do(seconds: float) -> None:
    epochs = epochs_within(seconds, RATES, WORK)
    assert 0 <= epochs <= WORK.epochs

    def needed(count: int) -> float:
        return forecast_seconds(RATES, replace(WORK, epochs=count, judgings=2 + count)).seconds

    assert epochs == 0 or needed(epochs) <= seconds + 1e-6
    assert epochs == WORK.epochs or needed(epochs + 1) > seconds


def test_choosing_a_precision_takes_no_more_than_its_training_is_worth() -> None:
    few, some, many = (choosing_seconds(20.0, images) for images in (0, 400, 10**6))
    assert few == pytest.approx(6 * 8 / 20)
    assert some == pytest.approx(few + 0.1 * 2 * 400 / 20)
    assert many == pytest.approx(few + 1 + 12 * 8 / 20)


def test_impossible_rates_are_refused() -> None:
    for field, value in (("trunk", 0.0), ("step", -1.0), ("judge", float("nan")), ("startup", -1.0)):
        with pytest.raises(ValueError, match="can't be"):
            replace(RATES, **{field: value})
