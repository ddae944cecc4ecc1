"""Several processes: they train what one trains, tell what one tells, fail as one fails, and end with who asked."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import timm
import torch

from headstart.backbones.pytorch.backbone import TorchBackbone
from headstart.backbones.pytorch.network import LoadedNetwork
from headstart.data import load
from headstart.errors import EngineError, ImageError, MissingExtraError, OptionError, RunError
from headstart.evaluation.metrics import score
from headstart.features.compiling import compile_trunk
from headstart.features.engine import cpu_count
from headstart.features.extract import extract
from headstart.features.store import Store
from headstart.imaging import encode
from headstart.imaging.preprocessing import Preprocessing
from headstart.runs import SilentProgress
from headstart.tasks import TASKS
from headstart.training.examples import Examples
from headstart.training.finetuning import devices as module
from headstart.training.finetuning.devices import check_devices, on_devices
from headstart.training.finetuning.loop import Interrupted
from headstart.training.finetuning.member import Failure
from headstart.training.finetuning.outcome import EpochRow
from headstart.training.finetuning.recipe import Recipe
from headstart.training.finetuning.rung import fine_tune
from headstart.training.finetuning.setting import PrecisionChoice
from headstart.training.finetuning.team import Reports
from headstart.training.finetuning.views import TrainingImages
from headstart.training.finetuning.wish import Ground, Tuned, Wish, check_wish

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS = 36
RECIPE = Recipe(epochs=7, batch_size=8, rate=3e-3, ema=0.4)  # three steps an epoch
WISH = Wish("partial", 2, augment="none", recipe=RECIPE, precision=PrecisionChoice("32-true", False))
PREPROCESSING = Preprocessing(64, 0.9, "bicubic", (0.5,) * 3, (0.5,) * 3)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Coarse noise, a folder a class; the second class is lighter on the right, not always clearly."""
    for number in range(ROWS):
        generator = np.random.default_rng(number)
        tiles = generator.integers(0, 200, (8, 8, 3)).astype(float)
        tiles[:, 4:] += 40 * (number % 2) + generator.normal(0, 20)
        path = tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(np.kron(tiles.clip(0, 255).astype(np.uint8), np.ones((9, 9, 1), np.uint8))))
    return tmp_path / "pictures"


@pytest.fixture
def make_ground(pictures: Path) -> Callable[..., Ground]:
    """What a real run has of the pictures, a third of them held out, and of a small network with random weights."""
    torch.manual_seed(0)
    backbone = TorchBackbone(LoadedNetwork("timm/it", timm.create_model("test_resnet"), (), PREPROCESSING, "MIT"))
    dataset = load(pictures)
    images = TrainingImages(dataset.read, dataset.files, dataset.hashes)
    compiled = compile_trunk(backbone.trunk(len(backbone.stages)), engine="torch", say=pytest.fail)
    with Store.default(pytest.fail) as store:
        table = extract(images.read, images.names, images.hashes, compiled, store, SilentProgress()).table
    rows = np.arange(ROWS)
    fold = (rows[rows % 3 > 0], rows[rows % 3 == 0])
    task = TASKS["classification"]
    examples = Examples(table, rows, compiled.trunk.columns, dataset.targets, 2, rows, (fold,), task)
    metric = functools.partial(score, "accuracy", "classification")

    def make(**values: Any) -> Ground:
        given = {"progress": SilentProgress(), "say": pytest.fail, "folder": None, **values}
        return Ground(backbone, images, examples, "accuracy", metric, "torch", **given)

    return make


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The tasks beside this file, by a name under which other processes find them."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield importlib.import_module("together")
    sys.modules.pop("together")


def children() -> list[int]:
    """Processes that this one has started and that run, or have not been seen to end."""
    tasks = Path(f"/proc/{os.getpid()}/task")
    return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]


def two(wish: Wish) -> Wish:
    """The same in two processes."""
    return dataclasses.replace(wish, devices=2)


def alike(found: Tuned, wanted: Tuned) -> None:
    """But for the order in which floats are added up."""
    assert [row.epoch for row in found.history] == [row.epoch for row in wanted.history]
    for name in ("train_loss", "val_loss"):
        curves = [[getattr(row, name) for row in tuned.history] for tuned in (found, wanted)]
        np.testing.assert_allclose(*curves, rtol=1e-4, err_msg=name)
    assert (found.best_epoch, found.cut, found.coefficient) == (wanted.best_epoch, wanted.cut, wanted.coefficient)
    assert found.notes == wanted.notes
    np.testing.assert_allclose(found.losses, wanted.losses, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.weights.head.weights, wanted.weights.head.weights, rtol=1e-3, atol=1e-4)


# ---- one training ---------------------------------------------------------------------------------------------------


two_cores = pytest.mark.skipif(cpu_count() < 2, reason="two processes need two cores")


