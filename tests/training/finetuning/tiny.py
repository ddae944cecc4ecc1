"""A training small enough to be run dozens of times in a test, also in processes of its own.

As a program: ``tiny.py resume FOLDER`` goes on from the checkpoint in a folder, ``tiny.py several FOLDER COUNT`` trains
in COUNT processes; both write ``trained.npz`` there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning_fabric
import numpy as np
import numpy.typing as npt
import torch
from timm.layers import DropPath
from torch import nn

from headstart.backbones.pytorch.suffix import TrainableSuffix
from headstart.training.finetuning.checkpoint import Checkpoints
from headstart.training.finetuning.held_out import HeldOut
from headstart.training.finetuning.learner import Learner
from headstart.training.finetuning.loop import Rows, Training
from headstart.training.finetuning.outcome import Trained
from headstart.training.finetuning.recipe import Recipe
from headstart.training.finetuning.view_policy import Policy
from headstart.training.linear import Kind, LinearModel
from headstart.training.probe import fit

SHAPE, CLASSES, WIDTH = (3, 6, 6), 3, 8


class Block(nn.Module):
    """A convolution with BatchNorm beside a branch that is dropped at random."""

    def __init__(self, width: int, drop: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, WIDTH, 3, padding=1)
        self.norm = nn.BatchNorm2d(WIDTH)
        self.branch = nn.Conv2d(WIDTH, WIDTH, 1)
        self.drop = DropPath(drop)
        self.dropout = nn.Dropout(drop)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        value = torch.relu(self.norm(self.conv(value)))
        return self.dropout(value + self.drop(self.branch(value)))


class Top(nn.Module):
    """The last stage, which ends in the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Block(WIDTH, 0.0)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return self.block(value).mean((2, 3))


def suffix(drop: float) -> TrainableSuffix:
    """Two stages of few weights, with statistics that are not the identity's."""
    torch.manual_seed(0)
    made = TrainableSuffix(None, [("low", Block(SHAPE[0], drop)), ("top", Top())])
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return made


class MemoryViews:
    """Views of rows in memory: each number is other noise. ``poisoned`` is a row that is no number."""

    def __init__(self, clean: npt.NDArray[np.float32], noise: float, poisoned: tuple[int, int] | None = None) -> None:
        self.clean, self.noise, self.poisoned = clean, noise, poisoned
        self.asked: list[int] = []

    def start_epoch(self, number: int, order: npt.NDArray[np.int64], batch_size: int) -> None:
        self.asked.append(number)

    def prefetch(self, number: int) -> None: ...

    def batch(self, rows: npt.NDArray[np.int64], number: int) -> npt.NDArray[np.float32]:
        drawn = [np.random.default_rng((number, row)).normal(0, self.noise, SHAPE) for row in rows.tolist()]
        found = (self.clean[rows] + np.stack(drawn)).astype(np.float32)
        if self.poisoned is not None and self.poisoned[0] == number:
            found[rows == self.poisoned[1]] = np.nan
        return found

    def __enter__(self) -> MemoryViews:
        return self

    def __exit__(self, *_: object) -> None: ...


