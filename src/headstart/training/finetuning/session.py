"""The trainings of one wish: at one cut, or at several in turn, each from where the last one stood."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from headstart import files, records
from headstart.features.compiling import compile_trunk
from headstart.features.engine import CompiledTrunk, cpu_count
from headstart.features.extract import extract
from headstart.features.store import Store
from headstart.features.torch_engine import has_cuda
from headstart.imaging import load_view
from headstart.training.examples import Ints
from headstart.training.finetuning.augmentation import Augmenter
from headstart.training.finetuning.checkpoint import Checkpoints
from headstart.training.finetuning.defaults import DECODED_AHEAD, FRUITLESS_CUTS, JUDGED_AT_ONCE
from headstart.training.finetuning.held_out import HeldOut
from headstart.training.finetuning.imbalance import choose_balance
from headstart.training.finetuning.learner import Learner, load_tensors, start_from_scratch
from headstart.training.finetuning.loop import Rows, Training
from headstart.training.finetuning.memory import memory_reused
from headstart.training.finetuning.outcome import EpochRow, Trained
from headstart.training.finetuning.precision import has_bf16
from headstart.training.finetuning.range_test import RangeTest
from headstart.training.finetuning.recipe import Recipe
from headstart.training.finetuning.setting import PrecisionChoice
from headstart.training.finetuning.start import some
from headstart.training.finetuning.team import ALONE, Team
from headstart.training.finetuning.trial import Trial
from headstart.training.finetuning.view_policy import Policy
from headstart.training.finetuning.views import CachedViews, OnlineViews, TrainingImages, Views
from headstart.training.finetuning.watch import improvement
from headstart.training.finetuning.wish import Ground, Tuned, Wish
from headstart.training.linear import LinearModel

T = TypeVar("T")


class Session:
    """The trainings of one wish, at one cut or at several in turn."""

    def __init__(
        self, ground: Ground, wish: Wish, augmenter: Augmenter, tell: Callable[[EpochRow], None], team: Team = ALONE
    ) -> None:
        self._ground, self._wish, self._augmenter, self._tell, self._team = ground, wish, augmenter, tell, team
        train, _ = ground.fold
        counts = [int(count) for count in ground.examples.encoded[train].sum(0)]
        self._balance = choose_balance(counts, ground.metric, ground.examples.task.kind, rows=len(train))
        if self._balance.method != "none":
            ground.say(f"classes are balanced by {self._balance.method.replace('_', ' ')}: {self._balance.reason}")

    def train(self, cut: int, head: LinearModel, tensors: dict[str, npt.NDArray[np.float32]]) -> Tuned:
        """One training at a cut, from ``head`` and, in the stages that learnt before, ``tensors``."""
        ground, wish = self._ground, self._wish
        suffix = ground.backbone.trainable(cut)
        if wish.strategy == "scratch":
            start_from_scratch(suffix, wish.recipe.seed)
        load_tensors(suffix, tensors)
        learner = Learner(suffix, head)
        train, held = ground.fold
        compiled = self._compile(cut) if cut else None
        images = some(ground.images, train)
        with memory_reused(), self._views(images, compiled) as views:
            targets = ground.examples.encoded[train]
            recipe = dataclasses.replace(wish.head_recipe(), balance=self._balance)
            if compiled is None:  # every view is decoded anew, so that a fresh one costs no more
                recipe = dataclasses.replace(recipe, policy=Policy("online"))
            recipe = self._settled(cut, Trial(learner, views, targets, recipe))
            judge = HeldOut(
                partial(self._clean, held, compiled),
                ground.examples.targets[held],
                ground.examples.groups[held],
                self._score,
            )
            training = Training(
                learner,
                recipe,
                Rows(targets, self._team.views(views)),
                judge,
                cut=cut,
                fabric=self._team.fabric(recipe.precision),
                checkpoints=self._checkpoints(cut, recipe, compiled),
                tell=self._tell,
                stop=ground.stop,
                ends=ground.ends,
            )
            return self._tuned(training.run(), cut, recipe)

    def progress_down(self, head: LinearModel) -> Tuned:
        """Move the cut down one stage at a time, and train on from where it stood, until that stops to help."""
        best: Tuned | None = None
        reference: npt.NDArray[np.float64] | None = None  # of the last cut that gained more than noise
        history: list[EpochRow] = []
        notes: list[str] = []
        out_of_time = False
        fruitless, tensors = 0, dict[str, npt.NDArray[np.float32]]()
        for cut in range(len(self._ground.backbone.stages) - 1, -1, -1):
            found = self.train(cut, head, tensors)
            history += found.history
            out_of_time |= found.out_of_time
            notes += [note for note in found.notes if note not in notes]
            if best is None or found.losses.mean() < best.losses.mean():
                best = found
            if reference is None or improvement(reference, found.losses, self._groups).beyond_noise:
                reference, fruitless = found.losses, 0  # small gains add up until they are more than noise
            else:
                fruitless += 1
            if fruitless == FRUITLESS_CUTS:
                notes.append(f"unfreezing ended at cut {cut}: {FRUITLESS_CUTS} cuts in a row gained no more than noise")
                break
            head, tensors = best.weights.head, best.weights.tensors
        assert best is not None
        return dataclasses.replace(best, history=tuple(history), notes=tuple(notes), out_of_time=out_of_time)

    def _score(self, probabilities: npt.NDArray[np.float64]) -> float:
        """The governing metric of the held-out rows, by the decisions that the saved model will take."""
        limits = self._balance.thresholds
        targets = self._ground.examples.targets[self._ground.fold[1]]
        return self._ground.score(targets, probabilities, None if limits is None else np.array(limits))

    @property
    def _groups(self) -> npt.NDArray[np.int64]:
        return self._ground.examples.groups[self._ground.fold[1]]

    def _compile(self, cut: int) -> CompiledTrunk:
        with self._team.first():
            return compile_trunk(self._ground.backbone.trunk(cut), engine=self._ground.engine, say=self._ground.say)

    def _views(self, images: TrainingImages, compiled: CompiledTrunk | None) -> Views:
        if compiled is None:
            threads, ahead = max(1, cpu_count() // self._team.size), DECODED_AHEAD if has_cuda() else 0
            return OnlineViews(images, self._augmenter, threads=threads, ahead=ahead)
        policy = self._wish.recipe.policy
        kept = 1 if policy.kind == "online" else policy.views
        return CachedViews(images, compiled, self._augmenter, kept=kept, progress=self._ground.progress)

    def _clean(self, rows: Ints, compiled: CompiledTrunk | None) -> Iterator[npt.NDArray[Any]]:
        """The clean view of some rows at the cut, in batches."""
        images = some(self._ground.images, rows)
        if compiled is None:
            preprocessing = self._ground.backbone.preprocessing

            def decoded(place: int) -> npt.NDArray[np.uint8]:
                return load_view(images.read(place), preprocessing, images.names[place])

            with ThreadPoolExecutor(max(1, cpu_count() // self._team.size)) as pool:
                for start in range(0, len(rows), JUDGED_AT_ONCE):
                    places = range(start, min(start + JUDGED_AT_ONCE, len(rows)))
                    yield np.stack(list(pool.map(decoded, places)))
            return
        with Store.default(self._ground.say) as store:
            with self._team.first():
                found = extract(images.read, images.names, images.hashes, compiled, store, self._ground.progress)
            table, shape = found.whole(), compiled.trunk.outputs[-1].shape
            for start in range(0, len(rows), JUDGED_AT_ONCE):
                part = slice(start, min(start + JUDGED_AT_ONCE, len(rows)))
                yield table.rows(part, None, np.float32).reshape(-1, *shape)

    def _settled(self, cut: int, trial: Trial) -> Recipe:
        """The recipe in the precision that is given or fastest here, and at the rate that was looked for."""
        recipe, agreed = trial.recipe, self._team.agreed
        choice = self._given_precision() or agreed(
            partial(self._kept, PrecisionChoice, f"precision-{cut}.json", trial.precision)
        )
        recipe = dataclasses.replace(recipe, precision=choice)
        if not self._wish.find_rate:
            return recipe
        trial = dataclasses.replace(trial, recipe=recipe)
        found = agreed(partial(self._kept, RangeTest, f"rate-{cut}.json", trial.rate))
        self._ground.say(f"cut {cut}: {found.reason}")
        if found.suggestion is None:
            return recipe
        # The test speaks of the highest rate there is, which may be the head's.
        return dataclasses.replace(recipe, rate=found.suggestion / max(1.0, recipe.head_factor))

    def _given_precision(self) -> PrecisionChoice | None:
        """The precision that is wished for, unless this device has none such."""
        given = self._wish.precision
        device = "cuda" if has_cuda() else "cpu"
        if given is not None and given.is_bf16 and not has_bf16(device):
            self._ground.say(f"{given.name} can't be: this device has no bf16, so a precision is chosen here")
            return None
        return given

    def _kept(self, kind: type[T], name: str, measure: Callable[[], T]) -> T:
        """What this run measured before; or what is measured now, and kept."""
        if self._ground.folder is None:
            return measure()
        path = self._ground.folder / name
        if path.is_file():
            return records.from_json(kind, path.read_bytes(), where=str(path))
        found = measure()
        files.write_atomic(path, records.to_json(found))
        return found

    def _checkpoints(self, cut: int, recipe: Recipe, compiled: CompiledTrunk | None) -> Checkpoints | None:
        """Where the state is kept, under everything that shapes the training."""
        ground, wish = self._ground, self._wish
        if ground.folder is None:
            return None
        train, held = ground.fold
        shaping = {field.name: repr(getattr(recipe, field.name)) for field in dataclasses.fields(recipe)}
        identity = {
            "backbone": ground.backbone.name,
            "weights": ground.backbone.weights_sha256,
            "preprocessing": repr(ground.backbone.preprocessing),
            "engine": repr(compiled.identity) if compiled else "none",
            "training rows": self._digest(train),
            "validation rows": self._digest(held),
            "metric": ground.metric,
            "strategy": wish.strategy,
            "head": wish.head,
            "augmentation": self._augmenter.identity,
            **shaping,
            "devices": wish.devices,
            "precision": recipe.precision.name,
        }
        return Checkpoints(ground.folder / f"checkpoint-{cut}.pt", identity)

    def _digest(self, rows: Ints) -> str:
        """SHA-256 over some rows' images, labels and groups, in their order."""
        examples, images = self._ground.examples, self._ground.images
        found = hashlib.sha256("".join(images.hashes[row] for row in rows).encode())
        found.update(np.ascontiguousarray(examples.encoded[rows]).tobytes())
        found.update(np.ascontiguousarray(examples.groups[rows]).tobytes())
        return found.hexdigest()

    def _tuned(self, trained: Trained, cut: int, recipe: Recipe) -> Tuned:
        return Tuned(
            trained.weights,
            cut,
            trained.best_epoch,
            trained.coefficient,
            trained.losses,
            trained.history,
            recipe.precision,
            frozenset(),
            trained.notes,
            self._wish.augment,
            trained.overfitted,
            trained.out_of_time,
            self._balance.thresholds,
        )
