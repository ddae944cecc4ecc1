"""Which numbered view an epoch trains on: a few in turn, a window that rolls on, or a fresh one every time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headstart.errors import OptionError


@dataclass(frozen=True)
class Policy:
    """How many views a training has, and how they are renewed.

    Attributes
    ----------
    kind:
        ``fixed``: the same ``views`` views in turn. ``online``: a fresh view each epoch. ``rolling``: ``views`` views,
        and from then on every second epoch has a fresh one, which takes the oldest one's place after that has served
        once more; with 3 views epochs see 0 1 2 0 3 1 4 2 5 3 …: each view twice, far apart, at half the cost of
        fresh ones.
    views:
        K, at least 1; for ``online`` it has no meaning.

    Raises
    ------
    OptionError
        If the kind is unknown or there are no views.
    """

    kind: Literal["fixed", "rolling", "online"]
    views: int = 1

    def __post_init__(self) -> None:
        if self.kind not in ("fixed", "rolling", "online"):
            raise OptionError(f"unknown policy of views {self.kind!r}: choose fixed, rolling or online")
        if self.views < 1:
            raise OptionError(f"{self.views} views are too few: take 1 or more")


def view_number(policy: Policy, epoch: int) -> int:
    """The view (0, 1, …) that an epoch (0, 1, …) trains on; a resumed run finds the same ones."""
    if policy.kind == "online":
        return epoch
    if policy.kind == "fixed":
        return epoch % policy.views
    turn, fresh = divmod(epoch - policy.views, 2)
    if turn < 0:
        return epoch
    return turn + policy.views if fresh else turn


def needed(policy: Policy, epochs: int) -> list[int]:
    """The views of all epochs, each once, ascending: what a training of so many epochs has to compute."""
    return sorted({view_number(policy, epoch) for epoch in range(epochs)})


def next_fresh(policy: Policy, epoch: int, epochs: int) -> int | None:
    """The first view after ``epoch`` that no epoch up to it has had: what can be computed meanwhile."""
    newest = max(view_number(policy, past) for past in range(epoch + 1))
    later = (view_number(policy, following) for following in range(epoch + 1, epochs))
    return next((number for number in later if number > newest), None)
