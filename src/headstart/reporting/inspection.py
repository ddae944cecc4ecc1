"""The text of ``headstart inspect``: what a data set is, in the order in which it matters, and what that means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.markup import escape

from headstart.data import LeftOut
from headstart.planning.fingerprint import CentreCrop, Fingerprint, Inspection, Spread
from headstart.planning.rule_table import SOURCE_LIKE
from headstart.reporting.gap_table import estimate_text

_OUT = Console(highlight=False, emoji=False)
_CLASSES = 12  # so many are named with their counts; of more the smallest and the largest
_ENDS = 3
_FILES = 10
_KINDS = {
    "undecodable": "broken",
    "unreadable": "unreadable",
    "duplicate": "exact duplicates",
    "conflict": "equal files of different labels",
    "unlabelled": "outside the class folders",
}
# Notes name the other kinds of files that are left out.
_BROKEN = ("undecodable", "unreadable")


def show_inspection(found: Inspection) -> None:
    """Counts, sizes, colour, what is broken, the domain gap, and one sentence on what it means."""
    data = found.fingerprint
    task = "several labels each" if data.task == "multilabel" else "one label each"
    _OUT.print(
        f"[bold]{escape(data.name)}[/bold]: {_counted(data.images, 'image')}, "
        f"{_counted(len(data.classes), 'class', 'classes')}, {task}",
        soft_wrap=True,
    )
    for name, text in _lines(data):
        _OUT.print(f"{name:16}{text}", markup=False, soft_wrap=True)
    for line in _broken(found.left_out):
        _OUT.print(f"  {line}", markup=False, soft_wrap=True)
    for note in found.notes:
        _OUT.print(f"• {note}", markup=False, soft_wrap=True)
    _OUT.print(f"\n[bold]{escape(data.reading)}[/bold]", soft_wrap=True)


def _lines(found: Fingerprint) -> Iterator[tuple[str, str]]:
    yield "classes", _classes(found.classes)
    yield "a class", f"{_range(found.per_class)}{_imbalance(found)}"
    if set(found.splits) != {"none"}:
        yield "splits", _listed(found.splits)
    if found.groups is not None:
        yield "groups", f"{found.groups:,}"
    yield "left out", _listed({_KINDS.get(kind, kind): n for kind, n in found.left_out.items()}) or "nothing"
    yield "size", _size(found)
    yield "shape", _shares(found.shapes, found.looked_at)
    yield "centre crop", _crop(found.crop)
    yield "colour", _colour(found)
    yield "files", _files(found)
    if found.gap:
        gap = found.gap
        outside = f" outside the split {found.tested}" if found.tested else ""
        parts = ", ".join(
            f"{name} {estimate_text(part)}"
            for name, part in (("early", gap.early), ("middle", gap.middle), ("late", gap.late))
        )
        yield "domain gap", f"{estimate_text(gap.total)}; layers: {parts}"
        yield (
            "",
            f"95 % intervals, from {_counted(gap.images, 'image')}{outside}; ImageNet itself: {SOURCE_LIKE:.3f}",
        )


def _classes(counts: Mapping[str, int]) -> str:
    if len(counts) <= _CLASSES:
        return _listed(counts)
    ranked = sorted(counts.items(), key=lambda item: item[1])
    return f"fewest {_listed(dict(ranked[:_ENDS]))}; most {_listed(dict(ranked[: -_ENDS - 1 : -1]))}"


def _imbalance(found: Fingerprint) -> str:
    if found.imbalance is None:
        return "; some have none"
    return "; all alike" if found.imbalance == 1 else f"; the largest has {found.imbalance:.1f} times the smallest"


def _size(found: Fingerprint) -> str:
    width, height = found.width, found.height
    text = f"{width.median:,.0f} x {height.median:,.0f} pixels"
    if width.minimum == width.maximum and height.minimum == height.maximum:
        return f"{text}, all of them"
    return (
        f"{text} at the median; {width.minimum:,.0f} to {width.maximum:,.0f} wide, "
        f"{height.minimum:,.0f} to {height.maximum:,.0f} high"
    )


def _crop(crop: CentreCrop) -> str:
    median = "" if crop.kept.minimum == crop.kept.maximum else " at the median"
    text = f"the network sees {_share(crop.kept.median)} of an image's area{median}"
    if crop.over_a_third_lost:
        which = "all" if crop.over_a_third_lost == 1 else f"{_share(crop.over_a_third_lost)} of the"
        text += f"; of {which} images more than a third is cut off"
    return text


def _colour(found: Fingerprint) -> str:
    text = {0.0: "all in colour", 1.0: "all grey"}.get(found.grey, f"{_share(found.grey)} grey")
    channels, bits = (" and ".join(sorted(counts, key=int)) for counts in (found.channels, found.bits))
    return f"{text}; files of {channels} {'channel' if channels == '1' else 'channels'}, {bits} bits"


def _files(found: Fingerprint) -> str:
    text = _listed(found.formats)
    return text + (f"; {found.rotated:,} upright only by EXIF" if found.rotated else "")


def _broken(left_out: Sequence[LeftOut]) -> Iterator[str]:
    broken = [entry for entry in left_out if entry.kind in _BROKEN]
    yield from (f"{entry.file}: {entry.reason}" for entry in broken[:_FILES])
    if len(broken) > _FILES:
        yield f"and {len(broken) - _FILES} more; --json lists them all"


def _shares(counts: Mapping[str, int], total: int) -> str:
    """The counts that are not 0 as shares, the largest first."""
    found = sorted(((count, name) for name, count in counts.items() if count), reverse=True)
    if len(found) == 1:
        return f"all {found[0][1]}"
    return ", ".join(f"{name} {_share(count / total)}" for count, name in found)


def _share(share: float) -> str:
    """A percentage that is 0 or 100 only where it is exactly."""
    if 0 < share < 0.01:
        return "under 1 %"
    return "over 99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def _range(spread: Spread) -> str:
    if spread.minimum == spread.maximum:
        return f"{spread.median:,.0f}"
    return f"{spread.minimum:,.0f} to {spread.maximum:,.0f}, median {spread.median:,.0f}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _counted(count: int, one: str, many: str = "") -> str:
    return f"1 {one}" if count == 1 else f"{count:,} {many or one + 's'}"