@two_cores
def test_two_processes_give_the_curve_of_one(
    make_ground: Callable[..., Ground], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty-one steps through a store of their own; and where an image is lost on the way, both say the same."""
    told: list[EpochRow] = []
    wanted = fine_tune(make_ground(), WISH)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    found = fine_tune(make_ground(), two(WISH), tell=told.append)
    alike(found, wanted)
    assert wanted.best_epoch
    assert [row.seconds for row in told] == [row.seconds for row in found.history]
    assert children() == []

    (pictures / "a" / "4.png").unlink()
    full = dataclasses.replace(WISH, strategy="full", cut=None, recipe=dataclasses.replace(RECIPE, epochs=1))
    errors = []
    for wish in (full, two(full)):
        with pytest.raises(ImageError) as error:
            fine_tune(make_ground(), wish)
        errors.append(str(error.value))
    assert "4.png" in errors[0]
    assert errors[0] == errors[1]
    assert children() == []


@two_cores
def test_interrupted_and_resumed_equals_one_process_undisturbed(
    make_ground: Callable[..., Ground], tmp_path: Path
) -> None:
    """Unfreezing, asked to stop when an epoch is over; the state is no other number of devices'."""
    told: list[EpochRow] = []
    short = dataclasses.replace(RECIPE, epochs=2)
    wish = dataclasses.replace(WISH, strategy="progressive", cut=None, augment="light", recipe=short)
    with pytest.raises(Interrupted, match="its state is saved"):
        fine_tune(make_ground(folder=tmp_path, stop=lambda: len(told) > 1), two(wish), tell=told.append)
    with pytest.raises(RunError, match="its devices is 2, here it is 1"):
        fine_tune(make_ground(folder=tmp_path), wish)
    found = fine_tune(make_ground(folder=tmp_path), two(wish))
    assert 1 < len(told) < len(found.history)
    alike(found, fine_tune(make_ground(), wish))


@pytest.mark.parametrize(
    ("count", "gpus", "cores", "named"),
    [
        (0, 0, 8, "--devices 0 trains nowhere"),
        (5, 0, 4, "--devices 5 is more than the 4 cores here: give --devices 4 or fewer"),
        (3, 2, 64, "--devices 3 is more than the 2 GPUs here: give --devices 2 or fewer"),
        (9, 0, 64, "a batch of 8 can't be shared out among 9 devices: give --batch-size 9 or more, or fewer --devices"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, count: int, gpus: int, cores: int, named: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(module, "cpu_count", lambda: cores)
    with pytest.raises(OptionError, match=named) as error:
        check_wish(dataclasses.replace(WISH, devices=count), stages=5, rows=24)
    assert "\n" not in str(error.value)


def test_what_can_be_had_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_devices(1, batch_size=1)
    monkeypatch.setattr(module, "cpu_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check_devices(8, batch_size=8)


# ---- processes ------------------------------------------------------------------------------------------------------


class Heard:
    """Progress as a list of words."""

    def __init__(self) -> None:
        self.words: list[str] = []

    @contextlib.contextmanager
    def task(self, name: str, total: int) -> Iterator[Callable[..., None]]:
        self.words.append(f"{name} of {total}")
        yield lambda count=1, /: self.words.append(f"{name} {count}")
        self.words.append(f"{name} ends")


def test_the_first_is_heard_and_all_stop_when_they_are_asked(
    together: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C and SIGTERM, which may go to all processes, are for the one that asks."""
    said: list[object] = []
    progress = Heard()

    def stop() -> bool:
        for worker in pids(tmp_path):
            os.kill(worker, signal.SIGINT)
            os.kill(worker, signal.SIGTERM)
        return len(pids(tmp_path)) == 2

    reports = Reports(said.append, said.append, progress, stop)
    with pytest.raises(Interrupted, match="its state is saved"):
        on_devices(functools.partial(together.work, tmp_path), 2, reports)
    assert said == ["process 0 of 2, with 40", together.ROW]
    assert progress.words == ["outer of 3", "inner of 2", "inner 2", "outer 1", "inner ends", "outer ends"]
    assert (tmp_path / "saved").exists()
    assert tuple(capfd.readouterr()) == ("", "")
    assert children() == []


@pytest.mark.soak
def test_a_killed_process_is_said_to_be_killed(together: ModuleType) -> None:
    progress = Heard()
    with pytest.raises(EngineError, match="process 2 of the training was killed, perhaps for want of memory"):
        on_devices(together.die, 2, Reports(pytest.fail, pytest.fail, progress, pytest.fail))
    assert progress.words == ["begun of 1", "begun ends"]
    assert children() == []


def sent(error: Exception) -> Any:
    """What arrives of it in another process."""
    here, there = multiprocessing.Pipe()
    with here, there:
        here.send(Failure.of(error))
        return there.recv().error()


def test_an_error_crosses_as_it_is() -> None:
    """Also one whose words are made of other arguments."""
    error = MissingExtraError("the moon", "rocket")
    crossed = sent(error)
    assert type(crossed) is MissingExtraError
    assert str(crossed) == str(error)
    assert crossed.extra == "rocket"


def test_an_error_of_the_program_crosses_with_its_traceback() -> None:
    class UnheardError(Exception):
        pass

    try:
        raise UnheardError("it broke")
    except UnheardError as error:
        crossed = sent(error)
    assert isinstance(crossed, RuntimeError)
    assert str(crossed) == "UnheardError: it broke"
    assert "test_devices.py" in crossed.__notes__[0]


@pytest.mark.soak
def test_none_outlives_who_asked(together: ModuleType, tmp_path: Path) -> None:
    command = [sys.executable, str(together.__file__), str(tmp_path)]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path)}) as asked:
        wait_for(lambda: len(pids(tmp_path)) == 2)
        asked.kill()
        wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in pids(tmp_path)))
    assert not (tmp_path / "saved").exists()


def pids(folder: Path) -> list[int]:
    """Of the processes that have begun to work."""
    return [int(path.stem) for path in folder.glob("*.pid")]


def wait_for(condition: Callable[[], bool]) -> None:
    """Twenty seconds at most."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
