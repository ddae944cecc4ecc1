"""The catalogue: what is known of each set of pretrained weights, read from a table without PyTorch, and searched.

The table, ``catalogue.csv`` beside this module, is written by ``bench/build_catalogue.py``.
"""

from __future__ import annotations

import csv
import difflib
import functools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from headstart.backbones.licences import Allowed, check_allowed, is_permissive
from headstart.errors import OptionError

Domain = Literal["natural", "web image-text", "medical", "satellite", "documents", "unknown"]
Sort = Literal["accuracy", "speed", "size"]

TABLE = Path(__file__).with_name("catalogue.csv")

_EXTRAS = {"timm": "train", "torchvision": "train", "open_clip": "open-clip", "transformers": "transformers"}
_EXTRA_OF = {"bundled/tf_efficientnet_lite1": "more-weights", "bundled/tf_efficientnet_lite2": "more-weights"}
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9}


@dataclass(frozen=True, slots=True)
class Entry:
    """One set of pretrained weights.

    Attributes
    ----------
    name:
        ``provider/model``, as ``--backbone`` takes it.
    family:
        Of the architecture, such as ``resnet``, ``vit`` or ``dinov2``.
    parameters:
        Of the backbone without its classifier.
    macs:
        Multiply-accumulates of one image of ``size``, without the classifier; ``None`` where they could not be counted.
    size:
        The side of the square input image that the weights are meant for, in pixels.
    source:
        The data that the weights were trained on, in order: ``ImageNet-21k, then ImageNet-1k``.
    domain:
        What that data shows, by its first part, or by a later one that is neither natural nor from the web:
        ``natural`` (photographs of everyday things, with or without labels), ``web image-text`` (images of any kind
        with the text beside them on the web), ``medical``, ``satellite``, ``documents`` (scanned pages), ``unknown``.
    licence:
        Of the weights: an SPDX identifier where there is one, else the publisher's id, or ``unknown``.
    top1:
        Published top-1 accuracy on ImageNet-1k's validation images, in percent, at the size that it was tested at
        (which can lie above ``size``); ``None`` where none is published.
    weights:
        Where they come from: a repository of the hub (``ORGANISATION/NAME``), the name of a file that PyTorch's hub
        keeps, or for ``bundled`` a Python package.
    """

    name: str
    family: str
    parameters: int
    macs: int | None
    size: int
    source: str
    domain: Domain
    licence: str
    top1: float | None
    weights: str

    @property
    def provider(self) -> str:
        """``bundled``, ``timm``, ``torchvision``, ``open_clip`` or ``transformers``."""
        return self.name.partition("/")[0]

    @property
    def extra(self) -> str | None:
        """The extra of headstart that it needs, if any."""
        return _EXTRA_OF.get(self.name) or _EXTRAS.get(self.provider)