@dataclass(frozen=True)
class Problem:
    """A small data set with the recipe that trains on it; what is ``None`` or zero is off."""

    rows: int = 44
    drop: float = 0.1
    noise: float = 0.3
    kind: Kind = "softmax"
    poisoned: tuple[int, int] | None = None
    informative: bool = True
    recipe: Recipe = field(
        default_factory=lambda: Recipe(
            epochs=3, batch_size=8, rate=5e-3, mixup=0.2, ema=0.4, policy=Policy("rolling", 2), patience=10
        )
    )

    def changed(self, **values: Any) -> Problem:
        """Another recipe."""
        return replace(self, recipe=replace(self.recipe, **values))

    def draw(self, count: int, seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Boundary rows and class numbers, the first class the most frequent."""
        generator = np.random.default_rng(seed)
        labels = np.minimum(np.arange(count) % 6 // 2, CLASSES - 1)
        labels[::6] = 0
        centres = np.random.default_rng(9).normal(size=(CLASSES, *SHAPE))
        found = centres[labels] + 1.3 * generator.normal(size=(count, *SHAPE))
        return found.astype(np.float32), labels if self.informative else generator.permutation(labels)

    def targets(self, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.generic]:
        """Class numbers, or two labels a row."""
        return labels if self.kind == "softmax" else np.stack([labels == 0, labels > 0, labels == 2], 1)

    def encoded(self, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Zeros and ones (n, C)."""
        return np.eye(CLASSES)[labels] if self.kind == "softmax" else self.targets(labels).astype(np.float64)

    def embedding(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The frozen suffix on clean rows."""
        with torch.inference_mode():
            return suffix(self.drop)(torch.from_numpy(rows)).numpy()

    def probe(self) -> LinearModel:
        """The convex fit on the training rows."""
        rows, labels = self.draw(self.rows, 0)
        return fit(self.embedding(rows), self.encoded(labels), 0.1, kind=self.kind)

    def learner(self) -> Learner:
        """At its start."""
        return Learner(suffix(self.drop), self.probe())

    def training(self, learner: Learner | None = None, **options: Any) -> Training:
        """The loop, at its start."""
        rows, labels = self.draw(self.rows, 0)
        held, truth = self.draw(30, 1)

        def batches() -> Iterator[npt.NDArray[np.float32]]:
            yield from (held[:16], held[16:])

        def score(found: npt.NDArray[np.float64]) -> float:
            return float((found.argmax(1) == truth).mean())

        options = {"fabric": cpu(), **options}
        judge = HeldOut(batches, self.targets(truth), np.arange(30), score)
        views = MemoryViews(rows, self.noise, self.poisoned)
        return Training(learner or self.learner(), self.recipe, Rows(self.encoded(labels), views), judge, **options)


def cpu() -> lightning_fabric.Fabric:
    """One process."""
    return lightning_fabric.Fabric(accelerator="cpu", devices=1)


def checkpoints(folder: Path) -> Checkpoints:
    """Where the tiny training keeps its state."""
    return Checkpoints(folder / "checkpoint.pt", {"problem": "tiny"})


def after(polls: int) -> Callable[[], bool]:
    """Asks to stop at one poll, the first being number 0."""
    count = iter(range(10**9))
    return lambda: next(count) == polls


def steps_of(training: Training) -> list[float]:
    """A list that fills with the loss of every step, once the training runs."""
    losses: list[float] = []
    take = training._take_step

    def noted(inputs: torch.Tensor, targets: torch.Tensor) -> float:
        losses.append(take(inputs, targets))
        return losses[-1]

    training._take_step = noted  # type: ignore[method-assign]
    return losses


def write(path: Path, trained: Trained, losses: list[float]) -> None:
    """Weights, head, the history's validation losses and the losses of the steps."""
    history = [row.val_loss for row in trained.history]
    head = {"head.weights": trained.weights.head.weights, "head.bias": trained.weights.head.bias}
    np.savez(path, **trained.weights.tensors, **head, history=history, losses=losses, best=trained.best_epoch)


# Several processes give one process's losses only where nothing is drawn by each of them for itself.
ALIKE = Problem(drop=0.0).changed(mixup=0.0, epochs=4, stages_anchor=0.1, head_anchor=0.3)


def _in_each(fabric: lightning_fabric.Fabric, folder: Path) -> None:
    training = ALIKE.training(fabric=fabric)
    losses = steps_of(training)
    trained = training.run()
    write(folder / f"trained-{fabric.global_rank}.npz", trained, losses)


def main(what: str, folder: Path, count: int = 1) -> None:
    """See the module."""
    if what == "resume":
        training = Problem().training(checkpoints=checkpoints(folder))
        losses = steps_of(training)
        write(folder / "trained.npz", training.run(), losses)
        return
    fabric = lightning_fabric.Fabric(accelerator="cpu", devices=count, strategy="ddp_fork")
    fabric.launch(_in_each, folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
