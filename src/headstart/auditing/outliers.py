"""Images that are like no other image of the data: a foreign picture, a test chart, a scan of the wrong thing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.auditing.findings import Finding
from headstart.training.neighbours import nearest, unit_rows
from headstart.training.novelty import draw_references

KIND = "outlier"
NEIGHBOUR = 3
"""The distance is that to this one of the nearest: so that up to two strange images do not excuse each other."""

FAR = 2.2
"""A row is listed when its distance exceeds the median by so many times as much as the 90th percentile does. Cosine
distances are skewed, more so the more varied the images are, and what is above the median alone tells how far they
usually go: half a per cent of the rows of seven untouched sets lay beyond, and 2 % of the MR images. In median absolute
deviations the limit for one per cent was 2 in one set and 4.5 in another."""

LEAST_ROWS = 50
"""Fewer images have no bulk that one could lie outside of."""

_MAX_REFERENCES = 10_000
_ROUNDING = 1e-4  # distances of float32 rows that are equal differ by less


def outliers(
    files: Sequence[str], features: NDArray[np.floating], owners: NDArray[np.intp], *, seed: int = 0
) -> tuple[Finding, ...]:
    """Rows far from all others, the farthest first (distance to the k-th neighbour, Ramaswamy et al. 2000).

    Parameters
    ----------
    files, features:
        Names and (n, D) features of the rows.
    owners:
        Numbers (n,); a row is compared with rows of other groups only.
    seed:
        Of the draw of at most 10,000 rows to compare with.
    """
    if len(files) < LEAST_ROWS:
        return ()
    drawn = draw_references(np.ones((len(files), 1)), _MAX_REFERENCES, seed)
    rows = unit_rows(features)
    similarity, _ = nearest(
        rows, rows[drawn], min(NEIGHBOUR, len(drawn)), query_owners=owners, reference_owners=owners[drawn]
    )
    distance = 1.0 - similarity[:, -1].astype(np.float64)  # infinite where a row's group left it too few
    known = np.isfinite(distance)
    if not known.any():
        return ()
    median, usual_end = np.quantile(distance[known], (0.5, 0.9))
    scores = np.where(known, distance - median, 0.0) / max(usual_end - median, _ROUNDING)
    far = [row for row in np.argsort(-scores, kind="stable").tolist() if scores[row] > FAR]
    return tuple(
        Finding(
            files[row],
            KIND,
            f"unlike all other images: cosine distance {distance[row]:.2f} to its third nearest, {median:.2f} is usual",
            "look whether it belongs to the data; if not, remove it",
            score=round(float(scores[row]), 2),
        )
        for row in far
    )
