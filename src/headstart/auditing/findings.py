"""What an audit finds: one row for each thing that is wrong with an image, a pair of images or the whole data set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One row of ``audit.json`` and ``audit.csv``.

    Attributes
    ----------
    file:
        The image, as the data set names it; ``""`` where the whole data set is meant.
    kind:
        What is wrong, in ``snake_case``, such as ``near_duplicate``, ``suspicious_label`` or ``shortcut``.
    evidence:
        Why it is thought so, in plain words with the numbers.
    action:
        What a person could do about it; nothing is removed without them.
    score:
        Orders the findings of one kind, the worst highest; ``None`` where they are all alike.
    other:
        The other image of a pair.
    """

    file: str
    kind: str
    evidence: str
    action: str
    score: float | None = None
    other: str | None = None
