"""The loop above the cut: from its start, epoch by epoch, to the best point that validation rows have seen."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import lightning_fabric
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from headstart.errors import EngineError
from headstart.features.torch_engine import has_cuda
from headstart.training.finetuning.averaging import WeightAverage, interpolate
from headstart.training.finetuning.checkpoint import Checkpoints
from headstart.training.finetuning.defaults import NOISE_ERRORS, WISE_COEFFICIENTS
from headstart.training.finetuning.held_out import HeldOut, Judged
from headstart.training.finetuning.imbalance import Balance
from headstart.training.finetuning.learner import Learner, Weights, groups_of
from headstart.training.finetuning.losses import AnchorPenalty, training_loss
from headstart.training.finetuning.mixing import cutmix, mixup
from headstart.training.finetuning.outcome import EpochRow, Floats, Trained
from headstart.training.finetuning.precision import lay_out, prepare
from headstart.training.finetuning.recipe import Recipe
from headstart.training.finetuning.sampling import batches, epoch_order, halved, micro_batches, shard
from headstart.training.finetuning.schedules import rate_factor
from headstart.training.finetuning.trial import is_out_of_memory
from headstart.training.finetuning.view_policy import next_fresh, view_number
from headstart.training.finetuning.views import Views
from headstart.training.finetuning.watch import EarlyStopping, EpochLosses, diverging, improvement
from headstart.training.linear import Kind


@dataclass(frozen=True, eq=False)
class Rows:
    """The training rows: targets of zeros and ones, float64 (n, C), and the views they are seen in."""

    targets: Floats
    views: Views


class Interrupted(KeyboardInterrupt):
    """The training was asked to stop, and its state is saved."""


class Training:
    """One training, which can be interrupted after any step and goes on as if it had not been.

    Parameters
    ----------
    learner:
        At its start, also where the training goes on from a saved state; it is trained in place.
    cut:
        For the history's lines.
    fabric:
        Where and in which precision; by default one process on what the machine has.
    checkpoints:
        Where the state is kept; by default nowhere.
    tell:
        Called with each line of the history.
    stop:
        Asked before each epoch and after each step whether to save and raise :class:`Interrupted`.
    ends:
        Asked after each epoch with its seconds, and after each step with 0, whether to take the best so far; only where
        one process trains.
    """

    def __init__(
        self,
        learner: Learner,
        recipe: Recipe,
        rows: Rows,
        held: HeldOut,
        *,
        cut: int = 0,
        fabric: lightning_fabric.Fabric | None = None,
        checkpoints: Checkpoints | None = None,
        tell: Callable[[EpochRow], None] = lambda row: None,
        stop: Callable[[], bool] = lambda: False,
        ends: Callable[[float], bool] = lambda seconds: False,
    ) -> None:
        self._recipe, self._rows, self._held, self._cut = recipe, rows, held, cut
        self._checkpoints, self._tell, self._stop, self._ends = checkpoints, tell, stop, ends
        self._kind: Kind = learner.kind
        counts = tuple(int(count) for count in rows.targets.sum(0))
        self._balance: Balance = recipe.balance_for(counts, self._kind, len(rows.targets))
        self._offsets = np.array(self._balance.prior_offsets)
        self._targets = torch.from_numpy(rows.targets.astype(np.float32))
        self._fabric = fabric or _one_process(recipe)
        prepare(learner, recipe.precision)
        learner.shift(-self._offsets)  # what the balance takes away while training comes back when judging
        optimizer = torch.optim.AdamW(groups_of(learner, recipe), fused=True)
        self._base_rates = [group["lr"] for group in optimizer.param_groups]
        self._learner = learner
        self._model, self._optimizer = self._fabric.setup(learner, optimizer)
        self._loss = training_loss(self._kind, self._balance, recipe.smoothing)
        self._anchor = AnchorPenalty(
            (parameter for parameter in learner.suffix.parameters() if parameter.ndim > 1),
            [learner.head.weight],
            stages_strength=recipe.stages_anchor,
            head_strength=recipe.head_anchor,
        )
        per_epoch = math.ceil(math.ceil(len(rows.targets) / self._fabric.world_size) / self._local_batch)
        self._steps = recipe.epochs * per_epoch
        self._average = WeightAverage(learner, self._steps, recipe.ema) if recipe.ema else None
        self._micro = self._local_batch
        self._stopping = EarlyStopping(recipe.waits)
        self._history: list[EpochRow] = []
        self._notes: list[str] = []
        self._out_of_time = False
        self._epoch, self._batch, self._step, self._sums = 0, 0, 0, [0.0, 0.0]
        self._start = {key: value.detach().clone() for key, value in learner.state_dict().items()}
        self._best: dict[str, Tensor] = {}
        self._best_epoch = 0
        self._best_losses = self._lowest = self._reference = np.empty(0)
        self._warning: str | None = None

    def run(self) -> Trained:
        """Train from the start, or from the saved state.

        Raises
        ------
        Interrupted
            If it was asked to stop; the state is saved.
        """
        self._restore()
        if not self._history:
            self._close_epoch(math.nan, 0.0, 0.0)
        while self._epoch < self._recipe.epochs and not self._stopping.stops:
            self._end_if_asked()
            started, done = time.perf_counter(), self._sums[1]
            if not self._train_epoch():
                break
            self._epoch += 1
            self._batch = 0
            seconds = time.perf_counter() - started
            self._close_epoch(self._sums[0] / self._sums[1], (self._sums[1] - done) / seconds, seconds)
            self._sums = [0.0, 0.0]
            self._save()
            if self._epoch < self._recipe.epochs and self._ends(time.perf_counter() - started):
                self._run_out_of_time()
                break
        coefficient = self._interpolate()
        if self._warning:
            self._notes.append(self._warning)
        self._learner.shift(self._offsets)
        best, weights = self._best_epoch, Weights.of(self._learner)
        if not best:
            self._notes.append(f"no epoch above cut {self._cut} did better on the validation rows: the start is kept")
        return Trained(
            weights,
            best,
            coefficient,
            self._best_losses,
            tuple(self._history),
            tuple(self._notes),
            overfitted=self._warning is not None,
            out_of_time=self._out_of_time,
        )

    def _run_out_of_time(self) -> None:
        self._out_of_time = True
        self._notes.append(f"the time ended after epoch {self._epoch} of {self._recipe.epochs}")

    def _interpolate(self) -> float:
        """Leave the learner at the best epoch, or half way to it from the start where validation prefers that."""
        coefficient = 1.0
        for candidate in WISE_COEFFICIENTS if self._best_epoch else ():
            if 0 < candidate < 1:
                self._learner.load_state_dict(interpolate(self._start, self._best, candidate))
                judged = self._judge()
                if judged.loss < float(self._best_losses.mean()):
                    coefficient, self._best_losses = candidate, judged.losses
        self._learner.load_state_dict(interpolate(self._start, self._best, coefficient))
        return coefficient

    @property
    def _local_batch(self) -> int:
        return max(1, self._recipe.batch_size // self._fabric.world_size)

    def _train_epoch(self) -> bool:
        """One pass over the rows, from where the last interruption left it; False where it did not come to its end."""
        epoch, recipe, views = self._epoch, self._recipe, self._rows.views
        number = view_number(recipe.policy, epoch)
        order = shard(self._order(epoch), rank=self._fabric.global_rank, world=self._fabric.world_size)
        views.start_epoch(number, order, self._local_batch)
        ahead = next_fresh(recipe.policy, epoch, recipe.epochs)
        if ahead is not None and self._fabric.device.type != "cpu":
            views.prefetch(ahead)
        self._model.train()
        for rows in batches(order, self._local_batch)[self._batch :]:
            if len(rows) == 1 and self._learner.suffix.statistics_learn:  # one row has no variance for BatchNorm
                rows = np.append(rows, order[:1])
            torch.manual_seed(_seed(recipe.seed, epoch, self._batch, self._fabric.global_rank))
            inputs, targets = self._mixed(torch.from_numpy(views.batch(rows, number)), self._targets[rows])
            loss = self._take_step(inputs.to(self._fabric.device), targets.to(self._fabric.device))
            if not math.isfinite(loss):
                self._notes.append(
                    f"the loss was no number at step {self._step + 1} of epoch {epoch + 1}: training stopped and the "
                    f"best point was restored; try --lr {recipe.rate / 10:g}"
                )
                return False
            seen = len(rows) * self._fabric.world_size
            self._sums = [self._sums[0] + loss * seen, self._sums[1] + seen]
            self._batch += 1
            self._end_if_asked()
            if self._ends(0.0):
                self._run_out_of_time()
                return False
        return True

    def _end_if_asked(self) -> None:
        """All processes end after the same step, whichever of them was asked."""
        asked = torch.tensor(float(self._stop()), device=self._fabric.device)
        if self._fabric.all_reduce(asked, reduce_op="sum") > 0:
            self._save()
            raise Interrupted("the training was interrupted; its state is saved")

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        return epoch_order(len(self._targets), seed=self._recipe.seed, epoch=epoch)

    def _mixed(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mixup of images or features, or cutmix of images, by the recipe; both seeded by the step."""
        generator = torch.Generator().manual_seed(torch.initial_seed() % 2**63)
        images = inputs.dtype == torch.uint8
        if self._recipe.cutmix and images and (not self._recipe.mixup or self._step % 2):
            return cutmix(inputs, targets, alpha=self._recipe.cutmix, generator=generator)
        if self._recipe.mixup:
            return mixup(inputs, targets, alpha=self._recipe.mixup, generator=generator)
        return inputs, targets

    def _take_step(self, inputs: Tensor, targets: Tensor) -> float:
        """One step of the optimizer; where memory runs out, the batch goes through in halves.

        Gives the mean loss over the rows of all processes, so that all of them see alike whether it is a number.
        """
        factor = rate_factor(self._step, self._steps, self._recipe.warmup)
        for group, base in zip(self._optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = base * factor
        while True:
            try:
                found = self._gradient(inputs, targets)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self._fabric.world_size > 1:  # the others wait inside a backward pass that will not come
                    raise EngineError("memory ran out on one of several devices: take a smaller batch") from error
                if self._micro == 1:
                    raise EngineError("a single image does not fit into memory: take a smaller --image-size") from error
                self._micro = halved(self._micro)
                self._notes.append(f"memory ran out: batches go through in parts of {self._micro}")
        loss = float(self._fabric.all_reduce(torch.tensor(found, device=self._fabric.device), reduce_op="mean"))
        if math.isfinite(loss):
            self._optimizer.step()
            self._step += 1
            if self._average:
                self._average.update(self._learner)
        return loss

    def _gradient(self, inputs: Tensor, targets: Tensor) -> float:
        self._optimizer.zero_grad(set_to_none=True)
        total = 0.0
        parts = micro_batches(len(inputs), self._micro)
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            with self._fabric.no_backward_sync(self._model, enabled=not last):
                batch = lay_out(inputs[part.rows], channels_last=self._recipe.precision.channels_last)
                loss = self._loss(self._model(batch), targets[part.rows]) * part.share
                total += float(loss.detach())
                self._fabric.backward(loss + self._anchor() if last else loss)
        return total

    def _close_epoch(self, train_loss: float, speed: float, seconds: float) -> None:
        """Judge the learner, remember it where it is the best so far, and write the epoch's line."""
        with self._average.applied_to(self._learner) if self._average and self._step else contextlib.nullcontext():
            judged = self._judge()
            if self._is_worth_keeping(judged):
                self._best = {key: value.detach().clone() for key, value in self._learner.state_dict().items()}
                self._best_losses, self._best_epoch = judged.losses, self._epoch
        if self._stopping.best is None or judged.loss < self._stopping.best:
            self._lowest = judged.losses
        noise = 0.0
        if len(self._reference) and math.isfinite(judged.loss):
            noise = NOISE_ERRORS * improvement(self._reference, judged.losses, self._held.groups).standard_error
        self._stopping = self._stopping.after(self._epoch, judged.loss, noise if math.isfinite(noise) else 0.0)
        if self._stopping.reference_epoch == self._epoch:
            self._reference = judged.losses
        past = [row.seconds for row in self._history[1:]] + [seconds]
        left = (self._recipe.epochs - self._epoch) * sum(past) / len(past) if self._epoch else 0.0
        row = EpochRow(self._epoch, self._cut, train_loss, judged.loss, judged.score, self._rate, speed, seconds, left)
        self._history.append(row)
        self._watch(noise)
        self._tell(row)

    @property
    def _rate(self) -> float:
        """Of the highest stage."""
        stages = [group["lr"] for group in self._optimizer.param_groups if not group["name"].startswith("head/")]
        return float(max(stages))

    def _is_worth_keeping(self, judged: Judged) -> bool:
        """Whether the learner beats the start, and the epoch of the lowest loss does not beat it by more than noise.

        The rates end near zero, so the last epochs are the best but for what validation can't see. On few rows the
        epoch of the lowest loss is the lucky one as often as the best one; on many the two are the same.
        """
        if not self._history:
            return True
        if not judged.loss < self._history[0].val_loss:
            return False
        if not np.isfinite(self._lowest).all():
            return True
        return not improvement(judged.losses, self._lowest, self._held.groups).beyond_noise

    def _watch(self, noise: float) -> None:
        losses = [EpochLosses(row.epoch, row.train_loss, row.val_loss, noise) for row in self._history[1:]]
        recovered = self._stopping.best_epoch == self._epoch
        self._warning = diverging(losses) or (None if recovered else self._warning)

    @torch.no_grad()  # not inference mode: networks that keep a table of positions would train on it later
    def _judge(self) -> Judged:
        """Log-losses of the validation rows at the temperature that suits them, and the governing metric.

        Every process judges all rows, and all go by what the first one found.
        """
        self._model.eval()
        parts = []
        for batch in self._held.batches():
            inputs = torch.from_numpy(batch).to(self._fabric.device)
            parts.append(self._model(lay_out(inputs, channels_last=self._recipe.precision.channels_last)).cpu())
        logits = torch.cat(parts).double().numpy() + self._offsets
        return self._fabric.broadcast(self._held.judge(logits, self._kind))

    def _save(self) -> None:
        if self._checkpoints is None or self._fabric.global_rank:
            return
        self._checkpoints.save(
            {
                "model": self._learner.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "average": self._average.state_dict() if self._average else None,
                "best": self._best,
                "best_losses": torch.from_numpy(self._best_losses),
                "best_epoch": self._best_epoch,
                "lowest": torch.from_numpy(self._lowest),
                "warning": self._warning,
                "reference": torch.from_numpy(self._reference),
                "stopping": dataclasses.asdict(self._stopping),
                "history": [dataclasses.asdict(row) for row in self._history],
                "notes": list(self._notes),
                "place": [self._epoch, self._batch, self._step, self._micro],
                "sums": list(self._sums),
            }
        )

    def _restore(self) -> None:
        state = self._checkpoints.load() if self._checkpoints else None
        if state is None:
            return
        self._learner.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._average and state["average"] is not None:
            self._average.load_state_dict(state["average"])
        device = self._fabric.device
        self._best = {key: value.to(device) for key, value in state["best"].items()}
        self._best_losses, self._best_epoch = state["best_losses"].numpy(), state["best_epoch"]
        self._lowest, self._reference = state["lowest"].numpy(), state["reference"].numpy()
        self._warning = state["warning"]
        self._stopping = EarlyStopping(**state["stopping"])
        self._history = [EpochRow(**row) for row in state["history"]]
        self._notes = list(state["notes"])
        self._epoch, self._batch, self._step, self._micro = state["place"]
        self._sums = list(state["sums"])


def _one_process(recipe: Recipe) -> lightning_fabric.Fabric:
    """On what the machine has, without a word about it."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    accelerator = "cuda" if has_cuda() else "cpu"  # where the trial measured
    return lightning_fabric.Fabric(accelerator=accelerator, devices=1, precision=recipe.precision.precision)


def _seed(*parts: int) -> int:
    """A seed from several numbers."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big")