@functools.cache
def entries() -> tuple[Entry, ...]:
    """Everything in the catalogue, sorted by name."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return tuple(_entry(row) for row in csv.DictReader(file))


def listed_licence(name: str) -> str | None:
    """The licence that the catalogue has for a backbone of this name; ``None`` for a name that it doesn't list.

    An architecture without the tag of its weights has the licence that all of its weights share, if they do.
    """
    named = {entry.licence for entry in entries() if entry.name == name}
    found = named or {entry.licence for entry in entries() if entry.name.startswith(f"{name}.")}
    return found.pop() if len(found) == 1 else None


def select(
    found: Iterable[Entry],
    *,
    family: str | None = None,
    max_parameters: int | None = None,
    licence: Allowed = "any",
    domain: str | None = None,
    search: str | None = None,
    sort: Sort = "accuracy",
) -> tuple[Entry, ...]:
    """The entries that meet every condition, sorted.

    Parameters
    ----------
    found:
        Entries, for example of :func:`entries`.
    family:
        A family, or its name without the version: ``mobilenet`` stands for ``mobilenetv2`` to ``mobilenetv4``.
    max_parameters:
        At most so many parameters.
    licence:
        ``permissive`` keeps the licences of :data:`headstart.backbones.licences.PERMISSIVE` only.
    domain:
        A domain of :class:`Entry`, or its beginning.
    search:
        Words that must all occur in the name, the family, the source or the domain, in any case.
    sort:
        ``accuracy``: highest top-1 first; ``speed``: fewest multiply-accumulates first, since seconds depend on the
        machine; ``size``: fewest parameters first. What has no such number comes last; ties go by size and name.

    Raises
    ------
    OptionError
        For a family, domain, licence or order that doesn't exist, with the nearest ones.
    """
    found = tuple(found)
    check_allowed(licence)
    tests: list[Callable[[Entry], bool]] = []
    if family is not None:
        families = _families(family, found)
        tests.append(lambda entry: entry.family in families)
    if max_parameters is not None:
        tests.append(lambda entry: entry.parameters <= max_parameters)
    if licence == "permissive":
        tests.append(lambda entry: is_permissive(entry.licence))
    if domain is not None:
        wanted = _domain(domain)
        tests.append(lambda entry: entry.domain == wanted)
    for word in (search or "").lower().split():
        tests.append(functools.partial(_mentions, word))
    kept = [entry for entry in found if all(test(entry) for test in tests)]
    return tuple(sorted(kept, key=_order(sort)))


def best_of_each_size(found: Sequence[Entry], limits: Sequence[int]) -> tuple[Entry, ...]:
    """For each limit on the parameters the entry with the highest top-1 below it, each entry once."""
    ranked = [entry for entry in select(found) if entry.top1 is not None]
    best = [next((entry for entry in ranked if entry.parameters <= limit), None) for limit in limits]
    return tuple(dict.fromkeys(entry for entry in best if entry is not None))


def parse_count(text: str) -> int:
    """A number of parameters as people write it: ``30M``, ``1.5B``, ``500k`` or ``25000000``.

    Raises
    ------
    OptionError
        If it is no such number, or not above zero.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmbg]?)", text.strip().lower().replace("_", ""))
    count = round(float(match[1]) * _UNITS[match[2]]) if match else 0
    if count < 1:
        raise OptionError(f"{text!r} is no number of parameters: write for example 30M, 1.5B or 500k")
    return count


def _entry(row: dict[str, str]) -> Entry:
    domain: Any = row["domain"]
    return Entry(
        name=row["name"],
        family=row["family"],
        parameters=int(row["parameters"]),
        macs=int(row["macs"]) if row["macs"] else None,
        size=int(row["size"]),
        source=row["source"],
        domain=domain,
        licence=row["licence"],
        top1=float(row["top1"]) if row["top1"] else None,
        weights=row["weights"] or row["name"],  # most of timm's lie in the repository of the same name
    )


def _families(wanted: str, found: Sequence[Entry]) -> frozenset[str]:
    """The families that a name stands for: ``swin`` for swin and swinv2, but ``vit`` not for vitamin."""
    known = sorted({entry.family for entry in found})
    versions = re.compile(rf"{re.escape(wanted.lower())}(v?\d.*|[_-].*)?")
    matching = frozenset(name for name in known if versions.fullmatch(name))
    if matching:
        return matching
    near = [name for name in known if wanted and wanted.lower() in name][:3]
    near = near or difflib.get_close_matches(wanted.lower(), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    raise OptionError(f"unknown family {wanted!r}: {hint}")


def _domain(wanted: str) -> str:
    known = get_args(Domain)
    matching = [name for name in known if name.startswith(wanted.lower())] if wanted else []
    if len(matching) == 1:
        return str(matching[0])
    raise OptionError(f"unknown domain {wanted!r}: choose one of {', '.join(known)}")


def _mentions(word: str, entry: Entry) -> bool:
    return any(word in text.lower() for text in (entry.name, entry.family, entry.source, entry.domain))


def _order(sort: str) -> Callable[[Entry], tuple[float, int, str]]:
    keys: dict[str, Callable[[Entry], float]] = {
        "accuracy": lambda entry: math.inf if entry.top1 is None else -entry.top1,
        "speed": lambda entry: math.inf if entry.macs is None else entry.macs,
        "size": lambda entry: entry.parameters,
    }
    if sort not in keys:
        raise OptionError(f"unknown order {sort!r}: choose one of {', '.join(keys)}")
    first = keys[sort]
    return lambda entry: (first(entry), entry.parameters, entry.name)
