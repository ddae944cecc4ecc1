"""Images that are blurred, enlarged, dark, washed out, tiny, empty, unlike in colour, or upright only by EXIF."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.auditing.findings import Finding
from headstart.auditing.robust import robust_scores
from headstart.imaging.appearance import Appearance
from headstart.imaging.facts import Examined

NO_DETAIL = 0.15
"""A detail below this is none: a smooth image has 1/16, and of 5,500 images of eight sets only 8 MR images have less
(``bench/planted_faults.py`` blurs and enlarges others)."""

SOFT = 40.0
"""A sharpness below this is blur, whatever the detail: what is left may be the rounding of grey levels. A Gaussian of
3 pixels at 227 leaves less than 50; of 5,500 images of eight sets none has less than 45."""

FAR_BELOW = -3.0
"""And either must lie so many robust standard deviations (of its logarithm) below that of the data: MR images are
smooth by nature, and a data set of soft images is no list of faults."""

DARK = 64.0
"""The 99th percentile of a dark image's luma is below a quarter of the range, and below half of what the data have."""

WASHED_OUT = 153.0
"""The 5th percentile of a washed-out image is above three fifths of the range, and a quarter of its pixels is white;
as far from what the data have as :data:`FAR_ABOVE`: drawings have white paper."""

FAR_ABOVE = 3.5
"""Robust standard deviations; the usual limit for outliers (Iglewicz and Hoaglin 1993)."""

WHITE = 0.25
CONSTANT = 2.0
"""Standard deviation of the luma below which an image shows nothing: a JPEG of a blank page has 1."""

TINY = 64
"""Pixels of the shorter side: a network of 224 enlarges it more than three times."""

MINORITY = 0.05
"""Grey images among colour ones, or the other way round, are strangers up to this share; more are part of the data."""

MANY = 0.2
"""From this share of the images on, what is found is the nature of the data: one finding for all."""

_NAMED = 3


@dataclass(frozen=True)
class _Kind:
    """What is said of the images of one kind: of several, and what to do."""

    several: str
    action: str


_KINDS: Mapping[str, _Kind] = {
    "near_constant": _Kind("show nothing", "remove it, if it shows nothing"),
    "blurred": _Kind("are blurred", "take a sharper or larger copy, or remove it, if its label can't be seen"),
    "upscaled": _Kind("were enlarged or are slightly out of focus", "take the original, if there is a larger one"),
    "dark": _Kind("are dark", "lighten it, or remove it, if its label can't be seen"),
    "overexposed": _Kind("are washed out", "take another copy, or remove it, if its label can't be seen"),
    "tiny": _Kind("are tiny", "take the original, if there is a larger one"),
    "grey_among_colour": _Kind(
        "are grey", "look whether it belongs to the data; grey could become a sign of its class"
    ),
    "colour_among_grey": _Kind("are in colour", "look whether it belongs to the data"),
    "exif_rotated": _Kind(
        "are upright only by EXIF", "none is needed: it is turned here; other programs may not do so"
    ),
}


def image_quality(files: Sequence[str], examined: Sequence[Examined]) -> tuple[Finding, ...]:
    """Findings of each kind, the worst of a kind first; one finding for all where a fifth of the images have it.

    Parameters
    ----------
    files, examined:
        Names and looks of the same n images.
    """
    if not files:
        return ()
    looks = [one.appearance for one in examined]
    constant = {row: look.contrast for row, look in enumerate(looks) if look.contrast < CONSTANT}
    found: dict[str, dict[int, tuple[str, float | None]]] = {kind: {} for kind in _KINDS}
    found["near_constant"] = {
        row: (f"its grey levels deviate by {contrast:.1f} of 255", CONSTANT - contrast)
        for row, contrast in constant.items()
    }
    found["blurred"], found["upscaled"] = _soft(looks)
    found["dark"], found["overexposed"] = _dark(looks), _washed_out(looks)
    found["tiny"] = _tiny(examined)
    found["grey_among_colour"], found["colour_among_grey"] = _strangers(examined)
    for row in (*found["dark"], *found["overexposed"]):  # little contrast leaves little colour and sharpness
        found["grey_among_colour"].pop(row, None)
        found["blurred"].pop(row, None)
    found["exif_rotated"] = {
        row: (f"EXIF orientation {one.facts.orientation}", None)
        for row, one in enumerate(examined)
        if one.facts.orientation != 1
    }
    findings: list[Finding] = []
    for kind, rows in found.items():
        kept = rows if kind == "near_constant" else {row: why for row, why in rows.items() if row not in constant}
        findings += _findings(kind, kept, files)
    return tuple(findings)


