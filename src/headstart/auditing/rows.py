"""What an audit finds about single images and classes, from what they look like and what models say of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headstart.auditing.broken_files import broken_files
from headstart.auditing.centre_crop import centre_crop
from headstart.auditing.class_balance import class_balance
from headstart.auditing.class_names import class_names
from headstart.auditing.findings import Finding
from headstart.auditing.image_quality import image_quality
from headstart.auditing.inspection import look_closely
from headstart.auditing.outliers import outliers
from headstart.auditing.shortcuts import shortcuts
from headstart.auditing.suspicious_labels import neighbours_of, suspicious_labels
from headstart.data import Dataset
from headstart.imaging import Preprocessing
from headstart.runs.progress import Progress
from headstart.training.examples import Examples

_TOP = ("features",)


def audit_rows(
    dataset: Dataset,
    examples: Examples,
    probabilities: NDArray[np.float64],
    preprocessing: Preprocessing,
    *,
    progress: Progress,
    seed: int,
    at_most: int | None = None,
) -> tuple[Finding, ...]:
    """Suspicious labels, shortcuts, broken, poor and odd images, classes with few images or similar names.

    Test rows are not looked at: what is found may lead to decisions.

    Parameters
    ----------
    dataset:
        The data set that ``examples`` are the development rows of.
    probabilities:
        (n, C) of models that had not seen the row; NaN where there is none.
    preprocessing:
        Of the backbone: it says what a crop would cut off.
    at_most:
        Look at the pixels of so many of the images, drawn by ``seed``; by default at all. Decoding is what takes time.
    """
    development = dataset.select(examples.places)
    files, targets, groups = development.files, examples.targets, examples.groups
    features = examples.features(_TOP)
    neighbours = neighbours_of(features, features, examples.encoded, owners=groups, reference_owners=groups, seed=seed)
    seen = look_closely(development, progress=progress, at_most=at_most, seed=seed).examined
    rows, looks = np.fromiter(seen, np.int64), list(seen.values())
    names = [files[row] for row in seen]
    counts = dict(zip(dataset.classes, examples.encoded.sum(0).astype(int).tolist(), strict=True))
    return (
        *suspicious_labels(files, dataset.classes, targets, probabilities, neighbours),
        *shortcuts(looks, dataset.classes, targets[rows], groups[rows], probabilities[rows], seed=seed),
        *broken_files(dataset.left_out),
        *image_quality(names, looks),
        *outliers(files, features, groups, seed=seed),
        *centre_crop(names, [look.facts for look in looks], preprocessing),
        *class_names(counts),
        *class_balance(counts),
    )
