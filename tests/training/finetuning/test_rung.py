"""One rung from images to tuned weights: what stays frozen, what is resumed or refused, how the cut moves down."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import timm
import torch

from headstart import records
from headstart.backbones.backbone import Backbone
from headstart.backbones.bundled import BundledBackbone
from headstart.backbones.pytorch.backbone import TorchBackbone
from headstart.backbones.pytorch.network import LoadedNetwork
from headstart.errors import OptionError, RunError
from headstart.evaluation.metrics import score
from headstart.features.compiling import compile_trunk
from headstart.features.extract import CLEAN, extract
from headstart.features.store import Store
from headstart.files import sha256
from headstart.imaging import encode
from headstart.imaging.preprocessing import Preprocessing
from headstart.runs import SilentProgress
from headstart.tasks import TASKS
from headstart.training.examples import Examples
from headstart.training.finetuning import rung, session, trial
from headstart.training.finetuning.learner import Weights
from headstart.training.finetuning.loop import Interrupted, Training
from headstart.training.finetuning.outcome import Trained
from headstart.training.finetuning.range_test import RangeTest
from headstart.training.finetuning.recipe import Recipe
from headstart.training.finetuning.rung import contact_sheet_of, fine_tune, held_back
from headstart.training.finetuning.session import Session
from headstart.training.finetuning.setting import PrecisionChoice
from headstart.training.finetuning.start import harmful_transforms, images_judged
from headstart.training.finetuning.views import TrainingImages
from headstart.training.finetuning.wish import Ground, Tuned, Wish, check_wish
from headstart.training.linear import LinearModel

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS = 36
FLOAT = PrecisionChoice("32-true", False)
RECIPE = Recipe(epochs=2, batch_size=8, rate=1e-3, ema=0.5)
PREPROCESSING = Preprocessing(64, 0.9, "bicubic", (0.5,) * 3, (0.5,) * 3)


def _picture(number: int) -> bytes:
    """Coarse noise; the second class is lighter on the right, not always clearly."""
    generator = np.random.default_rng(number)
    tiles = generator.integers(0, 200, (8, 8, 3)).astype(float)
    tiles[:, 4:] += 40 * (number % 2) + generator.normal(0, 20)
    return encode(np.kron(tiles.clip(0, 255).astype(np.uint8), np.ones((9, 9, 1), np.uint8)))


PICTURES = [_picture(number) for number in range(ROWS)]


def _network() -> Backbone:
    torch.manual_seed(0)
    return TorchBackbone(LoadedNetwork("timm/test_resnet", timm.create_model("test_resnet"), (), PREPROCESSING, "MIT"))


def _accuracy(
    targets: npt.NDArray[np.generic], found: npt.NDArray[np.float64], thresholds: npt.NDArray[np.float64] | None
) -> float:
    return score("accuracy", "classification", targets, found, thresholds)


@pytest.fixture
def make_ground(tmp_path: Path) -> Callable[..., Ground]:
    """Thirty-six pictures of two classes, twelve of them held out, with the features of a network."""

    def make(backbone: Backbone | None = None, *, flipped: int | None = None, **values: Any) -> Ground:
        backbone = backbone or _network()
        images = TrainingImages(PICTURES.__getitem__, [f"{i}.png" for i in range(ROWS)], list(map(sha256, PICTURES)))
        compiled = compile_trunk(backbone.trunk(len(backbone.stages)), engine="torch", say=pytest.fail)
        with Store.default(pytest.fail) as store:
            table = extract(images.read, images.names, images.hashes, compiled, store, SilentProgress()).table
        targets = np.arange(ROWS) % 2
        if flipped is not None:
            targets[flipped] = 1 - targets[flipped]
        held = np.arange(ROWS) % 3 == 0
        folds = ((np.flatnonzero(~held), np.flatnonzero(held)),)
        columns = compiled.trunk.columns
        examples = Examples(
            table, np.arange(ROWS), columns, targets, 2, np.arange(ROWS), folds, TASKS["classification"]
        )
        given = {"engine": "torch", "progress": SilentProgress(), "say": pytest.fail, "folder": tmp_path, **values}
        return Ground(backbone, images, examples, "accuracy", _accuracy, **given)

    return make


def _wish(strategy: Any, cut: int | None = None, **values: Any) -> Wish:
    return Wish(strategy, cut, **{"augment": "light", "recipe": RECIPE, "precision": FLOAT, **values})


def _same(found: Tuned, wanted: Tuned) -> None:
    assert (found.cut, found.best_epoch, found.notes) == (wanted.cut, wanted.best_epoch, wanted.notes)
    assert set(found.weights.tensors) == set(wanted.weights.tensors)
    for name, values in wanted.weights.tensors.items():
        np.testing.assert_array_equal(found.weights.tensors[name], values, err_msg=name)
    np.testing.assert_array_equal(found.weights.head.weights, wanted.weights.head.weights)
    assert [row.val_loss for row in found.history] == [row.val_loss for row in wanted.history]


# ---- what is asked for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        (_wish("partial", 9), "cut 0 to 8, not 9"),
        (_wish("partial", -1), "not -1"),
        (_wish("full", 3), "--cut 3 belongs to partial"),
        (_wish("scratch", 1), "--cut 1 belongs to partial"),
        (_wish("progressive", 4), "--cut 4 belongs to partial"),
        (_wish("partial", recipe=Recipe(batch_size=41)), "batch of 41 is more than the 40 training images"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(wish: Wish, named: str) -> None:
    with pytest.raises(OptionError, match=named) as found:
        check_wish(wish, stages=9, rows=40)
    assert "\n" not in str(found.value)


def test_where_nobody_says_a_third_of_the_stages_train() -> None:
    cuts = [check_wish(_wish("partial"), stages=stages, rows=40) for stages in (1, 2, 3, 5, 9, 14)]
    assert cuts == [0, 1, 2, 3, 6, 9]
    assert [check_wish(_wish(name), stages=9, rows=40) for name in ("full", "scratch")] == [0, 0]
    assert check_wish(_wish("partial", 0), stages=9, rows=40) == 0


# ---- one training -------------------------------------------------------------------------------------------------


def test_below_the_cut_and_in_all_statistics_the_backbone_is_the_source(make_ground: Callable[..., Ground]) -> None:
    """Bit for bit, in the network whose weights predict."""
    source = BundledBackbone("tf_efficientnet_lite0", size=64)
    tuned = fine_tune(make_ground(source), _wish("partial", 7, head="random"))  # which any epoch improves on
    assert tuned.cut == 7
    changed = source.tuned(tuned.weights.tensors)
    assert list(changed.tensors) == list(source.tensors)
    moved = {name for name, values in changed.tensors.items() if not np.array_equal(values, source.tensors[name])}
    upper = {name for name in source.tensors if name.startswith(("_conv_head", "_bn1", "_blocks.15"))}
    assert moved <= {name for name in upper if "running_" not in name}
    assert tuned.best_epoch
    assert {"_conv_head.weight", "_bn1.weight", "_blocks.15._bn0.bias"} <= moved


@pytest.mark.parametrize("strategy", ["partial", "full", "scratch"])
def test_the_tuned_network_and_head_give_the_losses_that_chose_them(
    make_ground: Callable[..., Ground], strategy: str
) -> None:
    """Through the engine that will predict, on the rows held out."""
    from headstart.evaluation.calibration import fit_temperature, probabilities
    from headstart.evaluation.scores import row_log_loss

    ground = make_ground(folder=None)
    wish = _wish(strategy, 2 if strategy == "partial" else None)
    tuned = fine_tune(ground, wish)
    backbone, images = ground.backbone.tuned(tuned.weights.tensors), ground.images
    compiled = compile_trunk(backbone.trunk(len(backbone.stages)), engine="torch", say=pytest.fail)
    with Store.default(pytest.fail) as store:
        table = extract(images.read, images.names, images.hashes, compiled, store, SilentProgress()).table
    held = ground.fold[1]
    logits = tuned.weights.head.logits(table.rows(held, None, np.float32))
    truth = ground.examples.targets[held]
    found = row_log_loss(truth, probabilities(logits, fit_temperature(logits, truth, "softmax"), "softmax"))
    np.testing.assert_allclose(found, tuned.losses, rtol=0.02, atol=0.02)
    assert (tuned.cut, tuned.history[0].epoch) == (2 if strategy == "partial" else 0, 0)
    assert contact_sheet_of(ground, wish, tuned).startswith(b"\x89PNG")


def test_unequal_classes_are_balanced_for_a_metric_that_counts_them_alike(make_ground: Callable[..., Ground]) -> None:
    """And every epoch is scored by the decisions that the model will take."""
    said: list[str] = []
    used: list[npt.NDArray[np.float64] | None] = []

    def metric(
        targets: npt.NDArray[np.generic], found: npt.NDArray[np.float64], thresholds: npt.NDArray[np.float64] | None
    ) -> float:
        used.append(thresholds)
        return score("balanced_accuracy", "classification", targets, found, thresholds)

    ground = make_ground(say=said.append, folder=None)
    targets = (np.arange(ROWS) % 4 == 1).astype(int)
    ground = dataclasses.replace(
        ground,
        metric="balanced_accuracy",
        score=metric,
        examples=dataclasses.replace(ground.examples, targets=targets),
    )
    tuned = fine_tune(ground, _wish("partial", 3))
    shares = np.bincount(targets[ground.fold[0]]) / len(ground.fold[0])
    assert tuned.thresholds is not None
    np.testing.assert_allclose(tuned.thresholds, shares * 2)
    assert len(used) >= len(tuned.history) > 1
    for limits in used:
        np.testing.assert_array_equal(limits, tuned.thresholds)
    assert [line for line in said if "balanced" in line] == [
        "classes are balanced by logit adjustment: balanced_accuracy counts every class alike, and the rarest class "
        "has 3.0 times fewer rows than the most frequent"
    ]


# ---- interrupted --------------------------------------------------------------------------------------------------


def test_an_interrupted_training_goes_on_in_the_precision_it_began_in(
    make_ground: Callable[..., Ground], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = _wish("partial", 3, precision=None)
    wanted = fine_tune(make_ground(folder=tmp_path / "undisturbed"), dataclasses.replace(wish, precision=FLOAT))

    calls: list[str] = []

    def measure(*_: Any, **__: Any) -> PrecisionChoice:
        calls.append("measured")
        return PrecisionChoice("32-true", False, False, {"float32": 12.5}, "float32; images/s: 12.5")

    monkeypatch.setattr(trial, "choose_precision", measure)
    polls = iter(range(100))
    with pytest.raises(Interrupted):
        fine_tune(make_ground(stop=lambda: next(polls) == 5), wish)
    assert {path.name for path in tmp_path.iterdir()} >= {"checkpoint-3.pt", "precision-3.json"}
    found = fine_tune(make_ground(), wish)
    assert calls == ["measured"]
    assert found.precision == PrecisionChoice("32-true", False, False, {"float32": 12.5}, "float32; images/s: 12.5")
    _same(found, wanted)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"flipped": 1}, "its training rows is"),
        ({"flipped": 3}, "its validation rows is"),
        ({"backbone": "other"}, "its weights is"),
        ({"wish": {"recipe": dataclasses.replace(RECIPE, rate=2e-3)}}, r"its rate is '0.001', here it is '0.002'"),
        ({"wish": {"augment": "strong"}}, "its augmentation is"),
        ({"wish": {"precision": PrecisionChoice("bf16-mixed", False)}}, "its precision is"),
    ],
)
def test_the_checkpoint_of_another_training_is_refused(
    make_ground: Callable[..., Ground], change: dict[str, Any], named: str
) -> None:
    polls = iter(range(100))
    with pytest.raises(Interrupted):
        fine_tune(make_ground(stop=lambda: next(polls) == 2), _wish("partial", 3))
    values = dict(change)
    wish = _wish("partial", 3, **values.pop("wish", {}))
    if values.pop("backbone", None):
        source = _network()
        values["backbone"] = source.tuned({"bn1.weight": source.trainable(0).tensors()["bn1.weight"] + 1})
    with pytest.raises(RunError, match="belongs to another training") as found:
        fine_tune(make_ground(**values), wish)
    assert found.match(named)


# ---- progressive --------------------------------------------------------------------------------------------------


def test_the_cut_moves_down_and_each_training_starts_where_the_best_stood(
    make_ground: Callable[..., Ground], monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[tuple[int, Weights]] = []
    ends: list[Trained] = []

    class Watched(Training):
        def __init__(self, learner: Any, *arguments: Any, cut: int, **options: Any) -> None:
            starts.append((cut, Weights.of(learner)))
            super().__init__(learner, *arguments, cut=cut, **options)

        def run(self) -> Trained:
            ends.append(super().run())
            return ends[-1]

    monkeypatch.setattr(session, "Training", Watched)
    ground = make_ground(folder=None)
    tuned = fine_tune(ground, _wish("progressive", recipe=dataclasses.replace(RECIPE, rate=5e-3)))
    stages = len(ground.backbone.stages)
    assert [cut for cut, _ in starts] == list(range(stages - 1, stages - 1 - len(starts), -1))
    best, source = ends[0], ground.backbone.trainable(0).tensors()
    for (cut, start), end in zip(starts[1:], ends[1:], strict=True):
        known = {**source, **best.weights.tensors}
        for name, values in start.tensors.items():
            np.testing.assert_array_equal(values, known[name], err_msg=f"cut {cut}: {name}")
        np.testing.assert_array_equal(start.head.weights, best.weights.head.weights)
        assert end.history[0].val_loss == pytest.approx(best.losses.mean(), rel=1e-3)
        best = end if end.losses.mean() < best.losses.mean() else best
    assert best is not ends[0]  # something was learnt on the way
    np.testing.assert_array_equal(tuned.losses, best.losses)
    assert tuned.cut == starts[[end is best for end in ends].index(True)][0]
    assert len(tuned.history) == sum(len(end.history) for end in ends)


def test_unfreezing_goes_on_at_the_cut_where_it_was_interrupted(
    make_ground: Callable[..., Ground], tmp_path: Path
) -> None:
    """A cut has two epochs of three steps, and is asked eight times: the thirteenth lies in the second cut."""
    wish = _wish("progressive", recipe=dataclasses.replace(RECIPE, rate=5e-3))
    wanted = fine_tune(make_ground(folder=None), wish)
    polls = iter(range(1000))
    with pytest.raises(Interrupted):
        fine_tune(make_ground(stop=lambda: next(polls) == 12), wish)
    assert len(list(tmp_path.glob("checkpoint-*.pt"))) == 2
    again = iter(range(1000))
    _same(fine_tune(make_ground(stop=lambda: next(again) == 10**6), wish), wanted)
    asked, undisturbed = next(again), sum(2 * 4 for _ in {row.cut for row in wanted.history})
    assert asked < undisturbed - 8  # the first cut was not trained again


@pytest.mark.parametrize(
    ("means", "trained", "best"),
    [
        ([1.0, 0.8, 0.6, 0.4, 0.3, 0.2], [5, 4, 3, 2, 1, 0], 0),  # every cut helps
        ([1.0, 1.1, 1.2, 1.3], [5, 4, 3, 2], 5),  # none does
        ([1.0, 0.5, 0.7, 0.6, 0.65], [5, 4, 3, 2, 1], 4),
        ([1.0, 1.1, 1.05, 0.5, 0.7, 0.3], [5, 4, 3, 2, 1, 0], 0),  # two fruitless cuts are borne
        ([1.0, 0.999, 0.998, 0.997], [5, 4, 3, 2], 2),  # within noise: the least is kept, and it ends
        ([1.0, 0.985, 0.97, 0.955, 0.94, 0.925], [5, 4, 3, 2, 1, 0], 0),  # small gains that add up to more than noise
    ],
)
def test_unfreezing_ends_after_three_fruitless_cuts_and_gives_the_best_back(
    make_ground: Callable[..., Ground],
    monkeypatch: pytest.MonkeyPatch,
    means: list[float],
    trained: list[int],
    best: int,
) -> None:
    calls: list[int] = []
    noise = np.random.default_rng(0).normal(0, 0.05, (10, 12))

    def train(self: Any, cut: int, head: LinearModel, tensors: dict[str, Any]) -> Tuned:
        calls.append(cut)
        rows = noise[len(calls)] - noise[len(calls)].mean() + means[len(calls) - 1]
        weights = Weights({"weight": np.full(1, cut, np.float32)}, head)
        return Tuned(weights, cut, 1, 1.0, rows, (), FLOAT, frozenset(), (f"of cut {cut}",))

    monkeypatch.setattr(Session, "train", train)
    ground = make_ground(folder=None)
    monkeypatch.setattr(ground.backbone, "stages", ground.backbone.stages[:1] * 6)
    trainings = Session(ground, _wish("progressive"), None, lambda row: None)  # type: ignore[arg-type]
    found = trainings.progress_down(LinearModel(np.zeros((2, 2)), np.zeros(2), "softmax"))
    assert calls == trained
    assert found.cut == best
    assert found.weights.tensors["weight"] == best
    ended = [note for note in found.notes if note.startswith("unfreezing ended")]
    assert bool(ended) == (trained[-1] > 0)
    assert "of cut 5" in found.notes


# ---- a rate that is looked for ------------------------------------------------------------------------------------


def test_a_rate_is_found_once_and_leaves_the_training_as_it_was(
    make_ground: Callable[..., Ground], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the rate that was found given as the rate, the training is the same bit for bit."""
    said: list[str] = []
    found = fine_tune(make_ground(say=said.append), _wish("partial", 3, head="random", find_rate=True))
    kept = records.from_json(RangeTest, (tmp_path / "rate-3.json").read_bytes(), where="rate-3.json")
    assert said == [f"cut 3: {kept.reason}"]
    rate = kept.suggestion or RECIPE.rate
    recipe = dataclasses.replace(RECIPE, rate=rate)
    wanted = fine_tune(make_ground(folder=None), _wish("partial", 3, head="random", recipe=recipe))
    _same(found, wanted)
    (tmp_path / "checkpoint-3.pt").unlink()
    monkeypatch.setattr(trial, "range_test", lambda *_: pytest.fail("measured again"))
    _same(fine_tune(make_ground(say=said.append), _wish("partial", 3, head="random", find_rate=True)), wanted)


