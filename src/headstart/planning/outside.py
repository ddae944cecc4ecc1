"""Which rows of a user's data may lead to choices: those outside the split that tests."""

from __future__ import annotations

from headstart.data.dataset import Dataset


def test_split(dataset: Dataset) -> str | None:
    """The user's split that :func:`headstart.data.resolve` tests on by default: ``test``, else ``val``, if any."""
    return next((name for name in ("test", "val") if (dataset.splits == name).any()), None)


def outside(dataset: Dataset, split: str | None) -> Dataset:
    """The rows that are not in a split; all of them where it is ``None``."""
    return dataset if split is None else dataset.select(dataset.splits != split)
