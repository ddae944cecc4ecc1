"""Fixtures that every room's tests share."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from headstart.data.splits import folds
from headstart.features.table import FeatureTable
from headstart.files import sha256
from headstart.tasks import TASKS
from headstart.training.examples import Examples


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real images and weights beside the project; tests that want it skip where it is not set."""
    folder = os.environ.get("HEADSTART_SHARED")
    if not folder:
        pytest.skip("HEADSTART_SHARED is not set: no real images beside the project")
    return Path(folder).resolve()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test works on a cache of its own, gone with it, and never on the user's."""
    with tempfile.TemporaryDirectory(prefix="cache-", dir=tmp_path_factory.getbasetemp()) as folder:
        monkeypatch.setenv("HEADSTART_CACHE", folder)
        yield


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier test switched off for its process is on again."""
    for name in ("HEADSTART_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def probes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit that is not about budgets ends at its probes."""
    monkeypatch.setenv("HEADSTART_BUDGET", "1s")


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 handwritten digits of three classes, a folder a class."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("data") / "digits"
    found = load_digits()
    for digit in (0, 1, 8):
        (folder / str(digit)).mkdir(parents=True)
        for number in np.flatnonzero(found.target == digit)[:100]:
            pixels = np.round(found.images[number] * (255 / 16)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / str(digit) / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def warm_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for tests that work on real weights, so that a graph is compiled once for all of them."""
    return tmp_path_factory.mktemp("warm_cache")


@pytest.fixture
def warm(own_cache: None, warm_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work on that cache."""
    monkeypatch.setenv("HEADSTART_CACHE", str(warm_cache))


@pytest.fixture(scope="session")
def digits_run(digits: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the digits: 60 of them held out as a test."""
    import headstart

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(warm_cache))
        patch.setenv("HEADSTART_BUDGET", "1s")
        return headstart.fit(digits, out=tmp_path_factory.mktemp("run") / "digits").folder


MakeExamples = Callable[..., Examples]


@pytest.fixture(scope="session")
def make_examples() -> MakeExamples:
    """Labelled clouds of points in the place of features: a stage that tells more of the class than the top does."""
    return _clouds


def _clouds(
    counts: Sequence[int],
    *,
    top: float = 1.0,
    stage: float = 1.0,
    task: str = "classification",
    groups: npt.NDArray[np.int64] | None = None,
    shuffled: bool = False,
    seed: int = 0,
) -> Examples:
    """``counts`` rows a class; ``top`` and ``stage`` are how far apart the classes lie in these outputs."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    width = 12
    centres = np.random.default_rng(99).normal(size=(len(counts), 2 * width))
    rows = rng.normal(size=(len(labels), 2 * width)) + centres[labels] * np.repeat([stage, top], width)
    if shuffled:
        labels = rng.permutation(labels)
    targets = labels if task == "classification" else np.stack([labels == 0, labels > 0], axis=1)
    owners = np.arange(len(labels)) if groups is None else groups
    return Examples(
        table=FeatureTable.from_array(rows.astype(np.float32)),
        places=np.arange(len(labels)),
        columns={"stage_1": slice(0, width), "features": slice(width, 2 * width)},
        targets=targets,
        classes=len(counts) if task == "classification" else 2,
        groups=owners,
        folds=tuple(folds(targets, owners, 5, seed)),
        task=TASKS[task],
    )


MakeRun = Callable[..., Path]


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """Write a run folder as a fit leaves it, without fitting: ``make_run(folder, accuracy=0.9)``."""
    return _run_folder


def _run_folder(
    folder: Path,
    *,
    accuracy: float = 0.9,
    state: str = "finished",
    started: str = "2026-03-01T10:00:00+00:00",
    data: str = "/data/ants",
    strategy: str = "linear_probe",
    seed: int = 0,
    classes: Sequence[str] = ("ant", "bee"),
    **request: object,
) -> Path:
    folder.mkdir(parents=True)
    scores = {"accuracy": accuracy, "accuracy_ci95": [accuracy - 0.05, accuracy + 0.05], "log_loss": 1 - accuracy}
    metrics = {
        **{"schema": 1, "task": "classification", "backbone": "bundled/lite", "strategy": strategy, "cut": 9},
        **{"stages": 9, "metric": "accuracy", "classes": list(classes), "protocol": {"test": "given"}},
        **{"splits": {"val": {"n": 40, **scores}, "test": {"n": 100, "groups": None, **scores}}},
        **{"baselines": {"knn": {"test_accuracy": 0.8}}, "seconds": {"total": 3.5, "train": 1.0}, "seed": seed},
    }
    files = {"metrics.json": json.dumps(metrics), "audit.json": "{}", "ladder.json": "{}", "predictions.parquet": ""}
    record = {
        **{"schema": 1, "state": state, "seed": seed, "started": started, "headstart": "0.1.0", "python": "3.11.7"},
        **{"finished": "2026-03-01T10:00:09+00:00" if state == "finished" else None, "platform": "Linux", "cpu": "A"},
        **{"request": {"source": data, "strategy": "auto", "metric": "accuracy", "epochs": None, **request}},
        **{"libraries": {"numpy": "2.0"}, "command": f"headstart fit {data}"},
        **{"sha256": {name: sha256(text.encode()) for name, text in files.items()} if state == "finished" else None},
    }
    if state == "finished":
        for name, text in files.items():
            (folder / name).write_text(text)
        (folder / "report.html").write_text("<p>report</p>")
        (folder / "model").mkdir()
        (folder / "model" / "model.json").write_text("{}")
    (folder / "run.json").write_text(json.dumps(record))
    (folder / ".lock").touch()
    return folder
