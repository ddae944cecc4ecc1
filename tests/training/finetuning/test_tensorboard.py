"""What TensorBoard reads back is the history."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

pytest.importorskip("tensorboard")

from headstart.training.finetuning.outcome import EpochRow
from headstart.training.finetuning.tensorboard import Board


def test_the_curves_are_those_of_the_history(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = [
        EpochRow(0, 8, math.nan, 0.9, 0.5, 0.0, 0.0, 0.0),
        EpochRow(1, 8, 0.8, 0.7, 0.625, 1e-3, 100.0, 2.0),
        EpochRow(0, 7, math.nan, 0.7, 0.625, 0.0, 0.0, 0.0),
        EpochRow(1, 7, 0.6, 0.5, 0.75, 5e-4, 50.0, 4.0),
    ]
    for part in (rows[:3], rows[3:]):  # interrupted, and gone on with
        with Board(tmp_path / "board") as board:
            for row in part:
                board.write(row)
    found = EventAccumulator(str(tmp_path / "board")).Reload()
    losses = found.Scalars("loss/validation")
    assert [event.step for event in losses] == [0, 1, 2, 3]  # one curve over all cuts
    assert [event.value for event in losses] == pytest.approx([row.val_loss for row in rows])
    trained = found.Scalars("loss/train")
    assert [(event.step, event.value) for event in trained] == [(1, pytest.approx(0.8)), (3, pytest.approx(0.6))]
    assert [event.value for event in found.Scalars("training/cut")] == [8, 8, 7, 7]
