"""The posterior seldom claims a gain that isn't there, believes many rows, and says what more rungs may bring."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headstart.errors import DataError
from headstart.planning.posterior import Posterior, RowScores, observe, update
from headstart.planning.prior import Conditions, Prior, RungKind, prior_of

Floats = npt.NDArray[np.float64]
KINDS = (RungKind("cut 7", "top"), RungKind("cut 4", "middle"), RungKind("cut 0", "whole"))
# So many rows tell every gain from luck.
MANY = 10**9
CONDITIONS = Conditions(300, 40, 0.1, 20.0, 0.6)


def _prior(conditions: Conditions = CONDITIONS) -> Prior:
    return prior_of(conditions, KINDS, probe="probe")


def _rows(rng: np.random.Generator, margins: Floats) -> RowScores:
    """Two classes: the truth is favoured by a margin, a row."""
    losses = np.log1p(np.exp(-margins))
    return RowScores(losses, (margins > 0).astype(np.float64))


def _pair(rng: np.random.Generator, rows: int, shift: float, own: float = 0.7) -> tuple[RowScores, RowScores]:
    """A probe that is right on about 80 %, and a rung that sees the same difficulty, noise of its own and ``shift``."""
    difficulty = rng.normal(1.3, 1.4, rows)
    probe = _rows(rng, difficulty + rng.normal(0, own, rows))
    return probe, _rows(rng, difficulty + rng.normal(0, own, rows) + shift)


def _posterior(probe: RowScores, rungs: dict[str, RowScores], groups: Any = None) -> Posterior:
    return update(_prior(), observe(probe, rungs, groups))


@pytest.mark.parametrize("rows", [25, 60, 400])
def test_without_a_true_gain_one_is_seldom_claimed(rows: int) -> None:
    rng = np.random.default_rng(0)
    claims = []
    for _ in range(300):
        probe, rung = _pair(rng, rows, 0.0)
        claims.append(_posterior(probe, {"cut 4": rung}).gain("cut 4").better > 0.95)
    assert np.mean(claims) <= 0.08, "the prior believes in gains, so slightly more than 5 % may be claimed"


def test_where_the_prior_believes_in_nothing_noise_is_claimed_even_less() -> None:
    rng = np.random.default_rng(0)
    prior = _prior(Conditions(300, 40, 0.1, 75.0, 1.4, belief=0.0))
    claims = []
    for _ in range(200):
        probe, rung = _pair(rng, 60, 0.0)
        claims.append(update(prior, observe(probe, {"cut 4": rung})).gain("cut 4").mean > 0.5)
    assert np.mean(claims) <= 0.05


def test_with_many_rows_the_data_decide() -> None:
    rng = np.random.default_rng(1)
    probe, rung = _pair(rng, 20_000, 0.8)
    truth = 100 * float((rung.correct - probe.correct).mean())
    for conditions in (CONDITIONS, Conditions(20, 5, 0.02, 20.0, 0.6), Conditions(10**4, 10**3, 0.5, 20.0, 0.6)):
        gain = update(_prior(conditions), observe(probe, {"cut 4": rung})).gain("cut 4")
        assert gain.mean == pytest.approx(truth, abs=0.5)
        assert gain.better > 0.999


def test_with_few_rows_the_prior_holds_it_back() -> None:
    right = np.repeat([1.0, 0.0], [7, 5])
    probe, rung = RowScores(1.5 - right, right), RowScores(np.full(12, 0.4), np.ones(12))
    gain = _posterior(probe, {"cut 4": rung}).gain("cut 4")
    assert _prior().mean[2] < gain.mean < 0.5 * 100 * 5 / 12
    assert gain.sd > 1


def test_intervals_cover_truths_as_the_prior_expects_them() -> None:
    rng, prior = np.random.default_rng(3), _prior()
    shifts, truths = np.linspace(-0.6, 1.2, 19), []
    for shift in shifts:
        probe, rung = _pair(rng, 50_000, shift)
        truths.append(100 * float((rung.correct - probe.correct).mean()))
    inside = []
    for truth in rng.normal(prior.mean[2], np.sqrt(prior.covariance[2, 2]), 300):
        probe, rung = _pair(rng, 80, float(np.interp(truth, truths, shifts)))
        low, high = _posterior(probe, {"cut 4": rung}).gain("cut 4").ci95
        inside.append(low <= truth <= high)
    assert np.mean(inside) >= 0.93


def test_a_collapse_is_believed_although_the_prior_did_not_expect_it() -> None:
    rng = np.random.default_rng(4)
    probe, rung = _pair(rng, 100, -2.5)
    raw = 100 * float((rung.correct - probe.correct).mean())
    posterior = _posterior(probe, {"cut 4": rung})
    assert raw < -25
    assert posterior.gain("cut 4").mean < 0.6 * raw
    assert posterior.gain("cut 4").better < 0.01


def test_one_rung_tells_of_those_not_tried() -> None:
    rng = np.random.default_rng(5)
    before = update(_prior(), observe(RowScores(np.zeros(0), np.zeros(0)), {}))
    probe, good = _pair(rng, 400, 1.2)
    _, bad = _pair(rng, 400, 0.0)
    bad = RowScores(probe.losses + 0.2, probe.correct)
    after_good, after_bad = _posterior(probe, {"cut 7": good}), _posterior(probe, {"cut 7": bad})
    assert before.names == ("probe", "cut 7", "cut 4", "cut 0")
    assert after_bad.gain("cut 0").mean < before.gain("cut 0").mean < after_good.gain("cut 0").mean
    assert after_good.gain("cut 0").sd < before.gain("cut 0").sd


def test_log_loss_sharpens_what_is_known_in_points() -> None:
    rng = np.random.default_rng(6)
    probe, rung = _pair(rng, 100, 0.8)
    silent = RowScores(probe.losses, rung.correct)
    with_losses = _posterior(probe, {"cut 4": rung}).gain("cut 4")
    without = _posterior(probe, {"cut 4": silent}).gain("cut 4")
    assert with_losses.mean > without.mean


def test_rows_of_a_group_count_once() -> None:
    rng = np.random.default_rng(7)
    probe, rung = _pair(rng, 40, 0.8)
    tenfold = [RowScores(np.repeat(r.losses, 10), np.repeat(r.correct, 10)) for r in (probe, rung)]
    groups = np.repeat(np.arange(40), 10)
    once = observe(probe, {"cut 4": rung})
    copied = observe(tenfold[0], {"cut 4": tenfold[1]}, groups)
    naive = observe(tenfold[0], {"cut 4": tenfold[1]})
    np.testing.assert_allclose(copied.noise, once.noise)
    np.testing.assert_allclose(copied.mean, once.mean)
    assert copied.units == once.units == (40,)
    assert copied.rows == (400,)
    assert naive.noise[0, 0] < 0.2 * once.noise[0, 0]


def test_agreement_on_few_rows_is_no_certainty() -> None:
    same = RowScores(np.full(10, 0.1), np.ones(10))
    observed = observe(same, {"cut 4": same})
    assert observed.mean.tolist() == [0.0, 0.0]
    assert 2 < np.sqrt(observed.noise[0, 0]) < 15, "points"
    single = observe(same, {"cut 4": same}, np.zeros(10, int))
    assert np.sqrt(single.noise[0, 0]) > 30, "one group may be anything"


def test_rungs_judged_on_other_rows_are_compared_on_their_own() -> None:
    rng = np.random.default_rng(8)
    probe, rung = _pair(rng, 60, 0.5)
    part = np.arange(60) < 20
    partly = RowScores(np.where(part, rung.losses, np.nan), np.where(part, rung.correct, np.nan))
    observed = observe(probe, {"cut 7": rung, "cut 4": partly})
    assert observed.rows == (60, 20)
    assert observed.mean[1] == pytest.approx(100 * float((rung.correct - probe.correct)[part].mean()))
    assert observed.noise[1, 1] > observed.noise[0, 0]
    assert np.linalg.eigvalsh(observed.noise).min() > 0


def test_rare_classes_can_weigh_more() -> None:
    probe = RowScores(np.full(4, 0.5), np.array([1.0, 1.0, 1.0, 0.0]))
    rung = RowScores(np.full(4, 0.5), np.array([1.0, 1.0, 0.0, 1.0]))
    even = observe(probe, {"cut 4": rung})
    weighed = observe(probe, {"cut 4": rung}, weights=np.array([2 / 3, 2 / 3, 2 / 3, 2.0]))
    assert even.mean[0] == 0
    assert weighed.mean[0] == pytest.approx(100 * (2 - 2 / 3) / 4)


def test_on_few_rows_a_gain_can_not_be_told_from_luck() -> None:
    probe, _ = _pair(np.random.default_rng(9), 200, 0.8)
    before = update(_prior(), observe(probe, {}))
    worth = [before.expected_further_gain("cut 0", "probe", units=units) for units in (1, 10, 100, MANY)]
    assert worth == sorted(worth)
    assert worth[0] < worth[-1]
    assert worth[0] >= max(0.0, before.gain("cut 0").mean) - 1e-9


def test_further_gain_is_what_can_still_come_out() -> None:
    rng = np.random.default_rng(9)
    probe, rung = _pair(rng, 2000, 0.8)
    before = update(_prior(), observe(probe, {}))
    after = _posterior(probe, {"cut 4": rung})
    assert after.best(["probe", "cut 4"]) == "cut 4"
    assert before.expected_further_gain("cut 0", "probe", units=MANY) > before.gain("cut 0").mean > 0
    assert (
        0
        < after.expected_further_gain("cut 0", "cut 4", units=MANY)
        < before.expected_further_gain("cut 0", "probe", units=MANY)
    )
    assert after.expected_further_gain("cut 4", "cut 4", units=MANY) == 0
    spotless = update(_prior(Conditions(300, 40, 0.1, 0.5, 0.01)), observe(probe, {}))
    assert spotless.expected_further_gain("cut 0", "probe", units=MANY) <= 0.5, "no more than the probe leaves"


def test_differences_between_rungs_know_what_they_share() -> None:
    rng = np.random.default_rng(10)
    probe, rung = _pair(rng, 300, 0.5)
    nearly = RowScores(rung.losses + rng.normal(0, 0.01, 300), rung.correct)
    posterior = _posterior(probe, {"cut 7": rung, "cut 4": nearly})
    apart = posterior.gain("cut 4", over="cut 7")
    assert apart.sd < posterior.gain("cut 4").sd
    back = posterior.gain("cut 7", over="cut 4")
    assert (back.mean, back.sd) == pytest.approx((-apart.mean, apart.sd))
    assert back.better == pytest.approx(1 - apart.better)
    assert posterior.gain("cut 7", over="cut 7").better == 0.5


def test_rungs_that_share_no_row_are_refused() -> None:
    probe, gone = RowScores(np.zeros(3), np.ones(3)), RowScores(np.full(3, np.nan), np.full(3, np.nan))
    with pytest.raises(DataError, match="cut 4 and the probe share no row"):
        observe(probe, {"cut 4": gone})
    with pytest.raises(DataError, match="3"):
        observe(probe, {"cut 4": RowScores(np.zeros(2), np.ones(2))})
    with pytest.raises(ValueError, match="knows nothing of cut 5"):
        update(_prior(), observe(probe, {"cut 5": probe}))
