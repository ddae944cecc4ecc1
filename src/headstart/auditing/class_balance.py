"""Classes with too few images, and classes of very different sizes."""

from __future__ import annotations

from collections.abc import Mapping

from headstart.auditing.findings import Finding

FEW = 20
"""What the few-shot literature calls few ends at about 20 images a class."""

IMBALANCED = 3.0
"""Images of the largest class for one of the smallest from which on accuracy says little: of two such classes, always
naming the larger is right on three of four images. The plan uses the same figure."""

_NAMED = 5


def class_balance(counts: Mapping[str, int]) -> tuple[Finding, ...]:
    """At most one finding each for empty classes, for small ones, and for imbalance.

    Parameters
    ----------
    counts:
        Images a class.
    """
    if not counts:
        return ()
    ordered = sorted(counts.items(), key=lambda item: item[1])
    empty = [name for name, count in ordered if count == 0]
    few = [f"{name} ({count})" for name, count in ordered if 0 < count < FEW]
    findings = []
    if empty:
        findings.append(
            Finding("", "empty_class", f"no image of {_listed(empty)}", "add images, or take the name off the list")
        )
    if few:
        which = "every class has" if len(few) == len(counts) else f"{_of(len(few), len(counts))} have"
        evidence = f"{which} fewer than {FEW} images: {_listed(few)}"
        findings.append(Finding("", "few_images", evidence, f"label more of them: {FEW} and more a class", len(few)))
    filled = [item for item in ordered if item[1]]
    (least, fewest), (largest, most) = filled[0] if filled else ("", 0), filled[-1] if filled else ("", 0)
    if filled and most >= IMBALANCED * fewest:
        findings.append(
            Finding(
                "",
                "imbalance",
                f"{largest} has {most:,} images, {least} has {fewest:,}: {most / fewest:.1f} times as many",
                f"label more {least}, or judge by --metric balanced_accuracy, which counts classes alike",
                round(most / fewest, 2),
            )
        )
    return tuple(findings)


def _of(some: int, number: int) -> str:
    return f"{some:,} of {number:,} classes"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED:,} more"
