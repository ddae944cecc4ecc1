"""The transform check: what turns one class into another is left out, what changes nothing is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from headstart.backbones.catalogue import find_backbone
from headstart.data import load
from headstart.data.digits import digits_folder
from headstart.data.splits import folds
from headstart.features.compiling import compile_trunk
from headstart.features.extract import CLEAN, View, extract
from headstart.features.store import Store
from headstart.features.table import FeatureTable
from headstart.imaging import Preprocessing, encode
from headstart.runs import SilentProgress
from headstart.tasks import TASKS
from headstart.training.examples import Examples
from headstart.training.finetuning.augmentation import Augmenter
from headstart.training.finetuning.defaults import CHECK_MOST_ROWS
from headstart.training.finetuning.presets import Preset
from headstart.training.finetuning.transform_check import check_transforms, held_out_models
from headstart.training.probe import choose

SMALL = Preprocessing(8, 1.0, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
FLIPS = Preset(crop=0.7, horizontal_flip=True, vertical_flip=True)


def _arrows(n: int) -> list[bytes]:
    """Pictures of two classes: bright at the left, or at the right. Above and below mean nothing."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 120, (n, 8, 8, 3)).astype(np.uint8)
    for number, image in enumerate(images):
        image[:, :4] += np.uint8(30 * (number % 2))
        image[:, 4:] += np.uint8(30 * (1 - number % 2))
    return [encode(image) for image in images]


def _examples(rows: npt.NDArray[np.float32], task: str = "classification") -> Examples:
    n = len(rows)
    targets = np.arange(n) % 2
    if task == "multilabel":
        targets = np.stack([targets == 0, targets == 1], axis=1)
    places, columns = np.arange(n), {"features": slice(0, rows.shape[1])}
    pairs = tuple(folds(targets, None, 5, 0))
    return Examples(FeatureTable.from_array(rows), places, columns, targets, 2, places, pairs, TASKS[task])


def _embed_pixels(data: list[bytes]) -> Callable[[View, npt.NDArray[np.int64]], npt.NDArray[np.float32]]:
    def embed(view: View, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return np.stack([view.load(data[row], SMALL, "x").mean((0, 2), dtype=np.float32) for row in rows])

    return embed


@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_left_and_right_are_kept_apart_where_they_are_the_classes(task: str) -> None:
    data = _arrows(120)
    embed = _embed_pixels(data)
    augmenter = Augmenter(FLIPS, SMALL, seed=0)
    rows = embed(Augmenter("none", SMALL, seed=0).numbered(0), np.arange(120))
    examples = _examples(rows, task)
    findings = check_transforms(augmenter, examples, held_out_models(examples, rows, 0.1), embed)
    assert [(found.transform, found.left_out) for found in findings] == [
        ("horizontal_flip", True),
        ("vertical_flip", False),
    ]
    assert findings[0].sentence.startswith("No horizontal flip: under it alone the probe's accuracy falls from ")
    assert (findings[1].clean, findings[1].interval) == (findings[1].changed, None)


def test_what_is_done_to_some_views_is_judged_on_all() -> None:
    """A turned hue takes every red for another colour, though only half of the training views have one."""
    reds = np.random.default_rng(0).integers(120, 250, 120)
    data = [encode(np.full((8, 8, 3), (red, 10, 10 + red // 2 * (n % 2)), np.uint8)) for n, red in enumerate(reds)]
    seen: list[npt.NDArray[np.bool_]] = []

    def embed(view: View, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        pixels = np.stack([view.load(data[row], SMALL, "x")[0, 0] for row in rows])
        seen.append((pixels != np.stack([CLEAN.load(data[row], SMALL, "x")[0, 0] for row in rows])).any(axis=1))
        return pixels.astype(np.float32)

    rows = embed(CLEAN, np.arange(120))
    examples = _examples(rows)
    augmenter = Augmenter(Preset(hue=0.5), SMALL, seed=0)
    check_transforms(augmenter, examples, held_out_models(examples, rows, 0.1), embed)
    assert seen[-1].mean() > 0.95


def test_models_never_saw_the_rows_they_judge_and_no_more_are_fitted_than_needed() -> None:
    rows = np.random.default_rng(0).normal(size=(3 * CHECK_MOST_ROWS, 4)).astype(np.float32)
    examples = _examples(rows)
    models = held_out_models(examples, rows, 1.0)
    assert [len(part.rows) for part in models] == [240, 160]
    for part, (_, held) in zip(models, examples.folds, strict=False):
        assert np.isin(part.rows, held).all()


def test_nothing_is_embedded_where_there_is_nothing_to_check() -> None:
    def embed(view: View, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        raise AssertionError("needless work")

    rows = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    examples = _examples(rows)
    assert check_transforms(Augmenter(Preset(crop=0.5), SMALL, seed=0), examples, [], embed) == []


def _left_out(folder: Path, augmenter_of: Callable[[Preprocessing], Augmenter], take: int) -> set[str]:
    """What the check leaves out with the bundled backbone, on every ``take``-th image."""
    backbone = find_backbone("bundled/tf_efficientnet_lite0")
    compiled = compile_trunk(backbone.trunk(len(backbone.stages)), say=pytest.fail)
    dataset = load(folder)
    dataset = dataset.select(np.arange(0, len(dataset), take))
    with Store.default(pytest.fail) as store:

        def embed(view: View, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
            names, hashes = [dataset.files[row] for row in rows], [dataset.hashes[row] for row in rows]
            read = lambda at: dataset.read(int(rows[at]))  # noqa: E731
            found = extract(read, names, hashes, compiled, store, SilentProgress(), view=view)
            return found.table.array(compiled.trunk.columns["features"])

        every = np.arange(len(dataset))
        rows = embed(Augmenter("none", backbone.preprocessing, seed=0).numbered(0), every)
        pairs = tuple(folds(dataset.targets, dataset.groups, 5, 0))
        examples = Examples(
            FeatureTable.from_array(rows), every, {"features": slice(0, rows.shape[1])}, dataset.targets,
            len(dataset.classes), dataset.groups, pairs, TASKS[dataset.task],
        )  # fmt: skip
        penalty = choose(rows, examples.encoded, pairs, kind=examples.task.kind).penalty
        models = held_out_models(examples, rows, penalty)
        found = check_transforms(augmenter_of(backbone.preprocessing), examples, models, embed)
    return {finding.transform for finding in found if finding.left_out}


@pytest.mark.real
@pytest.mark.usefixtures("warm")
def test_digits_are_not_mirrored() -> None:
    assert "horizontal_flip" in _left_out(digits_folder(), lambda p: Augmenter("light", p, seed=0), take=6)


@pytest.mark.real
@pytest.mark.usefixtures("warm")
def test_insects_may_be_mirrored(shared: Path) -> None:
    assert not _left_out(shared / "data" / "hymenoptera", lambda p: Augmenter("light", p, seed=0), take=2)
