"""The prior says what the field's matrix says, is wide where little is known, and can be refitted to outcomes."""

from __future__ import annotations

import dataclasses
import json
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.errors import DataError
from headstart.planning.domain_gap import DomainGap, Estimate
from headstart.planning.prior import (
    ELICITED,
    TABLE,
    Conditions,
    Prior,
    PriorTable,
    RungKind,
    conditions_of,
    prior_of,
    reach_of,
)
from headstart.planning.prior_fit import Outcome, left_out_error, left_out_log_likelihood, refit, without
from headstart.planning.rule_table import LEVERAGE, Reach
from headstart.planning.situation import ProbeScore, Situation
from headstart.records import from_plain, to_json

KINDS = tuple(RungKind(reach, reach) for reach in get_args(Reach))
NEAR, FAR = 0.02, 0.4


def _prior(
    rows: int,
    per_class: float,
    gap: float | None,
    *,
    error: float = 20.0,
    belief: float = 1.0,
    table: PriorTable = ELICITED,
) -> Prior:
    return prior_of(Conditions(rows, per_class, gap, error, error / 30, belief), KINDS, probe="probe", table=table)


def _points(prior: Prior) -> dict[str, float]:
    return dict(zip(prior.names, prior.mean[: len(prior.names)].tolist(), strict=True))


def _sd(prior: Prior, name: str) -> float:
    place = prior.names.index(name)
    return float(np.sqrt(prior.covariance[place, place]))


def _situation(probe: ProbeScore | None, gap: float | None = None) -> Situation:
    part = Estimate(0.0, 0.0)
    found = None if gap is None else DomainGap("x", None, Estimate(gap, 0.01), part, part, part, 64, None)
    return Situation("classification", 300, 4, 60, 75.0, 90, 300, 0, found, probe, 0.1, 9, 224, "crop", trainable=True)


def test_the_matrix_of_size_and_similarity() -> None:
    little_near, little_far = _points(_prior(40, 10, NEAR)), _points(_prior(40, 10, FAR))
    much_near, much_far = _points(_prior(4000, 400, NEAR)), _points(_prior(4000, 400, FAR))
    assert max(little_near, key=little_near.__getitem__) in ("probe", "head"), "little and similar: leave it frozen"
    assert little_near["whole"] < little_near["top"] < little_near["head"]
    assert max(much_far, key=much_far.__getitem__) == "whole", "much and different: train it all"
    assert all(much_far[reach] > little_far[reach] > little_near[reach] for reach in ("top", "middle", "whole"))
    assert all(much_far[reach] > much_near[reach] > little_near[reach] for reach in ("top", "middle", "whole"))


def test_the_prior_that_is_used_says_the_same_of_size() -> None:
    """Similarity has no say in it, as it did not predict what rungs gained."""
    little, much = (_points(_prior(rows, rows / 10, FAR, table=TABLE)) for rows in (40, 4000))
    assert max(little, key=little.__getitem__) in ("probe", "head")
    assert max(much, key=much.__getitem__) == "whole"
    assert all(much[reach] > little[reach] for reach in ("top", "middle", "whole"))


def test_gains_are_shares_of_what_the_probe_leaves_less_what_training_costs() -> None:
    low, high = _points(_prior(300, 40, 0.1, error=2.0)), _points(_prior(300, 40, 0.1, error=40.0))
    cost = ELICITED.coefficients["cost"].mean
    assert high["middle"] + cost == pytest.approx(20 * (low["middle"] + cost))
    assert high["head"] == pytest.approx(20 * low["head"])
    assert low["middle"] < 0 < high["middle"], "where the probe leaves nothing, training can only lose"


def test_an_unknown_gap_makes_it_wider() -> None:
    assert _sd(_prior(300, 40, None), "whole") > _sd(_prior(300, 40, 0.086), "whole")


def test_conditions_far_from_the_reference_make_it_wider() -> None:
    assert _sd(_prior(4800, 640, 0.086), "middle") > _sd(_prior(300, 40, 0.086), "middle")


def test_what_one_tuned_rung_gains_tells_of_the_others_and_nothing_of_another_head() -> None:
    prior = _prior(300, 40, 0.1)
    place = {name: number for number, name in enumerate(prior.names)}
    assert prior.covariance[place["top"], place["whole"]] > 0
    assert prior.covariance[place["head"], place["whole"]] == 0
    assert prior.covariance[place["whole"], place["whole"] + len(prior.names)] > 0, "points and nats go together"


