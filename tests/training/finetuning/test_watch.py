"""Early stopping and the overfitting warning, as states over the losses so far."""

from __future__ import annotations

import math

import numpy as np
import pytest

from headstart.errors import DataError, OptionError
from headstart.records import from_json, to_json
from headstart.training.finetuning.watch import EarlyStopping, EpochLosses, Improvement, diverging, improvement


def _run(values: list[float], noise: float = 0.0) -> EarlyStopping:
    state = EarlyStopping(patience=3)
    for epoch, value in enumerate(values):
        state = state.after(epoch, value, noise)
        if state.stops:
            break
    return state


def test_it_stops_after_patience_and_remembers_the_best() -> None:
    state = _run([1.0, 0.8, 0.7, 0.75, 0.72, 0.71, 0.1])
    assert state.stops
    assert (state.best_epoch, state.best) == (2, 0.7)


def test_gains_within_noise_are_kept_but_do_not_prolong() -> None:
    state = _run([1.0, 0.99, 0.985, 0.98], noise=0.05)
    assert state.stops
    assert state.reference_epoch == 0
    assert state.best_epoch == 3


def test_small_steps_that_add_up_count() -> None:
    state = _run([1.0, 0.98, 0.96, 0.94, 0.92, 0.90, 0.88, 0.86], noise=0.05)
    assert not state.stops
    assert state.reference_epoch == 6


def test_a_loss_that_is_no_number_never_improves() -> None:
    state = _run([math.nan, 1.0, math.inf, math.nan, -math.inf])
    assert state.stops
    assert state.best_epoch == 1


@pytest.mark.parametrize("epochs", range(5))
def test_written_to_json_at_any_epoch_it_goes_on_alike(epochs: int) -> None:
    values = [1.0, 0.5, 0.6, math.nan, 0.55, 0.4]
    state = EarlyStopping()
    for epoch, value in enumerate(values):
        if epoch == epochs:
            state = from_json(EarlyStopping, to_json(state))
        state = state.after(epoch, value, 0.01)
    whole = EarlyStopping()
    for epoch, value in enumerate(values):
        whole = whole.after(epoch, value, 0.01)
    assert state == whole


def test_impossible_patience_is_refused() -> None:
    with pytest.raises(OptionError, match="patience"):
        EarlyStopping(0)


def test_pairing_shows_gains_that_the_rows_own_spread_hides() -> None:
    rng = np.random.default_rng(0)
    before = rng.exponential(size=400) * 3
    found = improvement(before, before - 0.05 + rng.normal(size=400) * 0.1)
    assert found.mean == pytest.approx(0.05, abs=0.02)
    assert found.standard_error == pytest.approx(0.1 / 20, rel=0.2)
    assert found.beyond_noise
    assert not improvement(before, before + rng.normal(size=400) * 0.1 + 0.01).beyond_noise
    assert not Improvement(0.0, 0.0).beyond_noise


def test_rows_of_a_group_are_one_observation() -> None:
    rng = np.random.default_rng(1)
    gains = np.repeat(rng.normal(size=40), 10)
    groups = np.repeat(np.arange(40), 10)
    alone = improvement(gains, np.zeros(400)).standard_error
    grouped = improvement(gains, np.zeros(400), groups).standard_error
    assert grouped == pytest.approx(np.std(gains[::10], ddof=1) / math.sqrt(40))
    assert grouped > 3 * alone
    assert improvement(gains, np.zeros(400), np.zeros(400)).standard_error == math.inf
    assert not improvement([1.0], [0.0]).beyond_noise


def test_losses_that_can_not_be_paired_are_refused() -> None:
    for before, after in [([1.0], [1.0, 2.0]), ([], []), ([math.nan], [1.0])]:
        with pytest.raises(DataError, match="paired"):
            improvement(before, after)


def _history(train: list[float], validation: list[float], noise: float = 0.0) -> list[EpochLosses]:
    pairs = enumerate(zip(train, validation, strict=True))
    return [EpochLosses(epoch, first, second, noise) for epoch, (first, second) in pairs]


def test_losses_that_part_are_named_in_a_sentence() -> None:
    found = diverging(_history([1.0, 0.7, 0.5, 0.4, 0.3], [0.9, 0.6, 0.65, 0.7, 0.8]))
    assert found is not None
    assert "since epoch 1" in found
    assert "0.700 to 0.300" in found
    assert "0.600 to 0.800" in found


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        ([1.0, 0.7, 0.5, 0.4], [0.9, 0.8, 0.7, 0.6]),  # both fall
        ([1.0, 0.7, 0.8, 0.9, 1.0], [0.9, 0.6, 0.65, 0.7, 0.8]),  # both rise: too high a rate, not overfitting
        ([1.0, 0.7, 0.5, 0.4], [0.9, 0.6, 0.65, 0.7]),  # not long enough
        ([1.0, 0.7, 0.5, 0.4, 0.3], [0.6, 0.59, 0.8, 0.7, 0.65]),  # coming down again
        ([math.nan, 0.5], [0.6, 0.7]),
        ([], []),
    ],
)
def test_all_else_is_no_reason_to_warn(train: list[float], validation: list[float]) -> None:
    assert diverging(_history(train, validation)) is None


def test_a_rise_within_noise_is_no_reason_to_warn() -> None:
    train, validation = [1.0, 0.7, 0.5, 0.4, 0.3], [0.9, 0.6, 0.61, 0.62, 0.63]
    assert diverging(_history(train, validation)) is not None
    assert diverging(_history(train, validation, noise=0.02)) is None


def test_one_epoch_is_no_trend() -> None:
    with pytest.raises(OptionError):
        diverging([], epochs=1)
