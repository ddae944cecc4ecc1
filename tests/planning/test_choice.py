"""Which rung is kept and whether another is tried, on posteriors that are built by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from headstart.errors import OptionError
from headstart.planning.averaging import Average
from headstart.planning.choice import (
    Candidate,
    Choice,
    Waiting,
    choose,
    continue_climbing,
    has_failed,
    retry_rate,
    with_average,
)
from headstart.planning.limits import Cost, Limits
from headstart.planning.posterior import Posterior, RowScores, observe, update
from headstart.planning.prior import ELICITED, Conditions, RungKind, prior_of
from headstart.training.finetuning.watch import Improvement


def _posterior(points: dict[str, float], sds: dict[str, float] | None = None, room: float = 30.0) -> Posterior:
    """Independent gains over the probe, with a deviation of half a point where none is given."""
    names = ("probe", *points)
    deviations = [0.0, *((sds or {}).get(name, 0.5) for name in points)]
    mean = np.array([0.0, *points.values()])
    return Posterior(
        names,
        np.concatenate([mean, mean * 0.03]),
        np.diag(np.square([*deviations, *(0.03 * d for d in deviations)])),
        (room, 0.03 * room),
    )


def _candidates(**seconds: float) -> list[Candidate]:
    return [Candidate(name, took, Cost(10_000_000, 0.004)) for name, took in seconds.items()]


RACED = _candidates(probe=2, top=20, deep=90)


def test_balanced_takes_the_highest_mean() -> None:
    choice = choose(RACED, _posterior({"top": 3.0, "deep": 3.3}), "balanced")
    assert (choice.name, choice.expected_loss) == ("deep", 0.0)
    assert "deep has the highest expected accuracy: 0.3 points above top" in choice.reason
    assert "95 % interval" in choice.reason


def test_fast_takes_the_cheapest_within_half_a_point() -> None:
    choice = choose(RACED, _posterior({"top": 3.0, "deep": 3.3}), "fast")
    assert choice.name == "top"
    assert choice.expected_loss == pytest.approx(0.3)
    assert "top is the cheapest (20 s) that is expected to lose less than 0.5 points: deep (90 s)" in choice.reason
    assert choose(RACED, _posterior({"top": 0.2, "deep": 0.4}), "fast").name == "probe"
    assert choose(RACED, _posterior({"top": 2.0, "deep": 2.6}), "fast").name == "deep"


@pytest.mark.parametrize("quality", ["fast", "balanced", "best"])
def test_what_gains_nothing_is_not_kept(quality: str) -> None:
    choice = choose(RACED, _posterior({"top": -0.1, "deep": -4.0}), quality)  # type: ignore[arg-type]
    assert choice.name == "probe"


def test_of_equals_the_first_is_kept() -> None:
    assert choose(RACED, _posterior({"top": 0.0, "deep": 0.0}), "balanced").name == "probe"


def test_limits_come_first() -> None:
    raced = [*RACED[:2], Candidate("deep", 90, Cost(50_000_000, 0.030))]
    posterior = _posterior({"top": 1.0, "deep": 9.0})
    choice = choose(raced, posterior, "best", Limits.parse("20MB", None))
    assert (choice.name, choice.left_out) == ("top", ("deep",))
    assert "deep beyond --max-size 20MB" in choice.reason
    with pytest.raises(OptionError, match="the nearest, probe, takes 10MB and 4ms"):
        choose(raced, posterior, "best", Limits.parse(None, "1ms"))
    assert "only rung" in choose(RACED[:1], posterior, "fast").reason


def test_log_loss_may_govern_instead() -> None:
    posterior = _posterior({"top": 3.0, "deep": 3.3})
    choice = choose(RACED, posterior, "fast", measure="nats")
    assert choice.name == "top"
    assert "0.0090 nats" in choice.reason


def test_choosing_by_the_posterior_loses_less_than_by_the_luckiest_score() -> None:
    """Six rungs, noisy scores, gains as the prior has them: shrunken means choose better than raw ones."""
    rng = np.random.default_rng(0)
    prior_sds, noise_sds = np.array([0.3, 0.3, 0.3, 2.0, 2.0, 2.0]), np.array([4.0, 4.0, 4.0, 1.0, 1.0, 1.0])
    raw, shrunken = [], []
    for _ in range(400):
        truth = rng.normal(0, prior_sds)
        seen = truth + rng.normal(0, noise_sds)
        posterior = _posterior({f"r{n}": v for n, v in enumerate(seen * prior_sds**2 / (prior_sds**2 + noise_sds**2))})
        name = choose(_candidates(**{f"r{n}": 1.0 for n in range(6)}), posterior, "balanced").name
        shrunken.append(truth.max() - truth[int(name[1:])])
        raw.append(truth.max() - truth[int(seen.argmax())])
    assert np.mean(shrunken) < 0.7 * np.mean(raw)


def _average(saved: float, points: float, names: tuple[str, ...] = ("top", "deep")) -> Average:
    weights = tuple(1 / len(names) for _ in names)
    return Average(names, weights, "deep", np.zeros((1, 2)), Improvement(saved, 0.01), points)


def test_an_average_is_kept_only_where_it_is_worth_its_cost() -> None:
    single = Choice("deep", False, 0.0, "deep is best", ())
    cost = Cost(20_000_000, 0.008)
    kept = with_average(single, _average(0.05, 1.0), cost)
    assert kept.average
    assert kept.reason.startswith("the average of 50% top + 50% deep: it saves log-loss +0.0500")
    for average, limits, why in (
        (_average(0.005, 1.0), Limits(), "is not kept: it saves"),
        (_average(0.05, -1.0), Limits(), "is not kept: it saves"),
        (_average(0.05, 1.0, ("deep",)), Limits(), "would be deep alone"),
        (_average(0.05, 1.0), Limits.parse("15MB", None), "takes 20MB and 8ms, beyond --max-size 15MB"),
    ):
        found = with_average(single, average, cost, limits)
        assert not found.average
        assert found.reason.startswith("deep is best; ")
        assert why in found.reason


# So many rows tell every gain from luck.
MANY = 10**9
WAITING = [Waiting("top", 20), Waiting("deep", 90)]


def test_cheap_rungs_come_first_while_more_is_expected() -> None:
    posterior = _posterior({"top": 2.0, "deep": 4.0}, {"top": 3.0, "deep": 3.0})
    step = continue_climbing(WAITING, ["probe"], posterior, "balanced", 300, units=MANY)
    assert (step.name, step.by_clock) == ("top", False)
    assert "top is expected to add 2." in step.reason
    assert "about 20 s of the 300 s that are left" in step.reason
    assert continue_climbing(WAITING[1:], ["probe", "top"], posterior, "balanced", math.inf, units=MANY).name == "deep"


def test_a_rung_without_prospects_is_passed_over() -> None:
    posterior = _posterior({"top": -3.0, "deep": 4.0}, {"top": 1.0, "deep": 3.0})
    assert continue_climbing(WAITING, ["probe"], posterior, "balanced", 300, units=MANY).name == "deep"


@pytest.mark.parametrize(("quality", "name"), [("fast", None), ("balanced", "top"), ("best", "top")])
def test_quality_says_how_little_is_still_worth_a_try(quality: str, name: str | None) -> None:
    posterior = _posterior({"top": 0.0}, {"top": 2.0})  # 0.8 points are expected of it
    step = continue_climbing(WAITING[:1], ["probe"], posterior, quality, 300, units=MANY)  # type: ignore[arg-type]
    assert step.name == name
    assert step.expected == pytest.approx(0.798, abs=1e-3)
    if name is None:
        assert "too small: top would add the most, 0.8 points to probe; --quality fast asks for 1" in step.reason


def test_the_budget_ends_the_climb_with_a_margin() -> None:
    posterior = _posterior({"top": 2.0, "deep": 4.0}, {"top": 3.0, "deep": 3.0})
    assert continue_climbing(WAITING, ["probe"], posterior, "best", 26, units=MANY).name == "top"
    step = continue_climbing(WAITING, ["probe"], posterior, "best", 25, units=MANY)
    assert (step.name, step.by_clock) == (None, True)
    assert "top takes about 20 s, with a margin 26, and 25 s are left" in step.reason


def test_skipping_a_rung_for_time_is_known_as_the_clocks_work() -> None:
    posterior = _posterior({"top": 2.0, "deep": 4.0}, {"top": 3.0, "deep": 3.0})
    step = continue_climbing(WAITING[::-1], ["probe"], posterior, "best", 60, units=MANY)
    assert (step.name, step.by_clock) == ("top", True)


def test_a_failed_rung_does_not_end_the_climb() -> None:
    posterior = _posterior({"top": -6.0, "again": 0.0, "deep": 2.0, "level": -0.4}, {"again": 3.0, "deep": 3.0})
    assert has_failed("top", "probe", posterior)
    assert not has_failed("level", "probe", posterior), "as good, for all that is known"
    assert not has_failed("deep", "probe", posterior)
    assert retry_rate(1e-3) == pytest.approx(1e-4)
    step = continue_climbing(
        [Waiting("again", 20), *WAITING[1:]], ["probe", "top"], posterior, "balanced", 300, units=MANY
    )
    assert step.name == "again"


def test_when_all_was_tried_it_ends() -> None:
    step = continue_climbing([], ["probe"], _posterior({}), "best", 300, units=MANY)
    assert (step.name, step.expected) == (None, 0.0)
    assert "no rung of the plan is left" in step.reason


KINDS = (RungKind("top", "top"), RungKind("middle", "middle"), RungKind("whole", "whole"))
ALL = [Waiting("top", 20), Waiting("middle", 60), Waiting("whole", 90)]


@pytest.mark.parametrize("quality", ["fast", "balanced", "best"])
def test_labels_that_do_not_belong_to_the_images_are_not_climbed_on(quality: str) -> None:
    prior = prior_of(Conditions(600, 150, 0.2, 75.0, 1.4, belief=0.0), KINDS, probe="probe")
    nothing = RowScores(np.zeros(0), np.zeros(0))
    posterior = update(prior, observe(nothing, {}))
    step = continue_climbing(ALL, ["probe"], posterior, quality, math.inf, units=MANY)  # type: ignore[arg-type]
    assert step.name is None


def _judged(right: float, rows: int, seed: int) -> RowScores:
    """A rung that is right on a share of the rows, easy ones first, with a little luck of its own."""
    luck = np.random.default_rng(seed).normal(0, 0.03, rows)
    margins = 6 * (right + luck - np.linspace(0, 1, rows))
    return RowScores(np.log1p(np.exp(-margins)), (margins > 0).astype(np.float64))


def test_a_rung_that_gained_nothing_on_many_rows_makes_fast_stop_where_it_would_have_gone_on() -> None:
    prior = prior_of(Conditions(2000, 200, 0.05, 6.0, 0.2), KINDS, probe="probe", table=ELICITED)
    probe = _judged(0.94, 2000, 0)
    before = update(prior, observe(probe, {}))
    after = update(prior, observe(probe, {"top": _judged(0.94, 2000, 1), "middle": _judged(0.935, 2000, 2)}))
    assert continue_climbing(ALL, ["probe"], before, "fast", math.inf, units=MANY).name == "top"
    step = continue_climbing(ALL[2:], ["probe", "top", "middle"], after, "fast", math.inf, units=MANY)
    assert (step.name, step.by_clock) == (None, False)


def test_a_large_gain_on_many_rows_leads_on() -> None:
    prior = prior_of(Conditions(300, 40, 0.4, 20.0, 0.6), KINDS, probe="probe")
    probe, top = _judged(0.80, 400, 0), _judged(0.86, 400, 1)
    posterior = update(prior, observe(probe, {"top": top}))
    assert posterior.best(["probe", "top"]) == "top"
    assert continue_climbing(ALL[1:], ["probe", "top"], posterior, "balanced", 200, units=MANY).name == "middle"