def _findings(kind: str, rows: Mapping[int, tuple[str, float | None]], files: Sequence[str]) -> list[Finding]:
    order = sorted(rows, key=lambda row: (-(rows[row][1] or 0.0), row))
    if len(rows) > max(1, MANY * len(files)):
        examples = ", ".join(files[row] for row in order[:_NAMED])
        evidence = f"{len(rows):,} of {len(files):,} images {_KINDS[kind].several}, for example {examples}"
        action = "it is the nature of these data; see that the images to come are alike"
        return [Finding("", kind, evidence, action, round(len(rows) / len(files), 4))]
    return [
        Finding(files[row], kind, why, _KINDS[kind].action, None if score is None else round(score, 4))
        for row in order
        for why, score in (rows[row],)
    ]


Rows = dict[int, tuple[str, float | None]]


def _soft(looks: Sequence[Appearance]) -> tuple[Rows, Rows]:
    """Images without detail at the size that networks see: those that have none at half of it either, and the rest."""
    details, halves, sharpness = (
        np.array([np.nan if value is None else value for value in values])
        for values in zip(*((look.detail, look.half_detail, look.sharpness) for look in looks), strict=True)
    )
    faint = _low(sharpness, SOFT)
    soft = _low(details, NO_DETAIL) & ~faint
    blurred: Rows = {
        row: (
            f"sharpness {sharpness[row]:.0f}; {np.nanmedian(sharpness):,.0f} is usual here",
            2 - sharpness[row] / SOFT,
        )
        for row in np.flatnonzero(faint).tolist()
    }
    upscaled: Rows = {}
    for row in np.flatnonzero(soft).tolist():
        known = f"detail {details[row]:.2f}; {np.nanmedian(details):.2f} is usual here, 0.06 is none at all"
        if halves[row] < NO_DETAIL:
            blurred[row] = (f"no fine detail, not even at half the size ({known})", 1 - details[row])
        else:
            upscaled[row] = (f"no more detail than half as many pixels a side would hold ({known})", 1 - details[row])
    return blurred, upscaled


def _low(values: NDArray[np.float64], limit: float) -> NDArray[np.bool_]:
    """Values below a limit that are far below the others, too; or all below it, where they are many."""
    low: NDArray[np.bool_] = values < limit
    if low.mean() <= MANY:
        low &= robust_scores(np.log(np.maximum(values, 1e-6))) < FAR_BELOW
    return low


def _dark(looks: Sequence[Appearance]) -> Rows:
    return _beyond(
        [look.bright_end for look in looks],
        lambda bright, usual: bright < min(DARK, usual / 2),
        lambda bright, usual: (
            f"99 % of its pixels are darker than {bright:.0f} of 255; {usual:.0f} is usual",
            -bright,
        ),
    )


def _washed_out(looks: Sequence[Appearance]) -> Rows:
    far = robust_scores([look.dark_end for look in looks]) > FAR_ABOVE
    found = _beyond(
        [look.dark_end for look in looks],
        lambda dark, usual: dark > WASHED_OUT,
        lambda dark, usual: (f"95 % of its pixels are lighter than {dark:.0f} of 255; {usual:.0f} is usual", dark),
    )
    return {row: why for row, why in found.items() if far[row] and looks[row].clipped >= WHITE}


def _beyond(
    values: Sequence[float],
    is_beyond: Callable[[float, float], bool],
    why: Callable[[float, float], tuple[str, float]],
) -> Rows:
    """The rows whose value lies beyond, as compared with the median of all."""
    usual = float(np.median(values))
    return {row: why(value, usual) for row, value in enumerate(values) if is_beyond(value, usual)}


def _tiny(examined: Sequence[Examined]) -> Rows:
    sizes = [(one.facts.width, one.facts.height) for one in examined]
    return {
        row: (f"{width} x {height} pixels", 1 / max(1, min(width, height)))
        for row, (width, height) in enumerate(sizes)
        if min(width, height) < TINY
    }


def _strangers(examined: Sequence[Examined]) -> tuple[Rows, Rows]:
    """Grey images among colour ones, and the other way round."""
    grey = np.array([one.facts.is_grey for one in examined])
    rows: tuple[Rows, Rows] = ({}, {})
    for wanted, found, said in ((True, rows[0], "shows no colour"), (False, rows[1], "shows colour")):
        if 0 < (grey == wanted).mean() <= MINORITY:
            others = f"{(grey != wanted).mean():.0%} of the images {'are in colour' if wanted else 'show none'}"
            found.update(dict.fromkeys(np.flatnonzero(grey == wanted).tolist(), (f"{said}, and {others}", None)))
    return rows
