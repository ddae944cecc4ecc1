"""Groups that file names give away: patients, videos, bursts; offered where the images bear them out."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.auditing.findings import Finding
from headstart.auditing.material import Material
from headstart.data.rows import first_few

POSSIBLE_GROUPS = "possible_groups"
GROUP_ACROSS_SPLITS = "group_across_splits"

# A name that most images share says what camera took them; one that no two share says nothing.
_LARGEST = 0.2  # of all images in one group
_SHARED = 0.2  # of all images in groups of two or more
# How sure it must be, with 95 % confidence, that an image is more like one of its group than like one of its class: by
# chance it is so in half of all cases.
_ADVANTAGE = 0.65
_LEAST_COMPARED = 20
_MOST_COMPARED = 2000


@dataclass(frozen=True)
class _Rule:
    """How a group is read from a name without folders and suffix."""

    words: str
    pattern: str


# From the finest groups to the coarsest; the coarsest that the images bear out is offered.
_RULES = (
    _Rule("before the last number", r"([^/]*?[^/\d])\d+[^/\d]*$"),
    _Rule("before the last '-'", r"([^/]+)-[^/-]*$"),
    _Rule("before the last '_'", r"([^/]+)_[^/_]*$"),
    _Rule("before the first '-'", r"([^/-]+)-[^/]*$"),
    _Rule("before the first '_'", r"([^/_]+)_[^/]*$"),
)


def possible_groups(material: Material) -> Iterator[Finding]:
    """Where no groups are given: the rule for reading them from names that the images bear out best.

    That is so where an image is more like another of its group, by features, than like another of its class.
    """
    dataset = material.dataset
    if dataset.table.column("group").null_count < len(dataset):
        return
    best: tuple[float, str, _Rule, list[str | None]] | None = None
    for rule in _RULES:
        names = read_groups(dataset.files, rule.pattern)
        if not _is_telling(names):
            continue
        share, compared = _advantage(material, names)
        low = share - 1.96 * math.sqrt(max(share * (1 - share), 1 / compared) / compared) if compared else 0.0
        if compared >= _LEAST_COMPARED and low >= _ADVANTAGE and (best is None or low > best[0]):
            said = f"an image is more like another of its group than like another of its class in {share:.0%} of cases"
            best = (low, said, rule, names)
    if best is not None:
        yield _offer(*best)


def groups_across_splits(material: Material) -> Iterator[Finding]:
    """The user's groups that lie in several of the user's splits."""
    dataset = material.dataset
    splits: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for file, group, split in zip(
        dataset.files, dataset.table.column("group").to_pylist(), dataset.splits.tolist(), strict=True
    ):
        if group and split:
            splits[group].setdefault(split, file)
    for group, files in splits.items():
        if len(files) > 1:
            judge, judged = [split for split in ("test", "val", "train") if split in files][:2]
            evidence = f"the group {group!r} lies in {' and '.join(files)}, which flatters the scores"
            action = "move the whole group to one side"
            yield Finding(files[judged], GROUP_ACROSS_SPLITS, evidence, action, None, files[judge])


def read_groups(files: Sequence[str], pattern: str) -> list[str | None]:
    """What the pattern finds in each name without its suffix, folders before it."""
    found = []
    for file in files:
        match = re.search(pattern, _without_suffix(file))
        found.append(None if match is None else match[1])
    return found


def _without_suffix(file: str) -> str:
    return re.sub(r"\.[^./]*$", "", file)


def _is_telling(names: list[str | None]) -> bool:
    """Whether enough images share a name, and not too many the same one."""
    counts = Counter(name for name in names if name)
    shared = sum(count for count in counts.values() if count > 1)
    return shared >= _SHARED * len(names) and max(counts.values()) <= max(2, _LARGEST * len(names))


def _advantage(material: Material, names: list[str | None]) -> tuple[float, int]:
    """How often an image is more like one of its group than like one of its class, and in how many draws.

    Both are drawn at random, of the image's own class and of no copy of it; each image is drawn once at most.
    """
    dataset, features = material.dataset, _directions(material.features)
    classes = np.array(["|".join(label) if isinstance(label, list) else label for label in _labels(material)])
    groups = np.unique([name or f"\0{row}" for row, name in enumerate(names)], return_inverse=True)[1]
    rng = np.random.default_rng(0)
    won = drawn = 0
    order = rng.permutation(len(dataset))
    by_group, by_class = _rows_by(groups), _rows_by(np.unique(classes, return_inverse=True)[1])
    numbers = np.unique(classes, return_inverse=True)[1]
    for row in order.tolist():
        family = material.families[row]
        mates = [
            mate
            for mate in by_group[groups[row]]
            if mate != row and classes[mate] == classes[row] and material.families[mate] != family
        ]
        pool = by_class[numbers[row]]
        other = pool[int(rng.integers(len(pool)))]
        if mates and groups[other] != groups[row]:
            mate = mates[int(rng.integers(len(mates)))]
            won += bool(features[row] @ features[mate] > features[row] @ features[other])
            drawn += 1
        if drawn >= _MOST_COMPARED:
            break
    return won / max(drawn, 1), drawn


def _labels(material: Material) -> list[str | list[str]]:
    labels: list[str | list[str]] = material.dataset.table.column("label").to_pylist()
    return labels


def _rows_by(numbers: NDArray[np.int64]) -> dict[int, list[int]]:
    found: defaultdict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(numbers.tolist()):
        found[number].append(row)
    return found


def _directions(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features of length 1, centred."""
    rows = features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
    centred: NDArray[np.float32] = rows - rows.mean(0)
    return centred


def _offer(low: float, said: str, rule: _Rule, names: list[str | None]) -> Finding:
    counts = Counter(name for name in names if name)
    shared = {name: count for name, count in counts.items() if count > 1}
    few = first_few(f"{name} ({count})" for name, count in Counter(shared).most_common(3))
    evidence = (
        f"the part of the name {rule.words} stands in several names: {len(shared)} groups, such as {few}; {said}, "
        f"so a split at random would be flattered"
    )
    pattern = rule.pattern.removesuffix("$") + r"(?:\.[^./]*)?$"
    action = f"if such a group is one patient, video or burst: --group-by '{pattern}'"
    return Finding("", POSSIBLE_GROUPS, evidence, action, round(low, 4))