def test_a_second_try_is_expected_to_do_as_its_first_more_than_as_another_rung() -> None:
    kinds = [RungKind("first", "middle"), RungKind("second", "middle", again="first"), RungKind("other", "middle")]
    prior = prior_of(Conditions(300, 40, 0.1, 20.0, 0.6), kinds, probe="probe")
    first, second, other = 1, 2, 3
    assert prior.mean[second] == prior.mean[first]
    assert prior.covariance[first, first] > prior.covariance[first, second] > prior.covariance[first, other] > 0
    assert np.linalg.eigvalsh(prior.covariance).min() > -1e-9


@given(
    st.integers(2, 10**6),
    st.floats(1, 10**5),
    st.none() | st.floats(-0.01, 5),
    st.floats(0.01, 100),
    st.floats(0, 1),
)
def test_any_conditions_give_a_proper_distribution(
    rows: int, per_class: float, gap: float | None, error: float, belief: float
) -> None:
    prior = _prior(rows, per_class, gap, error=error, belief=belief)
    assert np.isfinite(prior.mean).all()
    assert np.linalg.eigvalsh(prior.covariance).min() > -1e-9 * max(1.0, float(prior.covariance.max()))
    assert prior.mean[0] == prior.covariance[0].max() == 0, "the probe gains nothing over itself, surely"
    assert prior_of(Conditions(rows, per_class, gap, error, 1.0), (), probe="probe").names == ("probe",)


@pytest.mark.parametrize(
    ("cut", "stages", "reach"),
    [(9, 9, "head"), (8, 9, "top"), (7, 9, "top"), (6, 9, "top"), (4, 9, "middle"), (2, 9, "whole"), (0, 9, "whole"),
     (0, 1, "whole"), (1, 2, "middle")],
)  # fmt: skip
def test_how_far_down_a_cut_reaches(cut: int, stages: int, reach: str) -> None:
    assert reach_of(cut, stages) == reach


def test_there_is_no_cut_beyond_the_stages() -> None:
    with pytest.raises(ValueError, match="9 stages has no cut 10"):
        reach_of(10, 9)


def test_a_probe_no_better_than_the_commonest_class_is_not_believed() -> None:
    chance = conditions_of(_situation(ProbeScore(0.26, 1.38, 300, 0.25, 1.386, 0.01, 0.26)))
    good = conditions_of(_situation(ProbeScore(0.8, 0.5, 300, 0.25, 1.386, 0.03, 0.8), gap=0.3))
    lucky = conditions_of(_situation(ProbeScore(0.32, 1.39, 300, 0.25, 1.386, 0.01, 0.32)))
    assert (chance.belief, good.belief, lucky.belief) == (0.0, 1.0, 0.0)
    assert (chance.gap, good.gap) == (None, 0.3)
    gains = prior_of(chance, KINDS, probe="probe")
    assert not gains.mean.any()
    assert np.sqrt(gains.covariance.max()) < 0.2, "and no luck is expected either"


def test_rare_classes_can_be_learnt_though_naming_the_frequent_one_is_hard_to_beat() -> None:
    """Ninety-five of a hundred rows are of one class: the accuracy says little, the log-loss much."""
    score = ProbeScore(0.955, 0.12, 1000, 0.95, 0.199, 0.01, 0.6)
    luck = dataclasses.replace(score, log_loss=0.19)
    assert conditions_of(_situation(score)).belief == 1.0
    assert conditions_of(_situation(score)).error == pytest.approx(40, abs=0.1), "where the metric counts classes alike"
    assert conditions_of(_situation(luck)).belief == 0.0
    assert conditions_of(_situation(dataclasses.replace(score, log_loss=0.2, saved_error=1e-6))).belief == 0.0


def test_a_probe_without_a_mistake_still_leaves_half_a_row() -> None:
    found = conditions_of(_situation(ProbeScore(1.0, 0.01, 99, 0.5, 0.69, 0.01, 1.0)))
    assert found.error == pytest.approx(0.5)


def test_conditions_need_the_probe() -> None:
    with pytest.raises(ValueError, match="has not run"):
        conditions_of(_situation(None))


