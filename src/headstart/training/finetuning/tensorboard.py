"""The history of a training for TensorBoard, beside ``history.csv``."""

from __future__ import annotations

import math
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from headstart.training.finetuning.outcome import EpochRow


class Board:
    """Writes each epoch's figures as event files; use it in a ``with`` block. Needs ``headstart[tensorboard]``.

    Progressive unfreezing is one curve: epochs are counted on from one cut to the next.

    Parameters
    ----------
    folder:
        Where the event files go; it is made. A training that goes on after an interruption tells its
        history anew, which takes the place of what was written before.
    """

    def __init__(self, folder: Path) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=0)
        self._lines = 0

    def write(self, row: EpochRow) -> None:
        """Add an epoch; what is no number (the start has no training loss) is left out."""
        figures = {
            "loss/train": row.train_loss,
            "loss/validation": row.val_loss,
            "score/validation": row.val_score,
            "training/rate": row.rate,
            "training/images per second": row.images_per_second,
            "training/cut": float(row.cut),
        }
        for name, value in figures.items():
            if math.isfinite(value):
                self._writer.add_scalar(name, value, self._lines)
        self._writer.flush()
        self._lines += 1

    def __enter__(self) -> Board:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._writer.close()
