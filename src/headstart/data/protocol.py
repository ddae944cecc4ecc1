"""Which split plays which part: what is tested on, and what choices are made on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headstart.data.dataset import Dataset
from headstart.data.rows import SPLITS, first_few
from headstart.data.splits import hold_out
from headstart.errors import DataError, OptionError

NESTED_BELOW = 250
"""With fewer images and no test split, none is held out: a fifth of them would leave an interval of ± 10 points."""

HELD_OUT = 0.2
"""The share that is held out where nothing is said."""


@dataclass(frozen=True)
class Protocol:
    """How the evidence is kept away from training.

    Attributes
    ----------
    test:
        ``given`` by the user, ``held_out`` at random, or ``nested``: no test split, but each row is predicted by a
        model that was chosen and fitted without it.
    test_from:
        The user's split that plays the test; empty if none does.
    selection:
        Choices are made on the user's split ``val``, or on ``folds`` of what is not the test.
    reason:
        Why, in a sentence.
    """

    test: Literal["given", "held_out", "nested"]
    test_from: str
    selection: Literal["val", "folds"]
    reason: str


def resolve(dataset: Dataset, *, test: str | float | None, seed: int) -> tuple[Dataset, Protocol]:
    """Give every row its part: ``train``, ``val`` or ``test``.

    Parameters
    ----------
    test:
        The name of one of the data's splits; or a fraction of all rows to hold out, above 0 and below 0.9, which
        only data without a test split take; or ``None``: the test split if there is one, else the validation split,
        else a fifth held out, or under 250 images none (nested). If ``val`` plays the test, all other rows train.
    seed:
        Of a split that is held out.

    Returns
    -------
    tuple
        The data with every split filled in, and what was decided.

    Raises
    ------
    OptionError
        If ``test`` names no split of the data, or is no such fraction.
    DataError
        If nothing is left for training, or a class has no row there.
    """
    wanted = _wanted(test)
    splits = np.where(dataset.splits == "", "train", dataset.splits)
    found = [split for split in ("train", "val", "test") if (dataset.splits == split).any()]
    if wanted is None and "test" in found:
        wanted = "test"
    elif wanted is None and "val" in found:
        wanted = "val"
    if isinstance(wanted, str):
        splits, protocol = _given(dataset, splits, found, wanted, by_default=test is None)
    else:
        splits, protocol = _held_out(dataset, splits, found, wanted, seed)
    _check_training(dataset, splits)
    return dataset.with_splits(splits), protocol


def _wanted(test: str | float | None) -> str | float | None:
    """A split's usual name, a fraction, or ``None``."""
    if isinstance(test, str):
        try:
            test = float(test)
        except ValueError:
            name = str(test).strip().lower()
            if SPLITS.get(name) in ("val", "test"):
                return SPLITS[name]
            raise OptionError(
                f"can't test on {test!r}; name the split test or val, or a fraction such as 0.2"
            ) from None
    if test is not None and not 0 < test < 0.9:
        raise OptionError(f"can't hold out {test:g} of the images as a test; give a fraction above 0 and below 0.9")
    return test


def _given(
    dataset: Dataset, splits: NDArray[np.str_], found: list[str], wanted: str, *, by_default: bool
) -> tuple[NDArray[np.str_], Protocol]:
    if wanted not in found:
        have = f"its splits are {' and '.join(found)}" if found else "it has no splits"
        raise OptionError(f"{dataset.name} has no split {wanted!r}; {have}")
    if wanted == "test":
        selection: Literal["val", "folds"] = "val" if "val" in found else "folds"
        on = "the split val" if selection == "val" else "folds of the other rows"
        return splits, Protocol("given", "test", selection, f"Tested on the split test; choices are made on {on}.")
    why = "there is no split test" if by_default else "as asked"
    trained = "train and test" if "test" in found else "train"
    reason = f"Tested on the split val ({why}); choices are made on folds of {trained}."
    return np.where(splits == "val", "test", "train"), Protocol("given", "val", "folds", reason)


def _held_out(
    dataset: Dataset, splits: NDArray[np.str_], found: list[str], fraction: float | None, seed: int
) -> tuple[NDArray[np.str_], Protocol]:
    if fraction is not None and "test" in found:
        raise OptionError(f"{dataset.name} has a split test already; leave the fraction {fraction:g} away")
    if fraction is None and len(dataset) < NESTED_BELOW:
        return splits, _nested(f"with {len(dataset)} images (under {NESTED_BELOW}), a test split would say too little")
    held = hold_out(dataset.targets, dataset.groups, fraction or HELD_OUT, seed)
    if not held.any():
        if fraction is None:
            return splits, _nested("the groups are too few to hold out a test split")
        raise OptionError(f"{dataset.name}: can't hold out {fraction:g} of its images; too few classes have two groups")
    splits = np.where(held, "test", splits)
    selection: Literal["val", "folds"] = "val" if (splits == "val").any() else "folds"
    on = "the split val" if selection == "val" else "folds of the others"
    share = f"{held.sum()} of {len(dataset)} images"
    reason = f"Tested on {share}, held out at random by class and group; choices are made on {on}."
    return splits, Protocol("held_out", "", selection, reason)


def _nested(why: str) -> Protocol:
    reason = f"No test split, because {why}: each image is predicted by a model that was chosen and fitted without it."
    return Protocol("nested", "", "folds", reason)


def _check_training(dataset: Dataset, splits: NDArray[np.str_]) -> None:
    train = dataset.select(splits == "train")
    if not len(train):
        raise DataError(f"{dataset.name}: no images for training, only the splits {' and '.join(sorted(set(splits)))}")
    missing = [name for name, count in train.class_counts().items() if not count]
    if missing:
        raise DataError(
            f"{dataset.name}: no images for training of {first_few(map(repr, missing))}; "
            "add some, or remove the class from the other splits"
        )
