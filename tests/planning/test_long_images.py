"""Long images: squashed by the rule or by a plan, and the same in every use of the model; others are left alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import headstart
from headstart import runtime
from headstart.backbones.catalogue import DEFAULT_BACKBONE, find_backbone
from headstart.data import Dataset, load, resolve
from headstart.planning.backbone_choice import Chooser, entrants_of
from headstart.planning.entrants import Entrants
from headstart.planning.following import as_planned
from headstart.planning.long_images import squash_rule, typical_loss
from headstart.planning.options import Options
from headstart.planning.plan import Plan, read_plan
from headstart.records import to_json
from headstart.runs import SilentProgress, Stopwatch

WIDE, SQUARE = (144, 48), (64, 64)


def _write(folder: Path, sizes: dict[str, tuple[int, int]], *, each: int = 4) -> Path:
    """Noise of these sizes, which is red in class a and blue in class b at the right end only."""
    for place, (name, size) in enumerate(sizes.items()):
        for kind, channel in (("a", 0), ("b", 2)):
            path = folder / name / kind
            path.mkdir(parents=True)
            for number in range(each):
                rng = np.random.default_rng([place, channel, number])
                pixels = rng.integers(60, 180, (size[1], size[0], 3), dtype=np.uint8)
                pixels[:, -size[0] // 4 :, channel] = 255
                Image.fromarray(pixels).save(path / f"{number}.png")
    return folder


def _choose(dataset: Dataset, options: Options, said: list[str], entrants: Entrants | None = None) -> tuple[str, ...]:
    """How the chosen backbone takes images, and the keys of what was decided."""
    chooser = Chooser(
        options,
        lambda data, asked: resolve(data, test=asked.test, seed=asked.seed),
        None,
        None,
        Stopwatch(),
        SilentProgress(),
        said.append,
    )
    found = chooser.choose(dataset, entrants or entrants_of(options, None, said.append))
    return (found.backbone.preprocessing.aspect, *(decision.key for decision in found.decisions))


def test_the_typical_image_counts_and_those_that_test_do_not(tmp_path: Path) -> None:
    folder = _write(tmp_path / "data", {"train": WIDE, "test": SQUARE})
    (folder / "train" / "a" / "broken.png").write_bytes(b"\x89PNG no more")
    assert typical_loss(load(folder), seed=0) == pytest.approx(2 / 3)
    tall = _write(tmp_path / "tall", {"train": WIDE[::-1]}, each=2)
    _write(tall, {"more": SQUARE}, each=1)
    assert typical_loss(load((sorted(tall.rglob("*.png")), list("aaabbb"))), seed=0) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("ratio", "squashes"), [(1.0, False), (3 / 2, False), (16 / 9, False), (2.0, True), (3.0, True)]
)
def test_formats_of_photographs_are_cropped_and_longer_ones_squashed(ratio: float, squashes: bool) -> None:
    decision = squash_rule(1 - 1 / ratio)
    assert (decision is not None) == squashes
    if decision is not None:
        assert (decision.key, decision.value) == ("crop", "squash")
        assert f"{1 - 1 / ratio:.0%}" in decision.reason


def test_every_entrant_squashes_long_images_which_is_said_once(tmp_path: Path) -> None:
    dataset, said = load(_write(tmp_path / "wide", {"train": WIDE})), []
    assert _choose(dataset, Options(backbone=DEFAULT_BACKBONE), said) == ("squash", "crop")
    assert [line for line in said if "67%" in line] == said
    assert find_backbone(DEFAULT_BACKBONE).preprocessing.aspect == "crop"


def test_other_images_change_nothing(tmp_path: Path) -> None:
    dataset, said = load(_write(tmp_path / "square", {"train": SQUARE})), []
    entrants = entrants_of(Options(backbone=DEFAULT_BACKBONE), None, said.append)
    assert _choose(dataset, Options(backbone=DEFAULT_BACKBONE), said, entrants) == ("crop",)
    assert said == []


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 30 images of 3:1 that differ at one end alone."""
    return _write(tmp_path_factory.mktemp("data") / "wide", {"all": WIDE}, each=30) / "all"


@pytest.fixture(scope="module")
def planned(wide: Path, warm_cache: Path) -> Plan:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(warm_cache))
        return headstart.plan(wide, Options(budget="1s"))


@pytest.mark.real
@pytest.mark.usefixtures("warm")
def test_a_plan_says_so_and_an_edited_one_wins(wide: Path, planned: Plan, tmp_path: Path) -> None:
    assert planned.crop == "squash"
    (decision,) = (decision for decision in planned.decisions if decision.key == "crop")
    assert "67%" in decision.reason
    path = tmp_path / "plan.json"
    for crop in ("crop", "squash"):
        path.write_text(to_json(planned).replace('"crop": "squash"', f'"crop": "{crop}"'))
        entrants = as_planned(entrants_of(Options(), None, print), read_plan(path), print)
        assert _choose(load(wide), Options(), [], entrants) == (crop,)
        run = headstart.fit(wide, Options(plan=str(path), budget="1s"), out=tmp_path / crop)
        assert json.loads(run.path("model/model.json").read_text())["preprocessing"]["aspect"] == crop


@pytest.fixture(scope="module")
def run(wide: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A probe of the long images, by a strategy that makes no plan."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(warm_cache))
        options = Options(strategy="linear_probe")
        return headstart.fit(wide, options, out=tmp_path_factory.mktemp("run") / "wide").folder


@pytest.mark.real
@pytest.mark.usefixtures("warm")
def test_a_model_sees_all_of_long_images(wide: Path, run: Path) -> None:
    rows = pq.read_table(run / "predictions.parquet").to_pandas()
    assert (rows.predicted == rows.truth).mean() > 0.9  # by what a centre crop leaves out
    images = sorted(wide.rglob("*.png"))[::6]
    model = headstart.open(run)
    assert model.record.preprocessing.aspect == "squash"
    assert model.predict_proba(images).argmax(1).tolist() == [int(path.parent.name == "b") for path in images]


@pytest.mark.real
@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_an_exported_model_answers_alike(
    wide: Path, run: Path, format: Literal["onnx", "openvino"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from headstart.export import parity
    from headstart.export.exporting import export

    monkeypatch.setattr(parity, "BATCHES", ())  # nothing is timed
    folder, _ = export(Path(shutil.copytree(run, tmp_path / "run")), format, say=print)
    images = sorted(wide.rglob("*.png"))[::6]
    exported = runtime.load(folder)
    assert exported.record.preprocessing.aspect == "squash"
    np.testing.assert_allclose(exported.predict_proba(images), headstart.open(run).predict_proba(images), atol=0.05)
