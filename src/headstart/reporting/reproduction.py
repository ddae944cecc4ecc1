"""What an auditor asks for: how it was judged, on which images, and how to get the same again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from headstart.errors import HeadstartError
from headstart.files import sha256_of
from headstart.reporting.evidence import RunEvidence, mapping, number, split_of, text
from headstart.reporting.wording import TEXT_LENGTH, count_text, shorten

# What stands behind the page, in the order in which it is read.
_RECORDS = (
    "model/model.safetensors",
    "model/model.json",
    "metrics.json",
    "evaluation.json",
    "predictions.parquet",
    "training.parquet",
    "audit.json",
    "ladder.json",
    "plan.json",
)
_TESTS = {
    "given": "the split that the data came with",
    "held_out": "images that were held out",
    "nested": "a nested out-of-fold estimate, as there are too few images to hold some out",
}
_SELECTIONS = {"folds": "out-of-fold predictions on the other images", "val": "the validation split"}
_ESTIMATES = {"held_out_rows": "held out", "out_of_fold": "out of fold", "nested_out_of_fold": "nested out of fold"}

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Reproduction:
    """Facts ready to print; ``command`` is empty where it isn't known."""

    command: str
    protocol: Facts
    digests: Facts


def view_reproduction(evidence: RunEvidence) -> Reproduction:
    """How the run was judged and how to run it again; hashes are of the files as they are now."""
    return Reproduction(
        shorten(text(evidence.run, "command"), 1000),
        tuple(_protocol(evidence)),
        (*_data(evidence), *_records(evidence)),
    )


def _protocol(evidence: RunEvidence) -> Iterable[tuple[str, str]]:
    protocol = mapping(evidence.metrics, "protocol")
    tested, selection = text(protocol, "test"), text(protocol, "selection")
    if tested:
        yield "tested on", _TESTS.get(tested, shorten(tested))
    if selection:
        yield "chosen by", _SELECTIONS.get(selection, shorten(selection))
    if text(protocol, "reason"):
        yield "why", shorten(text(protocol, "reason"), TEXT_LENGTH)
    judged = "images judged" if evidence.nested else "test images"
    for name, title in (("test", judged), ("val", "validation images")):
        split = split_of(evidence.metrics, name)
        count, groups, estimate = number(split, "n"), number(split, "groups"), text(split, "estimate")
        if count:
            told = f"{count:,.0f}" + (f" in {count_text(int(groups), 'group')}" if groups else "")
            yield title, told + (f", {_ESTIMATES.get(estimate, shorten(estimate))}" if estimate else "")


def _data(evidence: RunEvidence) -> Iterable[tuple[str, str]]:
    """One digest over the sorted hashes of images: the same images give the same, wherever they lie."""
    if evidence.training is not None:
        yield "training images", _digest(evidence.training.table["hash"].to_pylist())
    rows = evidence.predictions
    if rows is not None and rows.hashes:
        kind = "judged" if evidence.nested else "test" if rows.split == "test" else "validation"
        yield f"{kind} images", _digest(rows.hashes)


def _records(evidence: RunEvidence) -> Iterable[tuple[str, str]]:
    for name in _RECORDS:
        path = evidence.folder / name
        try:
            if path.is_file():
                yield name, sha256_of(path)
        except (HeadstartError, OSError):  # one that can't be read is named elsewhere
            continue


def _digest(hashes: Iterable[str]) -> str:
    known = sorted(one for one in hashes if one)
    return f"{count_text(len(known), 'image')}, {hashlib.sha256(chr(10).join(known).encode()).hexdigest()}"
