"""Whether a plan is followed on the data that it was made for, and if not, what differs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from headstart.data import Dataset, Protocol
from headstart.data.rows import first_few
from headstart.errors import OptionError
from headstart.files import sha256
from headstart.planning.fingerprint_rules import validation_of
from headstart.planning.plan import DataIdentity, Plan, Validation


def identity_of(dataset: Dataset) -> DataIdentity:
    """Which images these are, before any split is dealt; the order of the rows has no part in it."""
    columns = (dataset.table.column(name).to_pylist() for name in ("hash", "label", "group", "split"))
    rows = sorted(map(repr, zip(*columns, strict=True)))
    digest = sha256("\n".join(rows).encode())
    return DataIdentity(dataset.name, len(rows), len(dataset.classes), digest, dataset.class_counts())


def validation_here(dataset: Dataset, protocol: Protocol) -> Validation:
    """What rungs are judged on, once every row has its part."""
    development = dataset.select(dataset.splits != "test")
    groups = len(np.unique(development.groups))
    return validation_of(len(development), groups, given=protocol.selection == "val")


def require_same_data(plan: Plan, here: DataIdentity) -> None:
    """Refuse a plan that was made for other images.

    Raises
    ------
    OptionError
        With the difference.
    """
    made = plan.data
    if made.digest != here.digest:
        raise OptionError(
            f"the plan was made for {made.rows} images of {made.classes} classes in {made.name}, and {here.name} has "
            f"{here.rows} of {here.classes}: {_difference(made, here)}; plan again for these"
        )


def require_validation(plan: Plan, here: Validation) -> None:
    """Refuse a plan that wants its rungs judged on something else than they will be; raises :class:`OptionError`."""
    if plan.validation != here:
        raise OptionError(
            f"the plan's validation is {_said(plan.validation)}, and with these data and this --test it is "
            f"{_said(here)}: plan again with the same --test, or write that into the plan"
        )


def _difference(made: DataIdentity, here: DataIdentity) -> str:
    changes = first_few(_changes(made, here))
    return changes or "images, labels, groups or splits differ, though the counts agree"


def _changes(made: DataIdentity, here: DataIdentity) -> Iterator[str]:
    """In words, classes that came or went first."""
    was, now = made.images, here.images
    yield from (f"the class {name!r} is missing" for name in was if name not in now)
    yield from (f"the class {name!r} is new" for name in now if name not in was)
    for name, count in now.items():
        if change := count - was.get(name, count):
            images = "image" if abs(change) == 1 else "images"
            yield f"{abs(change)} {images} of {name!r} {'more' if change > 0 else 'fewer'}"


def _said(validation: Validation) -> str:
    times = "once" if validation.repeats == 1 else f"{validation.repeats} times"
    judges = "a split" if validation.method == "split" else f"{validation.folds} folds dealt {times}"
    return f"{judges}{' with groups kept together' if validation.grouped else ''}"
