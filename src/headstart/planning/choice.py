"""Which rung is kept, whether another one is tried, and why: each answer with a sentence that has the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from headstart.planning.averaging import Average
from headstart.planning.limits import NO_LIMITS, Cost, Limits, within
from headstart.planning.posterior import Posterior
from headstart.planning.rule_table import FAST_LOSS, LEAST_FURTHER_GAIN, TIME_SAFETY, Measure, Quality
from headstart.training.finetuning.defaults import RETRY_FACTOR

_UNITS: Mapping[Measure, str] = MappingProxyType({"points": "points", "nats": "nats"})


@dataclass(frozen=True)
class Candidate:
    """A rung that was judged.

    Attributes
    ----------
    seconds:
        What it took; of equal candidates the one that took less is the cheaper.
    cost:
        What using it costs.
    """

    name: str
    seconds: float
    cost: Cost


@dataclass(frozen=True)
class Choice:
    """What is kept.

    Attributes
    ----------
    name:
        Of the rung, or of the single rung that an average was compared with.
    average:
        Whether the average is kept instead.
    expected_loss:
        By how much the rung with the highest posterior mean is expected to be better; 0 where that is the one.
    reason:
        In a sentence, with the numbers.
    left_out:
        Rungs beyond the limits.
    """

    name: str
    average: bool
    expected_loss: float
    reason: str
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Waiting:
    """A rung that could be tried: its name, and the seconds that are forecast for it; ``None`` where nobody knows."""

    name: str
    seconds: float | None


@dataclass(frozen=True)
class Step:
    """What the ladder does next.

    Attributes
    ----------
    name:
        The rung to try; ``None`` to stop.
    expected:
        Its expected further gain, or the largest of those that wait.
    by_clock:
        Whether the budget decided.
    """

    name: str | None
    expected: float
    by_clock: bool
    reason: str


def choose(
    candidates: Sequence[Candidate],
    posterior: Posterior,
    quality: Quality,
    limits: Limits = NO_LIMITS,
    *,
    measure: Measure = "points",
) -> Choice:
    """The rung to keep among those that are within the limits.

    ``balanced`` and ``best`` take the highest posterior mean, which is the least expected loss. ``fast`` takes the
    cheapest rung whose expected loss against that one is below :data:`FAST_LOSS`.

    Raises
    ------
    OptionError
        If no rung is within the limits.
    """
    allowed = set(within(limits, {candidate.name: candidate.cost for candidate in candidates}))
    left_out = tuple(candidate.name for candidate in candidates if candidate.name not in allowed)
    kept = [candidate for candidate in candidates if candidate.name in allowed]
    best = posterior.best([candidate.name for candidate in kept], measure)
    losses = {candidate.name: posterior.gain(best, candidate.name, measure).mean for candidate in kept}
    name = best
    if quality == "fast":
        near = [candidate for candidate in kept if losses[candidate.name] < FAST_LOSS[measure]]
        name = min(near, key=lambda candidate: (candidate.seconds, candidate.cost.size)).name
    reason = _reason(name, best, kept, posterior, quality, measure)
    if left_out:
        reason += f"; {', '.join(left_out)} beyond {limits}"
    return Choice(name, False, losses[name], reason, left_out)


def with_average(choice: Choice, average: Average, cost: Cost, limits: Limits = NO_LIMITS) -> Choice:
    """The same choice, or for ``best`` the average of rungs where it is worthwhile and within the limits.

    Parameters
    ----------
    average:
        Compared with the chosen rung.
    cost:
        Of all its members together.
    """
    numbers = (
        f"log-loss {average.saved.mean:+.4f} (standard error {average.saved.standard_error:.4f}) and "
        f"{average.points:+.1f} points against {choice.name}, with weights that had not seen the rows"
    )
    if len(average.names) < 2:
        return _noted(choice, f"an average of rungs would be {average.names[0]} alone")
    if limits.excess(cost) > 1:
        return _noted(choice, f"the average of {average.said} takes {cost}, beyond {limits}")
    if not average.worthwhile:
        return _noted(choice, f"the average of {average.said} is not kept: it saves {numbers}")
    reason = f"the average of {average.said}: it saves {numbers}"
    return Choice(choice.name, True, choice.expected_loss, reason, choice.left_out)


def continue_climbing(
    waiting: Sequence[Waiting],
    tried: Sequence[str],
    posterior: Posterior,
    quality: Quality,
    remaining: float,
    *,
    units: int,
    measure: Measure = "points",
) -> Step:
    """Try the first rung that may add enough and fits into the time that is left, or stop.

    A rung that failed is no reason to stop: it only lowers what the others are expected to gain.

    Parameters
    ----------
    waiting:
        In the order in which they should be tried, cheap first.
    tried:
        The rungs that were judged, the probe included.
    remaining:
        Seconds; may be infinite. A rung whose seconds nobody knows is tried while there are some: it ends with them.
    units:
        Independent rows that judge each of them.
    """
    if not waiting:
        return Step(None, 0.0, False, "no rung of the plan is left to try")
    best, least = posterior.best(tried, measure), least_gain(quality, measure)
    gains = {rung.name: posterior.expected_further_gain(rung.name, best, measure, units=units) for rung in waiting}
    worthwhile = [rung for rung in waiting if gains[rung.name] >= least]
    if not worthwhile:
        name = max(gains, key=gains.__getitem__)
        most = f"{name} would add the most, {_amount(gains[name], measure)} to {best}"
        said = f"{most}; --quality {quality} asks for {least:g}"
        return Step(None, gains[name], False, f"the expected further gain is too small: {said}")
    fitting = [rung for rung in worthwhile if is_held(rung.seconds, remaining)]
    if not fitting:
        return Step(None, max(gains.values()), True, _too_late(worthwhile, remaining))
    rung = fitting[0]
    left = "" if remaining == float("inf") else f" of the {remaining:.0f} s that are left"
    amount = _amount(gains[rung.name], measure)
    takes = "in a time that nobody knows" if rung.seconds is None else f"in about {rung.seconds:.0f} s"
    reason = f"{rung.name} is expected to add {amount} to {best}, {takes}{left}"
    skipped = worthwhile[: worthwhile.index(rung)]
    if skipped:
        reason += f"; they do not hold {', '.join(other.name for other in skipped)}"
    return Step(rung.name, gains[rung.name], bool(skipped), reason)


def is_held(seconds: float | None, remaining: float) -> bool:
    """Whether the time that is left holds a rung, with a margin; one whose seconds nobody knows needs some at all."""
    return remaining > 0 if seconds is None else seconds * TIME_SAFETY <= remaining


def _too_late(worthwhile: Sequence[Waiting], remaining: float) -> str:
    if remaining <= 0:
        return "the time is too short: none is left"
    seconds, name = min((rung.seconds or 0.0, rung.name) for rung in worthwhile)
    margin = f"{seconds:.0f} s, with a margin {seconds * TIME_SAFETY:.0f}"
    return f"the time is too short: {name} takes about {margin}, and {remaining:.0f} s are left"


def least_gain(quality: Quality, measure: Measure) -> float:
    """What a further rung must be expected to add to be tried."""
    return LEAST_FURTHER_GAIN[measure][quality]


def has_failed(name: str, predecessor: str, posterior: Posterior, *, measure: Measure = "points") -> bool:
    """Whether a fine-tuned rung is worse than the one before it, so that it should be tried again at a lower rate.

    By more than a standard deviation: of two rungs that are as good as each other one is always a little worse, and
    tells nothing against its rate (`docs/benchmarks.md`, "Second tries": on the mean they gained nothing).
    """
    gain = posterior.gain(name, predecessor, measure)
    return gain.mean + gain.sd < 0


def retry_rate(rate: float) -> float:
    """The rate of the second try."""
    return rate * RETRY_FACTOR


def _reason(
    name: str, best: str, kept: Sequence[Candidate], posterior: Posterior, quality: Quality, measure: Measure
) -> str:
    if len(kept) == 1:
        return f"{name} is the only rung to choose from"
    if name != best:
        gain = posterior.gain(best, name, measure)
        seconds = {candidate.name: candidate.seconds for candidate in kept}
        return (
            f"{name} is the cheapest ({seconds[name]:.0f} s) that is expected to lose less than "
            f"{FAST_LOSS[measure]:g} {_UNITS[measure]}: {best} ({seconds[best]:.0f} s) is "
            f"{_amount(gain.mean, measure)} better, {_interval(gain.ci95, measure)}"
        )
    others = [candidate.name for candidate in kept if candidate.name != name]
    second = posterior.best(others, measure)
    gain = posterior.gain(name, second, measure)
    return (
        f"{name} has the highest expected {'accuracy' if measure == 'points' else 'likelihood'}: "
        f"{_amount(gain.mean, measure)} above {second}, {_interval(gain.ci95, measure)}, "
        f"and better with a probability of {gain.better:.0%}"
    )


def _noted(choice: Choice, note: str) -> Choice:
    return Choice(choice.name, False, choice.expected_loss, f"{choice.reason}; {note}", choice.left_out)


def _amount(value: float, measure: Measure) -> str:
    return f"{value:.1f} points" if measure == "points" else f"{value:.4f} nats"


def _interval(interval: tuple[float, float], measure: Measure) -> str:
    digits = 1 if measure == "points" else 4
    return f"95 % interval {interval[0]:.{digits}f} to {interval[1]:.{digits}f}"
