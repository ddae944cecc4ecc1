"""Groups read from file names: what a pattern finds in them is the patient, video or burst."""

from __future__ import annotations

import re

from headstart.data.dataset import Dataset
from headstart.data.rows import first_few
from headstart.errors import DataError, OptionError


def group_by_name(dataset: Dataset, pattern: str) -> Dataset:
    """Give each row without a group what a pattern finds in its file's name.

    Parameters
    ----------
    pattern:
        A regular expression; it may match anywhere in the name, folders and suffix included. The group is what its
        first pair of parentheses matches, or all of the match where there is none. Rows without a match stay alone.

    Raises
    ------
    OptionError
        If it is no regular expression.
    DataError
        If it matches no name, or gives every image the same group.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise OptionError(f"--group-by {pattern!r} is no regular expression: {error}") from error
    found = [compiled.search(file) for file in dataset.files]
    names = [None if match is None else match[min(1, compiled.groups)] or None for match in found]
    if not any(names):
        few = first_few(dataset.files)
        raise DataError(f"{dataset.name}: --group-by {pattern!r} matches none of the {len(names)} names, such as {few}")
    if len(set(names)) == 1 and len(names) > 1:
        raise DataError(f"{dataset.name}: by --group-by {pattern!r} all images are one group, {names[0]!r}")
    given = dataset.table.column("group").to_pylist()
    return dataset.with_groups([group or name for group, name in zip(given, names, strict=True)])
