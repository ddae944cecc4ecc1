"""Run folders as the workflow leaves them, made up from random predictions and scored by the project's own scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from headstart.evaluation.metrics import evaluate

Build = Callable[..., Path]


def _single(classes: Sequence[str], n: int, skill: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.integers(0, len(classes), n)
    logits = rng.normal(size=(n, len(classes))) * 2
    logits[np.arange(n), truth] += skill
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return truth, chances


def _multi(classes: Sequence[str], n: int, skill: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.random((n, len(classes))) < 0.3
    logits = rng.normal(size=truth.shape) * 2 + np.where(truth, skill / 2, -skill / 2)
    return truth, 1 / (1 + np.exp(-logits))


def _rows(task: str, classes: Sequence[str], split: str, truth: np.ndarray, chances: np.ndarray) -> pa.Table:
    names = np.array(classes, object)
    if task == "multilabel":
        label = pa.list_(pa.string())
        true = [list(names[row]) for row in truth]
        found = [list(names[row]) for row in chances >= 0.5]
        confidence = np.where(chances >= 0.5, chances, 1 - chances).prod(1)
    else:
        label = pa.string()
        true, found = list(names[truth]), list(names[chances.argmax(1)])
        confidence = chances.max(1)
    files = [f"{split}/{classes[i % len(classes)]}/{i:05d}.jpg" for i in range(len(chances))]
    return pa.table(
        {
            "file": pa.array(files, pa.string()),
            "image": pa.array([f"/images/{name}" for name in files], pa.string()),
            "split": pa.array([split] * len(files), pa.string()),
            "truth": pa.array(true, label),
            "predicted": pa.array(found, label),
            "confidence": pa.array(confidence, pa.float64()),
            "probabilities": pa.array(list(chances), pa.list_(pa.float64())),
        }
    )


def _metrics(task: str, classes: Sequence[str], splits: dict[str, Any], n: int) -> dict[str, Any]:
    return {
        "schema": 1,
        "task": task,
        "backbone": "bundled/tf_efficientnet_lite0",
        "licence": "Apache-2.0",
        "strategy": "linear_probe",
        "cut": 9,
        "stages": 9,
        "metric": "accuracy",
        "engine": {"engine": "openvino", "version": "2026.4.1", "precision": "bf16", "device": "cpu"},
        "classes": list(classes),
        "splits": splits,
        "baselines": {"majority": {"test_accuracy": 1 / len(classes)}, "knn": {"test_accuracy": 0.5}},
        "temperature": 1.1,
        "abstain": {"threshold": 0.88, "wished_error": 0.05, "level": 0.95, "coverage": 0.85, "errors": 3},
        "novelty_threshold": 0.54,
        "left_out": 2,
        "seconds": {"total": 4.0, "load": 0.2, "features": 2.0, "train": 1.0},
        "seed": 0,
    }


_LADDER = {
    "metric": "accuracy",
    "chosen": "linear_probe",
    "rungs": [
        {
            "strategy": name,
            "cut": 9,
            "seconds": 0.4,
            "score": score,
            "log_loss": 0.3,
            "gain_ci95": None,
            "decision": "kept",
            "reason": "better",
        }
        for name, score in (("prototype", 0.8), ("linear_probe", 0.9))
    ],
    "notes": ["one more rung needs PyTorch"],
}
_AUDIT = {
    "images": 300,
    "left_out": [
        {"file": "a/empty.jpg", "kind": "undecodable", "reason": "the file is empty"},
        {"file": "a/twin.jpg", "kind": "duplicate", "reason": "the same bytes as a/first.jpg"},
    ],
    "notes": ["A test split was held out."],
}
_RUN = {
    "schema": 1,
    "state": "running",
    "request": {"source": "/data/set", "strategy": "auto", "test": None, "offline": False},
    "seed": 0,
    "started": "2026-01-02T03:04:05+00:00",
    "finished": None,
    "headstart": "0.1.0",
    "python": "3.11.7",
    "libraries": {"numpy": "2.4.0"},
}


@pytest.fixture
def build_run(tmp_path: Path) -> Build:
    """``build_run(classes, n, task=…, skill=…, **changes)``: a run folder; changes replace keys of ``metrics.json``."""

    def build(
        classes: Sequence[str] = ("ants", "bees"),
        n: int = 150,
        *,
        task: Literal["classification", "multilabel"] = "classification",
        skill: float = 5.0,
        audit: dict[str, Any] = _AUDIT,
        ladder: dict[str, Any] = _LADDER,
        run: dict[str, Any] = _RUN,
        plan: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Path:
        rng = np.random.default_rng(0)
        folder = tmp_path / "runs" / "example-1"
        folder.mkdir(parents=True)
        splits, tables = {}, []
        for split in ("val", "test"):
            truth, chances = (_multi if task == "multilabel" else _single)(classes, n, skill, rng)
            splits[split] = evaluate(task, truth, chances, classes, draws=50)
            tables.append(_rows(task, classes, split, truth, chances))
        metrics = _metrics(task, classes, splits, n) | changes
        for name, record in (("metrics", metrics), ("ladder", ladder), ("audit", audit), ("run", run)):
            (folder / f"{name}.json").write_text(json.dumps(record))
        if plan is not None:
            (folder / "plan.json").write_text(json.dumps(plan))
        pq.write_table(pa.concat_tables(tables), folder / "predictions.parquet")
        return folder

    return build


@pytest.fixture(scope="session")
def noise() -> bytes:
    """A JPEG of noise, 640 x 480: of all pictures of its size the one whose thumbnail needs most bytes."""
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
