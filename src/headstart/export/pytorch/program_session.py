"""A written program of :mod:`torch.export`, loaded and run: what its parity check needs."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path

import numpy as np
import torch

from headstart.errors import ArtifactError
from headstart.runtime.record import KEY, ExportRecord, Precision, from_text
from headstart.runtime.session import Answers, Images, checked, filled

# Eager programs gain nothing from more.
_BATCH = 32


class ProgramSession:
    """A :class:`headstart.runtime.session.Session` over a ``.pt2`` file that headstart has just written.

    Raises
    ------
    ArtifactError
        If it can't be loaded.
    """

    precision: Precision = "f32"

    def __init__(self, path: Path) -> None:
        extra = {f"{KEY}.json": ""}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = torch.export.load(path, extra_files=extra)
        except Exception as error:
            raise ArtifactError(f"{path}: torch can't load it ({str(error)[:300]})") from error
        self.record: ExportRecord = from_text(extra[f"{KEY}.json"], str(path))
        self.engine = f"torch {torch.__version__}"
        self._where = str(path)
        self._module = program.module()
        self._lock = threading.Lock()

    def run(self, images: Images) -> Answers:
        """See :class:`headstart.runtime.session.Session`."""
        size = self.record.batch or _BATCH
        with self._lock, torch.inference_mode():
            parts = [self._run(images[start : start + size]) for start in range(0, len(images), size)]
        return Answers(
            np.concatenate([part.probabilities for part in parts]), np.concatenate([part.embeddings for part in parts])
        )

    def _run(self, images: Images) -> Answers:
        whole = torch.from_numpy(np.ascontiguousarray(filled(images, self.record.batch or 0)))
        probabilities, embeddings = self._module(whole)
        return checked(probabilities.numpy(), embeddings.numpy(), len(images), self.record, self._where)
