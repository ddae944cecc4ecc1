"""One rung of fine-tuning: a backbone and its labelled rows in, tuned weights and their evidence out."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from headstart import files, records
from headstart.backbones.backbone import Backbone
from headstart.data.splits import folds
from headstart.errors import OptionError
from headstart.features.compiling import compile_trunk
from headstart.features.engine import CompiledTrunk, EngineName, Say
from headstart.features.extract import View, extract
from headstart.features.store import Store
from headstart.imaging import load_view
from headstart.runs.progress import Progress
from headstart.training.examples import Examples, Ints
from headstart.training.finetuning.augmentation import Augmenter
from headstart.training.finetuning.checkpoint import Checkpoints
from headstart.training.finetuning.contact_sheet import contact_sheet
from headstart.training.finetuning.defaults import AUGMENT, RANDOM_HEAD_FACTOR
from headstart.training.finetuning.held_out import HeldOut
from headstart.training.finetuning.imbalance import choose_balance
from headstart.training.finetuning.learner import Learner, Weights, load_tensors, random_head, start_from_scratch
from headstart.training.finetuning.loop import Rows, Training
from headstart.training.finetuning.losses import training_loss
from headstart.training.finetuning.outcome import EpochRow, Trained
from headstart.training.finetuning.precision import PrecisionChoice, choose_precision
from headstart.training.finetuning.recipe import Recipe
from headstart.training.finetuning.transform_check import check_transforms, held_out_models
from headstart.training.finetuning.views import CachedViews, OnlineViews, TrainingImages, Views
from headstart.training.finetuning.watch import improvement
from headstart.training.linear import LinearModel
from headstart.training.probe import choose, fit

Strategy = Literal["partial", "progressive", "full", "scratch"]
TOP = ("features",)
# Progressive unfreezing gives up after so many cuts in a row without a gain beyond noise.
_FRUITLESS = 2
_JUDGED_AT_ONCE = 64
_SHOWN = 6


@dataclass(frozen=True, eq=False)
class Ground:
    """What every fine-tuning of one data set shares.

    Attributes
    ----------
    backbone:
        As pretrained.
    images:
        Of the development rows, in the order of ``examples``.
    examples:
        The development rows with the features of the frozen backbone. Their first fold says which rows train, and
        which are held out to judge.
    score:
        The governing metric of (targets, calibrated probabilities), and its name.
    """

    backbone: Backbone
    images: TrainingImages
    examples: Examples
    metric: str
    score: Callable[[npt.NDArray[np.generic], npt.NDArray[np.float64]], float]
    engine: EngineName
    progress: Progress
    say: Say
    folder: Path | None
    stop: Callable[[], bool] = lambda: False

    @property
    def fold(self) -> tuple[Ints, Ints]:
        """Numbers of the rows that train, and of those that judge."""
        return self.examples.folds[0]


@dataclass(frozen=True)
class Wish:
    """What is wanted of a fine-tuning; what is ``None`` is decided here."""

    strategy: Strategy
    cut: int | None = None
    augment: str = AUGMENT
    head: Literal["probe", "random"] = "probe"
    recipe: Recipe = dataclasses.field(default_factory=Recipe)
    precision: PrecisionChoice | None = None

    def head_recipe(self) -> Recipe:
        """The recipe; a head that knows nothing learns faster, and is not held to where it began."""
        if self.strategy != "scratch" and self.head == "probe":
            return self.recipe
        return dataclasses.replace(self.recipe, head_factor=RANDOM_HEAD_FACTOR, head_anchor=0.0)


@dataclass(frozen=True, eq=False)
class Tuned:
    """A fine-tuned network, free of PyTorch.

    Attributes
    ----------
    cut:
        The stages below it are as pretrained.
    history:
        Of all trainings, one after the other.
    """

    weights: Weights
    cut: int
    best_epoch: int
    coefficient: float
    losses: npt.NDArray[np.float64]
    history: tuple[EpochRow, ...]
    precision: PrecisionChoice
    without: frozenset[str]
    notes: tuple[str, ...]


def fine_tune(ground: Ground, wish: Wish, *, tell: Callable[[EpochRow], None] = lambda row: None) -> Tuned:
    """Train what lies above the cut, from the probe on.

    Raises
    ------
    OptionError
        If the backbone has no such cut, or the batch is larger than the training rows.
    """
    cut = check_wish(wish, stages=len(ground.backbone.stages), rows=len(ground.fold[0]))
    head = _head(ground, wish)
    without, sentences = _harmful_transforms(ground, wish)
    augmenter = Augmenter(wish.augment, ground.backbone.preprocessing, seed=wish.recipe.seed, without=without)
    session = _Session(ground, wish, augmenter, tell)
    tuned = session.progress_down(head) if wish.strategy == "progressive" else session.train(cut, head, {})
    return dataclasses.replace(tuned, without=without, notes=(*sentences, *tuned.notes))


def contact_sheet_of(ground: Ground, wish: Wish, tuned: Tuned) -> bytes:
    """``augmentations.png``: some training images, each with views as the training saw them."""
    preprocessing, seed = ground.backbone.preprocessing, wish.recipe.seed
    augmenter = Augmenter(wish.augment, preprocessing, seed=seed, without=tuned.without)
    train = ground.fold[0]
    chosen = train[np.unique(np.linspace(0, len(train) - 1, _SHOWN).astype(int))]
    return contact_sheet([(ground.images.read(i), ground.images.names[i]) for i in chosen.tolist()], augmenter)


class _Session:
    """The trainings of one wish, at one cut or at several in turn."""

    def __init__(self, ground: Ground, wish: Wish, augmenter: Augmenter, tell: Callable[[EpochRow], None]) -> None:
        self._ground, self._wish, self._augmenter, self._tell = ground, wish, augmenter, tell
        train, _ = ground.fold
        counts = [int(count) for count in ground.examples.encoded[train].sum(0)]
        self._balance = choose_balance(counts, ground.metric, ground.examples.task.kind, rows=len(train))

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
        images = _some(ground.images, train)
        with self._views(images, compiled) as views:
            targets = ground.examples.encoded[train]
            recipe = dataclasses.replace(wish.head_recipe(), balance=self._balance)
            choice = self._precision(cut, partial(self._measure_precision, learner, views, targets, recipe))
            recipe = dataclasses.replace(recipe, precision=choice)
            judge = HeldOut(
                partial(self._clean, held, compiled),
                ground.examples.targets[held],
                ground.examples.groups[held],
                partial(ground.score, ground.examples.targets[held]),
            )
            training = Training(
                learner,
                recipe,
                Rows(targets, views),
                judge,
                cut=cut,
                checkpoints=self._checkpoints(cut, recipe, compiled),
                tell=self._tell,
                stop=ground.stop,
            )
            return _tuned(training.run(), cut, choice)

    def progress_down(self, head: LinearModel) -> Tuned:
        """Move the cut down one stage at a time, and train on from where it stood, until that stops to help."""
        best: Tuned | None = None
        history: list[EpochRow] = []
        notes: list[str] = []
        fruitless, tensors = 0, dict[str, npt.NDArray[np.float32]]()
        for cut in range(len(self._ground.backbone.stages) - 1, -1, -1):
            found = self.train(cut, head, tensors)
            history += found.history
            notes += [note for note in found.notes if note not in notes]
            if best is None or improvement(best.losses, found.losses, self._groups).beyond_noise:
                best, fruitless = found, 0
            else:
                fruitless += 1
                best = found if found.losses.mean() < best.losses.mean() else best
            if fruitless == _FRUITLESS:
                notes.append(f"unfreezing ended at cut {cut}: {_FRUITLESS} cuts in a row gained no more than noise")
                break
            head, tensors = best.weights.head, best.weights.tensors
        assert best is not None
        return dataclasses.replace(best, history=tuple(history), notes=tuple(notes))

    @property
    def _groups(self) -> npt.NDArray[np.int64]:
        return self._ground.examples.groups[self._ground.fold[1]]

    def _compile(self, cut: int) -> CompiledTrunk:
        return compile_trunk(self._ground.backbone.trunk(cut), engine=self._ground.engine, say=self._ground.say)

    def _views(self, images: TrainingImages, compiled: CompiledTrunk | None) -> Views:
        if compiled is None:
            return OnlineViews(images, self._augmenter)
        policy = self._wish.recipe.policy
        kept = 1 if policy.kind == "online" else policy.views
        return CachedViews(images, compiled, self._augmenter, kept=kept, progress=self._ground.progress)

    def _clean(self, rows: Ints, compiled: CompiledTrunk | None) -> Iterator[npt.NDArray[Any]]:
        """The clean view of some rows at the cut, in batches."""
        images = _some(self._ground.images, rows)
        if compiled is None:
            preprocessing = self._ground.backbone.preprocessing
            for start in range(0, len(rows), _JUDGED_AT_ONCE):
                some = range(start, min(start + _JUDGED_AT_ONCE, len(rows)))
                yield np.stack([load_view(images.read(i), preprocessing, images.names[i]) for i in some])
            return
        with Store.default(self._ground.say) as store:
            table = extract(images.read, images.names, images.hashes, compiled, store, self._ground.progress).table
            shape = compiled.trunk.outputs[-1].shape
            for start in range(0, len(rows), _JUDGED_AT_ONCE):
                part = slice(start, min(start + _JUDGED_AT_ONCE, len(rows)))
                yield table.rows(part, None, np.float32).reshape(-1, *shape)

    def _precision(self, cut: int, measure: Callable[[], PrecisionChoice]) -> PrecisionChoice:
        """What is asked for; or what this run chose before at this cut; or what is measured now, and kept."""
        if self._wish.precision:
            return self._wish.precision
        path = None if self._ground.folder is None else self._ground.folder / f"precision-{cut}.json"
        if path and path.is_file():
            return records.from_json(PrecisionChoice, path.read_bytes(), where=str(path))
        choice = measure()
        if path:
            files.write_atomic(path, records.to_json(choice))
        return choice

    def _measure_precision(
        self, learner: Learner, views: Views, targets: npt.NDArray[np.float64], recipe: Recipe
    ) -> PrecisionChoice:
        rows = np.arange(min(recipe.batch_size, len(targets)))
        views.start_epoch(0, rows, len(rows))
        batch = (torch.from_numpy(views.batch(rows, 0)), torch.from_numpy(targets[rows].astype(np.float32)))
        loss = training_loss(learner.kind, self._balance, recipe.smoothing)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        learner.to(device)
        learner.train()
        return choose_precision(learner, batch, lambda model, pair: loss(model(pair[0]), pair[1]), device=device)

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
            "engine": repr(compiled.identity) if compiled else "none",
            "training rows": self._digest(train),
            "validation rows": self._digest(held),
            "metric": ground.metric,
            "strategy": wish.strategy,
            "head": wish.head,
            "augmentation": self._augmenter.identity,
            **shaping,
            "precision": f"{recipe.precision.precision}, channels last {recipe.precision.channels_last}",
        }
        return Checkpoints(ground.folder / f"checkpoint-{cut}.pt", identity)

    def _digest(self, rows: Ints) -> str:
        """SHA-256 over some rows' images, labels and groups, in their order."""
        examples, images = self._ground.examples, self._ground.images
        found = hashlib.sha256("".join(images.hashes[row] for row in rows).encode())
        found.update(np.ascontiguousarray(examples.encoded[rows]).tobytes())
        found.update(np.ascontiguousarray(examples.groups[rows]).tobytes())
        return found.hexdigest()