def _outcomes(slope_of_gap: float, *, sets: int = 12, seed: int = 0) -> list[Outcome]:
    """Data sets whose rungs remove 0.3 of the error and more by ``slope_of_gap`` a doubling of the gap, less a cost."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(sets):
        gap = 0.0152 * 2 ** rng.uniform(0, 5)
        conditions = Conditions(int(rng.integers(100, 2000)), float(rng.integers(10, 200)), gap, 20.0, 0.6)
        own = rng.normal(0, 0.05)
        for reach in ("top", "middle", "whole"):
            share = 0.3 + slope_of_gap * LEVERAGE[reach] * (np.log2(gap / 0.0152) - 2.5) + own + rng.normal(0, 0.02)
            found.append(Outcome(f"set {number}", conditions, reach, 20 * share - 0.5, 0.5))
    return found


def test_a_refit_finds_what_is_there() -> None:
    found = refit(_outcomes(0.12, sets=40))
    assert found.uses_gap
    assert found.error_with_gap < found.error_without_gap
    assert found.error_with_gap < found.error_before
    assert found.table.coefficients["gap"].mean == pytest.approx(0.12, abs=0.03)
    usual = prior_of(Conditions(700, 100, 0.086, 20, 0.6), KINDS, probe="probe", table=found.table)
    assert _points(usual)["middle"] == pytest.approx(0.3 * 20 - 0.5, abs=1.0)
    assert all(found.table.coefficients[name].sd <= known.sd for name, known in ELICITED.coefficients.items())
    assert found.table.shared_sd < ELICITED.shared_sd, "these data sets differ by less than was thought"


def test_what_foretells_gains_is_missed_where_it_is_left_out() -> None:
    outcomes = _outcomes(0.12)
    errors = {name: left_out_error(outcomes, without(ELICITED, name)) for name in ("gap", "rows")}
    whole = refit(outcomes)
    assert left_out_error(outcomes) == whole.error_with_gap
    assert errors["gap"] == whole.error_without_gap > 1.5 * whole.error_with_gap
    assert errors["rows"] < 1.5 * whole.error_with_gap


def test_a_spread_that_was_guessed_too_wide_is_worth_less_than_the_measured_one() -> None:
    outcomes = _outcomes(0.0)
    assert left_out_log_likelihood(outcomes, 1.0) > left_out_log_likelihood(outcomes, 100.0)
    surprised = [dataclasses.replace(outcome, gain=outcome.gain + 30) for outcome in outcomes[:3]] + outcomes[3:]
    assert left_out_log_likelihood(surprised) < left_out_log_likelihood(outcomes)
    alone = [dataclasses.replace(outcome, gain_error=0.001) for outcome in _outcomes(0.0, sets=3)]
    assert np.isfinite(left_out_log_likelihood(alone))


def test_a_gap_that_predicts_nothing_steers_nothing() -> None:
    found = refit(_outcomes(-0.02))
    assert not found.uses_gap
    assert found.table.coefficients["gap"] == dataclasses.replace(found.table.coefficients["gap"], mean=0.0, sd=0.0)
    near, far = (
        prior_of(Conditions(300, 40, gap, 20, 0.6), KINDS, probe="probe", table=found.table) for gap in (NEAR, FAR)
    )
    assert np.array_equal(near.mean, far.mean)


def test_few_data_sets_with_many_rungs_do_not_pretend_to_know_much() -> None:
    two = [dataclasses.replace(o, dataset=f"set {int(o.dataset[4:]) % 2}") for o in _outcomes(0.0, sets=40)]
    many = _outcomes(0.0, sets=40)
    assert refit(two).table.coefficients["middle"].sd > refit(many).table.coefficients["middle"].sd


def test_outcomes_go_through_json_and_need_two_data_sets_with_errors() -> None:
    outcomes = _outcomes(0.1, sets=3)
    read = [from_plain(Outcome, plain) for plain in json.loads(to_json(outcomes))]
    assert read == outcomes
    spotless = [dataclasses.replace(o, conditions=dataclasses.replace(o.conditions, error=0.2)) for o in outcomes]
    with pytest.raises(DataError, match="0 data sets"):
        refit(spotless)
    with pytest.raises(DataError, match="1 data sets"):
        refit(_outcomes(0.1, sets=1))