# ---- what is done where the images are learnt by heart --------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (_wish("partial", 3, augment="light"), ("partial", 4, "medium")),
        (_wish("partial", 8, augment="medium"), ("partial", 8, "strong")),
        (_wish("full", augment="none"), ("partial", 1, "light")),
        (_wish("progressive", augment="medium"), ("progressive", None, "strong")),
        (_wish("partial", 8, augment="strong"), None),
        (_wish("scratch", augment="overhead"), None),
    ],
)
def test_a_training_is_held_back_one_step(wish: Wish, expected: tuple[str, int | None, str] | None) -> None:
    found = held_back(dataclasses.replace(wish, auto=True), wish.cut or 0, 9)
    assert (found and (found.strategy, found.cut, found.augment)) == expected
    assert found is None or not found.auto


@pytest.mark.parametrize("helps", [True, False])
def test_the_better_of_both_trainings_is_kept(
    make_ground: Callable[..., Ground], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, helps: bool
) -> None:
    """The trainings are real; the first one's verdict and the second one's losses are set."""
    real, calls = rung._try, []

    def watched(ground: Ground, wish: Wish, *rest: Any) -> Tuned:
        found = real(ground, wish, *rest)
        calls.append((wish.cut, wish.augment, ground.folder))
        if len(calls) == 1:
            return dataclasses.replace(found, overfitted=True, losses=np.ones(12))
        return dataclasses.replace(found, losses=np.full(12, 0.5 if helps else 2.0))

    monkeypatch.setattr(rung, "_try", watched)
    said: list[str] = []
    found = fine_tune(make_ground(say=said.append), _wish("partial", 2, auto=True))
    assert calls == [(2, "light", tmp_path), (3, "medium", tmp_path / "held-back")]
    assert (found.cut, found.augment) == ((3, "medium") if helps else (2, "light"))
    assert len(found.history) == 6
    assert found.notes[-1].endswith("the second is kept" if helps else "so the first is kept")
    assert any(line.startswith("the images were learnt by heart") for line in said)


def test_nothing_is_trained_again_unasked(make_ground: Callable[..., Ground], monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = rung._try, []

    def watched(*given: Any) -> Tuned:
        calls.append(1)
        return dataclasses.replace(real(*given), overfitted=True)

    monkeypatch.setattr(rung, "_try", watched)
    fine_tune(make_ground(), _wish("partial", 2))
    assert calls == [1]


def test_as_many_views_are_judged_as_is_foretold(
    make_ground: Callable[..., Ground], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the changed views; the clean ones are in the store since the probe."""
    ground, seen = make_ground(), []

    def counted(*wanted: Any, view: Any = CLEAN) -> Any:
        seen.append(0 if view is CLEAN else len(wanted[1]))
        return extract(*wanted, view=view)

    monkeypatch.setattr("headstart.training.finetuning.start.extract", counted)
    harmful_transforms(ground, _wish("partial", 3, augment="medium"))
    foretold = images_judged("medium", ground.backbone.preprocessing, len(ground.fold[0]))
    assert sum(seen) == foretold > 0
    assert images_judged("medium", ground.backbone.preprocessing, 3) == 0
    assert images_judged("none", ground.backbone.preprocessing, 300) == 0
