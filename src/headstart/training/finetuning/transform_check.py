"""Leave out the transforms that change what an image means: those under which the probe clearly errs more often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from headstart.evaluation.calibration import probabilities
from headstart.evaluation.comparison import paired_difference
from headstart.features.extract import CLEAN, View
from headstart.training.examples import Examples
from headstart.training.finetuning.augmentation import Augmenter
from headstart.training.finetuning.defaults import CHECK_LEAST_DROP, CHECK_MOST_ROWS
from headstart.training.linear import LinearModel, fit_path
from headstart.training.probe import FOLD_TOLERANCE

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.float32]
Embed = Callable[[View, Ints], Rows]

# Only what can change the meaning. Crops, lighting and erasing make a view harder, which is what they are for, and
# without colour or not is for `grey` and `hue` to show.
_CHECKED = ("horizontal_flip", "vertical_flip", "quarter_turn", "rotation", "hue", "grey")
_FLIPPED = 1  # the number of a view that has the one flip that is on


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Rows (k,) that ``model`` was not fitted on, and that can judge it."""

    rows: Ints
    model: LinearModel


@dataclass(frozen=True)
class TransformFinding:
    """How a transform alone changes the probe's accuracy.

    Attributes
    ----------
    transform:
        Its name.
    clean, changed:
        Accuracy on the clean views, and on views with nothing but this transform, of the same n rows.
    interval:
        Of the drop, clean minus changed, at 95 %; ``None`` where both err on the same rows.
    left_out:
        Whether the drop is clear: more than :data:`CHECK_LEAST_DROP`, with an interval above 0.
    sentence:
        The same in words.
    """

    transform: str
    clean: float
    changed: float
    rows: int
    interval: tuple[float, float] | None
    left_out: bool
    sentence: str


def held_out_models(examples: Examples, features: Rows, penalty: float) -> list[HeldOut]:
    """Fit the probe again on as many folds as it takes to have :data:`CHECK_MOST_ROWS` rows that no model has seen.

    Parameters
    ----------
    features:
        float32 (n, D): the clean features of all examples that the probe reads, and that ``Embed`` gives.
    penalty:
        The probe's.
    """
    found: list[HeldOut] = []
    wanted, encoded = CHECK_MOST_ROWS, examples.encoded
    for seen, held in examples.folds:
        with threadpool_limits(1, user_api="blas"):  # as in the probe's folds: many threads wait for one another
            (model,) = fit_path(
                features[seen],
                encoded[seen],
                [penalty],
                kind=examples.task.kind,
                tolerance=FOLD_TOLERANCE,
                precision="float32",
            )
        rows = np.sort(np.random.default_rng(0).permutation(held)[:wanted])
        found.append(HeldOut(rows, model))
        wanted -= len(rows)
        if not wanted:
            break
    return found


def checked(augmenter: Augmenter) -> list[str]:
    """The transforms of an augmenter that are judged."""
    return [name for name in augmenter.transforms if name in _CHECKED]


def check_transforms(
    augmenter: Augmenter, examples: Examples, models: Sequence[HeldOut], embed: Embed
) -> list[TransformFinding]:
    """Judge each flip, turn and change of colour of an augmenter by itself.

    A probe that never saw a changed view may lose on it what training would win back, so only a clear drop counts:
    where left and right decide about the class, accuracy falls by tens of points.

    Parameters
    ----------
    models:
        Those of :func:`held_out_models`.
    embed:
        Gives, for a view and row numbers (k,) of the examples, the features that the models read, float32 (k, D).

    Returns
    -------
    One finding for each transform of the augmenter that is looked at; none where no transform is.
    """
    names = checked(augmenter)
    if not names:
        return []
    rows = np.concatenate([part.rows for part in models])
    groups = examples.groups[rows]
    clean = _correct(examples, models, embed(CLEAN, rows))
    findings = []
    for name in names:
        alone = Augmenter(augmenter.preset.only(name), augmenter.preprocessing, seed=0, share=1.0)
        changed = _correct(examples, models, embed(alone.numbered(_FLIPPED), rows))
        findings.append(_judge(name, clean, changed, groups))
    return findings


def _correct(examples: Examples, models: Sequence[HeldOut], features: Rows) -> npt.NDArray[np.bool_]:
    """Which rows (k,) are right, in the order of the models' rows; of several labels, all must be.

    Thresholds of labels are left at one half: the comparison is of a model with itself.
    """
    task, ends = examples.task, np.cumsum([len(part.rows) for part in models])
    right = []
    for part, rows in zip(models, np.split(features, ends[:-1]), strict=True):
        chances = probabilities(part.model.logits(rows), kind=part.model.kind)
        right.append(task.correct(examples.targets[part.rows], chances, None))
    return np.concatenate(right)


def _judge(name: str, clean: npt.NDArray[np.bool_], changed: npt.NDArray[np.bool_], groups: Ints) -> TransformFinding:
    difference = paired_difference(~changed, ~clean, groups.tolist())
    interval = difference.ci95
    # Without an interval all rows differ alike: on none of them, or on every one.
    certain = interval[0] > 0 if interval else difference.mean > 0
    left_out = difference.mean > CHECK_LEAST_DROP and certain
    title = name.replace("_", " ")
    scores = f"{clean.mean():.1%} to {changed.mean():.1%} of {len(clean)} held-out images"
    if left_out:
        sentence = f"No {title}: under it alone the probe's accuracy falls from {scores}."
    else:
        sentence = f"With {title}: under it alone the probe's accuracy goes from {scores}, which is no clear drop."
    return TransformFinding(name, float(clean.mean()), float(changed.mean()), len(clean), interval, left_out, sentence)
