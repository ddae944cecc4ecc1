"""Fine-tuning as a user runs it: interrupted, killed and gone on with; the model predicts without torch."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import headstart as api
from headstart.errors import OptionError
from headstart.planning.options import Options

pytestmark = pytest.mark.real

ASKED = {
    "--strategy": "partial",
    "--cut": 5,
    "--epochs": 4,
    "--image-size": 64,
    "--batch-size": 16,
    "--augment": "none",
}


def _stripes(direction: int, number: int) -> Image.Image:
    """Noisy stripes of one of three directions: what a frozen network sees less well than a tuned one."""
    draw = np.random.default_rng(100 * direction + number)
    y, x = np.mgrid[:64, :64]
    angle = np.pi * direction / 3 + draw.normal(0, 0.12)
    wave = np.sin(draw.uniform(0.5, 0.9) * (x * np.cos(angle) + y * np.sin(angle)) + draw.uniform(0, 2 * np.pi))
    pixels = 110 + 45 * wave[..., None] * draw.uniform(0.3, 1, 3) + draw.normal(0, 45, (64, 64, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 images of three classes, a folder a class."""
    folder = tmp_path_factory.mktemp("data") / "stripes"
    for direction in range(3):
        (folder / "abc"[direction]).mkdir(parents=True)
        for number in range(40):
            _stripes(direction, number).save(folder / "abc"[direction] / f"{number}.png")
    return folder


@dataclasses.dataclass(frozen=True)
class Process:
    """How a command ended, and what it wrote to standard error."""

    code: int
    err: str


class Fit:
    """``headstart fit`` on one data set, each time as a process of its own that shares the cache of the others."""

    def __init__(self, work: Path, data: Path) -> None:
        self.work = work
        self._data = data
        plain = {key: value for key, value in os.environ.items() if not key.startswith(("HEADSTART_", "HF_"))}
        self._env = {**plain, "HEADSTART_CACHE": str(work / "cache"), "OMP_NUM_THREADS": "1"}

    def __call__(self, *arguments: object, until: str = "", send: int = 0) -> Process:
        """Run to the end, or send a signal as soon as a line with the text ``until`` appears."""
        options = [str(part) for pair in ASKED.items() for part in pair]
        command = [sys.executable, "-m", "headstart.cli", "fit", str(self._data), *options, *map(str, arguments)]
        pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, cwd=self.work, env=self._env, **pipes) as process:
            lines = []
            for line in process.stderr or ():
                lines.append(line)
                if until and until in line:
                    process.send_signal(send)
        return Process(process.returncode, "".join(lines))

    def begun(self, source: str, target: str) -> None:
        """A run that has measured its precision and was then interrupted, as ``source`` was."""
        (self.work / target).mkdir()
        for name in ("run.json", "precision-5.json"):
            shutil.copy(self.work / source / name, self.work / target / name)

    def metrics(self, run: str) -> dict[str, Any]:
        """Of which equal runs must give equal values."""
        found = json.loads((self.work / run / "metrics.json").read_text())
        return {key: value for key, value in found.items() if key != "seconds"}

    def history(self, run: str) -> list[dict[str, str]]:
        """The lines of ``history.csv`` without what depends on the clock."""
        rows = list(csv.DictReader((self.work / run / "history.csv").open()))
        times = ("seconds", "images_per_second", "seconds_left")
        return [{key: row[key] for key in row if key not in times} for row in rows]


@pytest.fixture(scope="module")
def fit(tmp_path_factory: pytest.TempPathFactory, stripes: Path) -> Fit:
    return Fit(tmp_path_factory.mktemp("work"), stripes)


@pytest.fixture(scope="module")
def terminated(fit: Fit) -> Process:
    """A run that SIGTERM has ended in its second epoch; its folder as it was then is kept as ``left``."""
    ended = fit("--out", "run", until="epoch 1:", send=signal.SIGTERM)
    shutil.copytree(fit.work / "run", fit.work / "left")
    return ended


@pytest.fixture(scope="module")
def reference(fit: Fit, terminated: Process) -> Path:
    """The same run, undisturbed, in the same precision."""
    fit.begun("left", "reference")
    done = fit("--out", "reference")
    assert done.code == 0, done.err
    return fit.work / "reference"


def test_sigterm_saves_a_checkpoint_and_says_how_to_go_on(fit: Fit, terminated: Process) -> None:
    assert terminated.code in (130, 143), terminated.err
    assert "Traceback" not in terminated.err
    assert "the same command goes on from there" in terminated.err.splitlines()[-1]
    assert (fit.work / "left" / "checkpoint-5.pt").is_file()
    assert not (fit.work / "left" / "model").exists()
    assert json.loads((fit.work / "left" / "run.json").read_text())["state"] != "finished"


@pytest.mark.soak
def test_sigterm_before_the_training_ends_at_once(fit: Fit, terminated: Process) -> None:
    """There is nothing to save yet but what the store has."""
    ended = fit("--out", "early", "--seed", 1, until="features:", send=signal.SIGTERM)
    assert ended.code in (130, 143), ended.err
    assert "Traceback" not in ended.err
    assert "epoch 1:" not in ended.err
    assert not list(fit.work.glob("early/checkpoint-*"))


