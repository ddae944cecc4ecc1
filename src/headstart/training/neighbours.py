"""Cosine nearest neighbours by brute force, in chunks of bounded memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headstart.training.linear import Features

# Similarities held at once (64 MB of float32).
CHUNK_SIMILARITIES = 2**24


def unit_rows(features: Features) -> NDArray[np.float32]:
    """(n, D) rows divided by their length, as float32; a row of zeros stays zero."""
    rows = features.astype(np.float32)
    # Scaled by its largest entry first, so that no square over- or underflows.
    rows /= np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows


def nearest(
    queries: NDArray[np.float32],
    references: NDArray[np.float32],
    count: int,
    *,
    query_owners: NDArray[np.intp] | None = None,
    reference_owners: NDArray[np.intp] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """The ``count`` most similar references of every query, most similar first.

    Parameters
    ----------
    queries, references:
        (n, D) and (m, D) float32 rows of unit length.
    count:
        1 to m.
    query_owners, reference_owners:
        (n,) and (m,) numbers; a query never meets a reference with its own number. Where too few others are left, the
        similarity is minus infinity.

    Returns
    -------
    (n, count) float32 cosine similarities and (n, count) row numbers of ``references``.
    """
    if not 1 <= count <= len(references):
        raise ValueError(f"{count} neighbours among {len(references)} references")
    similarity = np.empty((len(queries), count), dtype=np.float32)
    index = np.empty((len(queries), count), dtype=np.intp)
    step = max(1, CHUNK_SIMILARITIES // len(references))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        products = queries[rows] @ references.T
        if query_owners is not None and reference_owners is not None:
            products[query_owners[rows, None] == reference_owners[None, :]] = -np.inf
        top = np.argpartition(products, len(references) - count, axis=1)[:, len(references) - count :]
        values = np.take_along_axis(products, top, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        similarity[rows] = np.take_along_axis(values, order, axis=1)
        index[rows] = np.take_along_axis(top, order, axis=1)
    return similarity, index
