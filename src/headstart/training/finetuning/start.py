"""What a training starts from: the head, and the transforms that do no harm."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from headstart.data.splits import folds
from headstart.features.compiling import compile_trunk
from headstart.features.engine import CompiledTrunk
from headstart.features.extract import View, extract, probe_trunk
from headstart.features.store import Store
from headstart.imaging.preprocessing import Preprocessing
from headstart.training.examples import Ints
from headstart.training.finetuning.augmentation import Augmenter
from headstart.training.finetuning.defaults import CHECK_FEWEST_ROWS, CHECK_MOST_ROWS, START_FOLDS
from headstart.training.finetuning.learner import random_head
from headstart.training.finetuning.transform_check import check_transforms, checked, held_out_models
from headstart.training.finetuning.views import TrainingImages
from headstart.training.linear import LinearModel
from headstart.training.probe import choose, fit

if TYPE_CHECKING:
    from headstart.training.finetuning.wish import Ground, Wish

TOP = ("features",)


def starting_head(ground: Ground, wish: Wish) -> LinearModel:
    """What the head starts as: the probe of the training rows, its penalty chosen among them alone."""
    examples, (train, _) = ground.examples, ground.fold
    if wish.strategy == "scratch" or wish.head == "random":
        width = ground.backbone.stages[-1].channels
        return random_head(width, examples.classes, examples.task.kind, wish.recipe.seed)
    part, kind = examples.subset(train, ()), examples.task.kind
    features, encoded = part.features(TOP), part.encoded
    pairs = folds(part.targets, part.groups, START_FOLDS, wish.recipe.seed)
    penalty = choose(features, encoded, list(pairs), kind=kind).penalty
    return fit(features, encoded, penalty, kind=kind)


def harmful_transforms(ground: Ground, wish: Wish) -> tuple[frozenset[str], list[str]]:
    """The transforms under which the probe recognises clearly less, and a sentence for each."""
    preprocessing, seed = ground.backbone.preprocessing, wish.recipe.seed
    augmenter = Augmenter(wish.augment, preprocessing, seed=seed)
    examples = ground.examples
    train, _ = ground.fold
    if wish.strategy == "scratch" or not augmenter.transforms or len(train) < CHECK_FEWEST_ROWS:
        return frozenset(), []
    pairs = folds(examples.targets[train], examples.groups[train], START_FOLDS, seed)
    part = examples.subset(train, pairs)
    features = part.features(TOP)
    penalty = choose(features, part.encoded, list(pairs), kind=examples.task.kind).penalty
    # The probe's own trunk: its compiled graph is there, and so are the clean views.
    compiled = compile_trunk(probe_trunk(ground.backbone), engine=ground.engine, say=lambda line: None)
    embed = partial(_embed, ground, train, compiled)
    found = check_transforms(augmenter, part, held_out_models(part, features, penalty), embed)
    harmful = [finding for finding in found if finding.left_out]
    return frozenset(finding.transform for finding in harmful), [finding.sentence for finding in harmful]


def images_judged(augment: str, preprocessing: Preprocessing, rows: int) -> int:
    """How many views of so many training rows :func:`harmful_transforms` embeds."""
    transforms = checked(Augmenter(augment, preprocessing, seed=0))
    return len(transforms) * min(rows, CHECK_MOST_ROWS) if rows >= CHECK_FEWEST_ROWS else 0


def some(images: TrainingImages, rows: Ints) -> TrainingImages:
    """Some of the images, in the order of ``rows``."""
    places = rows.tolist()
    return TrainingImages(
        lambda position: images.read(places[position]),
        [images.names[place] for place in places],
        [images.hashes[place] for place in places],
    )


def _embed(ground: Ground, train: Ints, compiled: CompiledTrunk, view: View, rows: Ints) -> npt.NDArray[np.float32]:
    """Embeddings of some training rows under a view."""
    images = some(ground.images, train[rows])
    with Store.default(ground.say) as store:
        found = extract(images.read, images.names, images.hashes, compiled, store, ground.progress, view=view)
        return found.whole().rows(slice(None), compiled.trunk.columns["features"], np.float32)
