"""The history of a training for TensorBoard, beside ``history.csv``."""

from __future__ import annotations

import math
from pathlib import Path
from types import TracebackType

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from headstart.training.finetuning.outcome import EpochRow

_JUDGED = "loss/validation"  # which every epoch has


class Board:
    """Writes each epoch's figures as event files; use it in a ``with`` block. Needs ``headstart[tensorboard]``.

    Progressive unfreezing is one curve: epochs are counted on from one cut to the next.

    Parameters
    ----------
    folder:
        Where the event files go; it is made. A training that goes on after an interruption adds to it.
    """

    def __init__(self, folder: Path) -> None:
        self._lines = _written(folder)
        self._writer = SummaryWriter(str(folder))

    def write(self, row: EpochRow) -> None:
        """Add an epoch; what is no number (the start has no training loss) is left out."""
        figures = {
            "loss/train": row.train_loss,
            _JUDGED: row.val_loss,
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


def _written(folder: Path) -> int:
    """How many epochs are in the event files of a folder."""
    if not folder.is_dir():
        return 0
    events = EventAccumulator(str(folder)).Reload()
    return len(events.Scalars(_JUDGED)) if _JUDGED in events.Tags()["scalars"] else 0