def check_wish(wish: Wish, *, stages: int, rows: int) -> int:
    """The cut that is wanted of a backbone of so many stages; a third of them train where nobody says.

    Raises
    ------
    OptionError
        If there is no such cut, the strategy takes none, or the batch is larger than the training rows.
    """
    if wish.recipe.batch_size > rows:
        raise OptionError(
            f"a batch of {wish.recipe.batch_size} is more than the {rows} training images: take a smaller --batch-size"
        )
    if wish.strategy != "partial":
        if wish.cut:
            raise OptionError(f"{wish.strategy} chooses its cuts itself: --cut {wish.cut} belongs to partial")
        return 0
    cut = wish.cut if wish.cut is not None else min(max(1, round(stages * 2 / 3)), stages - 1)
    if not 0 <= cut < stages:
        raise OptionError(
            f"this backbone has {stages} stages: it can be trained above cut 0 to {stages - 1}, not {cut}"
        )
    return cut


def _head(ground: Ground, wish: Wish) -> LinearModel:
    """What the head starts as: the probe of the training rows, its penalty chosen among them alone."""
    examples, (train, _) = ground.examples, ground.fold
    if wish.strategy == "scratch" or wish.head == "random":
        width = ground.backbone.stages[-1].channels
        return random_head(width, examples.classes, examples.task.kind, wish.recipe.seed)
    part, kind = examples.subset(train, ()), examples.task.kind
    features, encoded = part.features(TOP), part.encoded
    pairs = folds(part.targets, part.groups, 5, wish.recipe.seed)
    penalty = choose(features, encoded, list(pairs), kind=kind).penalty
    return fit(features, encoded, penalty, kind=kind)