def test_resumed_killed_and_begun_again_a_run_ends_as_an_undisturbed_one(
    fit: Fit, terminated: Process, reference: Path
) -> None:
    killed = fit("--resume", "run", until="epoch 3:", send=signal.SIGKILL)
    assert killed.code == -signal.SIGKILL
    assert "epoch 1:" not in killed.err
    assert "epoch 2:" in killed.err
    done = fit("--out", "run")
    assert done.code == 0, done.err
    assert "epoch 2:" not in done.err
    assert fit.metrics("run") == fit.metrics("reference")
    assert fit.history("run") == fit.history("reference")
    left = [path.name for path in (fit.work / "run").rglob("*") if path.name.startswith((".", "checkpoint"))]
    assert set(left) <= {".lock"}


def test_a_run_leaves_the_evidence_of_its_training(fit: Fit, reference: Path) -> None:
    metrics = fit.metrics("reference")
    assert (metrics["strategy"], metrics["cut"], metrics["stages"]) == ("partial", 5, 9)
    assert metrics["splits"]["test"]["n"] == 24
    names = {"history.csv", "augmentations.png", "precision-5.json", "ladder.json", "predictions.parquet", "model"}
    assert names <= {path.name for path in reference.iterdir()}
    assert not list(reference.glob("checkpoint-*"))
    history = fit.history("reference")
    assert [row["epoch"] for row in history] == ["0", "1", "2", "3", "4"]
    assert min(history, key=lambda row: float(row["val_loss"]))["epoch"] != "0"  # something was learnt
    rungs = json.loads((reference / "ladder.json").read_text())["rungs"]
    assert [(rung["strategy"], rung["cut"]) for rung in rungs] == [("linear_probe", 9), ("partial", 5)]


def test_the_saved_model_predicts_what_the_run_predicted_also_without_torch(
    reference: Path, stripes: Path, headstart: Callable[..., Any]
) -> None:
    rows = [row for row in pq.read_table(reference / "predictions.parquet").to_pylist() if row["split"] == "test"]
    files = [stripes / row["file"] for row in rows]
    wanted = np.array([row["probabilities"] for row in rows])
    model = api.open(reference)
    np.testing.assert_allclose(model.predict_proba(files), wanted, rtol=1e-3, atol=1e-4)
    frozen = api.open(reference)._compiled.trunk.backbone.weights_sha256
    assert frozen != model.record.weights_sha256  # the weights that predict are not those that were pretrained
    done = headstart("predict", reference, *files, "--json", HEADSTART_NO_TORCH="1")
    assert done.code == 0, done.err
    alone = [json.loads(line)["probabilities"] for line in done.out.splitlines()]
    np.testing.assert_allclose([list(row.values()) for row in alone], wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"cut": 9}, "cut 0 to 8, not 9"),
        ({"cut": -1}, "not -1"),
        ({"epochs": 0}, "0 epochs"),
        ({"rate": 1.5}, "rate of 1.5"),
        ({"rate": float("nan")}, "rate of nan"),
        ({"batch_size": 121}, "batch of 121 is more than"),
        ({"batch_size": 0}, "batch of 0"),
        ({"views": 0}, "0 views"),
        ({"augment": "heavy"}, "heavy"),
        ({"strategy": "progressive", "cut": 5}, "--cut 5 belongs to partial"),
        ({"strategy": "linear_probe", "epochs": 5}, "epochs belong to fine-tuning"),
        ({"strategy": "auto", "augment": "strong"}, "augment belong to fine-tuning"),
    ],
)
def test_options_out_of_range_are_refused_before_any_work(
    stripes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], named: str
) -> None:
    monkeypatch.setattr("headstart.workflow.compile_trunk", lambda *_, **__: pytest.fail("work was begun"))
    options = Options(**{"strategy": "partial", "image_size": 64, **values})
    with pytest.raises(OptionError, match=named) as found:
        api.fit(stripes, options, out=tmp_path / "run")
    assert "\n" not in str(found.value)
    assert not (tmp_path / "run").exists()


def test_without_its_extra_fine_tuning_is_refused_at_once(stripes: Path, headstart: Callable[..., Any]) -> None:
    done = headstart("fit", stripes, "--strategy", "partial", HEADSTART_NO_TORCH="1")
    assert done.code == 2
    assert "headstart[train]" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.soak
def test_a_storm_of_kills(fit: Fit, terminated: Process, reference: Path) -> None:
    """Killed at every line of the training, one run after the other goes on to the same end."""
    marks = ["cut 5, start", "epoch 1:", "epoch 2:", "epoch 3:", "epoch 4:"]
    for number, mark in enumerate(marks):
        fit.begun("left", f"storm-{number}")
        assert fit("--out", f"storm-{number}", until=mark, send=signal.SIGKILL).code == -signal.SIGKILL
        again = fit("--out", f"storm-{number}")
        assert again.code == 0, again.err
        assert fit.metrics(f"storm-{number}") == fit.metrics("reference")
