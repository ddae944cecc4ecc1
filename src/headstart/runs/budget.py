"""The time that a run may take, and the clock that says how much of it is left."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from headstart.errors import OptionError

UNLIMITED = ("none", "unlimited")
"""Words for a budget without an end."""

USUAL = "2m"
"""Where nobody says: time for a cup of coffee, not for lunch. ``HEADSTART_BUDGET`` sets another one."""

# What the end of a run is given: test, save and report took 0.5 to 3 s on up to 600 test images, and grow with them.
RESERVE_LEAST = 3.0
RESERVE_SHARE = 0.05
RESERVE_MOST = 30.0

# Tells the seconds that are left.
Left = Callable[[], float]

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_NUMBER = r"(\d+(?:\.\d+)?)"
_FORM = re.compile(rf"(?:{_NUMBER}h)?\s*(?:{_NUMBER}m)?\s*(?:{_NUMBER}s)?")
_PLAIN = re.compile(r"[+-]?\d+(\.\d+)?")
_LONGEST = 366 * 24 * 3600.0
_WAY_OUT = "write for example 30s, 5m, 1h30m or none"


@dataclass(frozen=True)
class Budget:
    """How long a run may take on the wall clock, from its start to its exit.

    Attributes
    ----------
    seconds:
        Above 0 and up to a year; ``None`` for no limit.

    Raises
    ------
    OptionError
        If the seconds lie outside that range.
    """

    seconds: float | None

    def __post_init__(self) -> None:
        if self.seconds is None:
            return
        if not self.seconds > 0:
            raise OptionError(f"a budget of {self.seconds:g} seconds leaves no time at all: {_WAY_OUT}")
        if self.seconds > _LONGEST:
            raise OptionError("a budget of more than a year is no limit: write none")

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read ``30s``, ``5m``, ``1h``, ``1h30m``, ``1.5h``, or ``none`` and ``unlimited``.

        Raises
        ------
        OptionError
            If the text is anything else; a number without a unit is refused, as it could be seconds or minutes.
        """
        wanted = text.strip().lower()
        if wanted in UNLIMITED:
            return cls(None)
        if _PLAIN.fullmatch(wanted) and not wanted.startswith("-"):
            bare = wanted.lstrip("+")
            raise OptionError(f"a budget of {bare} has no unit: write {bare}s for seconds or {bare}m for minutes")
        match = _FORM.fullmatch(wanted)
        if match is None or not any(match.groups()):
            raise OptionError(f"{text!r} is no budget: {_WAY_OUT}")
        parts = zip(match.groups(), _SECONDS.values(), strict=True)
        return cls(sum(float(number) * unit for number, unit in parts if number))

    @classmethod
    def usual(cls) -> Budget:
        """What ``HEADSTART_BUDGET`` says, or two minutes.

        Raises
        ------
        OptionError
            If the variable holds no budget.
        """
        wanted = os.environ.get("HEADSTART_BUDGET", USUAL)
        try:
            return cls.parse(wanted)
        except OptionError as error:
            raise OptionError(f"HEADSTART_BUDGET: {error}") from error

    @classmethod
    def minutes(cls, count: float) -> Budget:
        """So many minutes."""
        return cls(60.0 * count)

    @property
    def reserve(self) -> float:
        """Seconds to keep for the end where nothing better is known; never more than half of the budget."""
        if self.seconds is None:
            return 0.0
        return min(max(RESERVE_LEAST, RESERVE_SHARE * self.seconds), RESERVE_MOST, self.seconds / 2)

    def __str__(self) -> str:
        """The budget as :meth:`parse` reads it, for example ``1h30m``."""
        if self.seconds is None:
            return UNLIMITED[0]
        hours, rest = divmod(self.seconds, _SECONDS["h"])
        minutes, seconds = divmod(rest, _SECONDS["m"])
        parts = [f"{int(number)}{unit}" for number, unit in ((hours, "h"), (minutes, "m")) if number]
        # The shortest decimals that give the same number again; a microsecond is far below any use of a budget.
        last = f"{round(seconds, 6):f}".rstrip("0").rstrip(".")
        return "".join([*parts, f"{last}s"] if last != "0" or not parts else parts)


@dataclass(frozen=True)
class Countdown:
    """What is left of a budget. Made by :meth:`of_process` or :meth:`from_now`; time itself is all that changes.

    Attributes
    ----------
    started:
        When the budget began to run, in seconds of the clock.
    reserve:
        Seconds that are kept for the end: the test, saving and the report.
    clock:
        Seconds from any fixed moment on, that never go back.
    """

    budget: Budget
    started: float
    reserve: float
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def of_process(cls, budget: Budget) -> Countdown:
        """A countdown from the start of this process, so that its imports count: for the command line."""
        return cls(budget, time.monotonic() - process_age(), budget.reserve)

    @classmethod
    def from_now(cls, budget: Budget, clock: Callable[[], float] = time.monotonic) -> Countdown:
        """A countdown from this moment: for a call in a process that lives longer, as a notebook's does."""
        return cls(budget, clock(), budget.reserve, clock)

    def keeping(self, reserve: float) -> Countdown:
        """The same countdown with another reserve, once it is known what the end takes; below 0 counts as 0."""
        return replace(self, reserve=max(0.0, reserve))

    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.started

    def until_end(self) -> float:
        """Seconds until the budget is spent, the reserve included; below 0 once it is overdrawn."""
        return math.inf if self.budget.seconds is None else self.budget.seconds - self.elapsed()

    def remaining(self) -> float:
        """Seconds that work may still take before the end's reserve is touched; never below 0."""
        return max(0.0, self.until_end() - self.reserve)

    def left_for(self, share: float) -> float:
        """A share of the remaining seconds.

        Raises
        ------
        ValueError
            If the share isn't above 0 and at most 1.
        """
        if not 0 < share <= 1:
            raise ValueError(f"{share} is no share of the time: give a number above 0 and at most 1")
        return share * self.remaining()

    def holds(self, seconds: float) -> bool:
        """Whether work of so many seconds still fits."""
        return seconds <= self.remaining()


def no_end() -> float:
    """Seconds that are left where nothing ends."""
    return math.inf


def at_least(seconds: float, left: Left) -> Left:
    """The seconds that are left, but never fewer than are left of some that begin now."""
    begun = time.monotonic()
    return lambda: max(left(), begun + seconds - time.monotonic())


def process_age() -> float:
    """Seconds since this process was started, imports and interpreter included, to a hundredth.

    Where the system doesn't tell, the processor time used so far: imports are busy all the while.
    """
    try:
        # The command's name stands in brackets and may hold anything; the 20th field after it is the start.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return time.process_time()
    return age if age >= 0 else time.process_time()
