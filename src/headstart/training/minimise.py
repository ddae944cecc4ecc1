"""A minimiser for smooth convex functions whose curvature is roughly known: L-BFGS with a diagonal start."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Objective = Callable[[Floats], tuple[float, Floats]]

# Pairs of steps remembered; the usual choice. Larger ones saved under 3 % of the evaluations on four real sets.
MEMORY = 10
ITERATIONS = 1000  # more than ten times what the hardest of four real sets needed
LATE_TOLERANCE = 1e-4  # of a log-loss in nats no test could show
SUFFICIENT = 1e-4  # Armijo's share of the decrease that the slope promises


def minimise(
    objective: Objective,
    start: Floats,
    curvature: Floats,
    *,
    tolerance: float,
    noise: float,
    left: Callable[[], float] = lambda: np.inf,
) -> tuple[Floats, bool]:
    """Minimise a convex function from ``start``.

    Limited-memory BFGS (Liu and Nocedal 1989) whose first guess of the inverse Hessian is ``1 / curvature``, with a
    backtracking line search, which suffices for strictly convex functions (Byrd and Nocedal 1989). Written here because
    importing SciPy's costs longer than most fits, and its start is a multiple of the identity.

    Parameters
    ----------
    objective:
        Returns the value and the gradient, shaped like ``start``.
    curvature:
        Positive, shaped like ``start``: about the diagonal of the Hessian.
    tolerance:
        Ends when half the sum of ``gradient**2 / curvature``, an estimate of the distance of the value to its minimum,
        is at most this.
    noise:
        Relative rounding error of the objective; increases below it are no failure of a step.
    left:
        Tells the seconds that are left; once there are none, :data:`LATE_TOLERANCE` is enough.

    Returns
    -------
    The parameters, and whether the tolerance or the limit of rounding was reached within :data:`ITERATIONS`.
    """
    point = start
    value, gradient = objective(point)
    pairs: deque[tuple[Floats, Floats]] = deque(maxlen=MEMORY)
    for _ in range(ITERATIONS):
        missing = np.sum(gradient * gradient / curvature) / 2
        if missing <= tolerance:
            return point, True
        if missing <= LATE_TOLERANCE and left() <= 0:
            return point, False
        direction = -_inverse_hessian(gradient, pairs, curvature)
        slope = float(np.vdot(direction, gradient))
        found = _search(objective, point, value, slope, direction, noise) if -slope > noise * abs(value) else None
        if found is None:
            return point, True  # no decrease that can be told from rounding is left
        step, value, next_gradient = found
        change = next_gradient - gradient
        if np.vdot(step, change) > 0:
            pairs.append((step, change))
        point, gradient = point + step, next_gradient
    return point, False


def _inverse_hessian(gradient: Floats, pairs: deque[tuple[Floats, Floats]], curvature: Floats) -> Floats:
    """The two-loop recursion: the estimated inverse Hessian times the gradient."""
    result = gradient.copy()
    shares = []
    for step, change in reversed(pairs):
        share = np.vdot(step, result) / np.vdot(step, change)
        shares.append(share)
        result -= share * change
    if pairs:
        step, change = pairs[-1]
        result *= np.vdot(step, change) / np.sum(change * change / curvature)
    result /= curvature
    for (step, change), share in zip(pairs, reversed(shares), strict=True):
        result += (share - np.vdot(change, result) / np.vdot(step, change)) * step
    return result


def _search(
    objective: Objective, point: Floats, value: float, slope: float, direction: Floats, noise: float
) -> tuple[Floats, float, Floats] | None:
    """Shorten the step, by the parabola through what is known, until it decreases enough; None if none does."""
    length = 1.0
    while length > 1e-10:
        step = length * direction
        next_value, gradient = objective(point + step)
        if next_value <= value + SUFFICIENT * length * slope + noise * abs(value):
            return step, next_value, gradient
        vertex = -slope * length**2 / (2 * (next_value - value - slope * length))
        length = min(max(vertex, 0.1 * length), 0.5 * length)
    return None