def _harmful_transforms(ground: Ground, wish: Wish) -> tuple[frozenset[str], list[str]]:
    """The transforms under which the probe recognises clearly less, and a sentence for each."""
    preprocessing, seed = ground.backbone.preprocessing, wish.recipe.seed
    augmenter = Augmenter(wish.augment, preprocessing, seed=seed)
    examples = ground.examples
    train, _ = ground.fold
    if wish.strategy == "scratch" or not augmenter.transforms or len(train) < 20:
        return frozenset(), []
    pairs = folds(examples.targets[train], examples.groups[train], 5, seed)
    part = examples.subset(train, pairs)
    features = part.features(TOP)
    penalty = choose(features, part.encoded, list(pairs), kind=examples.task.kind).penalty
    compiled = compile_trunk(
        ground.backbone.trunk(len(ground.backbone.stages)), engine=ground.engine, say=lambda line: None
    )
    embed = partial(_embed, ground, train, compiled)
    found = check_transforms(augmenter, part, held_out_models(part, features, penalty), embed)
    harmful = [finding for finding in found if finding.left_out]
    return frozenset(finding.transform for finding in harmful), [finding.sentence for finding in harmful]


def _embed(ground: Ground, train: Ints, compiled: CompiledTrunk, view: View, rows: Ints) -> npt.NDArray[np.float32]:
    """Embeddings of some training rows under a view."""
    images = _some(ground.images, train[rows])
    with Store.default(ground.say) as store:
        found = extract(images.read, images.names, images.hashes, compiled, store, ground.progress, view=view)
        return found.table.rows(slice(None), None, np.float32)


def _some(images: TrainingImages, rows: Ints) -> TrainingImages:
    """Some of the images, in the order of ``rows``."""
    places = rows.tolist()
    return TrainingImages(
        lambda position: images.read(places[position]),
        [images.names[place] for place in places],
        [images.hashes[place] for place in places],
    )


def _tuned(trained: Trained, cut: int, choice: PrecisionChoice) -> Tuned:
    return Tuned(
        trained.weights,
        cut,
        trained.best_epoch,
        trained.coefficient,
        trained.losses,
        trained.history,
        choice,
        frozenset(),
        trained.notes,
    )
