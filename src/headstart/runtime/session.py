"""What runs an exported file: a batch of uint8 images in, probabilities and embeddings out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from headstart.errors import ArtifactError
from headstart.runtime.record import ExportRecord, Precision

Images = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network says: ``probabilities`` float32 (n, C), calibrated; ``embeddings`` float32 (n, D)."""

    probabilities: Rows
    embeddings: Rows


class Session(Protocol):
    """A loaded file. Safe to call from several threads at once."""

    record: ExportRecord
    engine: str
    precision: Precision

    def run(self, images: Images) -> Answers:
        """uint8 (n, height, width, channels) of one size, n ≥ 1; raises :class:`ArtifactError` on a wrong answer."""
        ...


def checked(
    probabilities: npt.NDArray[np.generic],
    embeddings: npt.NDArray[np.generic],
    n: int,
    record: ExportRecord,
    where: str,
) -> Answers:
    """The first n rows of both outputs, once their shapes are those that the metadata promise."""
    wanted = ((len(record.classes),), (record.embedding,))
    found = (probabilities.shape[1:], embeddings.shape[1:])
    if found != wanted or len(probabilities) < n or len(embeddings) < n:
        raise ArtifactError(f"{where}: gives rows of {found}, its metadata promise {wanted}; export the model again")
    return Answers(np.asarray(probabilities[:n], np.float32), np.asarray(embeddings[:n], np.float32))


def blank(record: ExportRecord) -> Images:
    """One black image that the graph takes: uint8 (1, size, size, channels)."""
    side = record.preprocessing.size
    return np.zeros((1, side, side, record.preprocessing.channels), np.uint8)


def filled(images: Images, batch: int) -> Images:
    """A last batch that is too short, filled up with its own first image."""
    missing = batch - len(images)
    return images if missing <= 0 else np.concatenate([images, np.repeat(images[:1], missing, axis=0)])


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
