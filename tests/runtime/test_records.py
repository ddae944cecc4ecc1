"""What an exported file says about itself is believed only where it can be true."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from headstart.errors import ArtifactError, OptionError
from headstart.imaging import Preprocessing
from headstart.runtime.decisions import abstain_below, decide
from headstart.runtime.record import SCHEMA, Abstention, ExportRecord, from_text, to_text
from headstart.tasks import TASKS

RECORD = ExportRecord(
    schema=SCHEMA,
    headstart="0.1.0",
    format="onnx",
    weights="f32",
    precisions=("f32",),
    batch=None,
    resizes=True,
    task="classification",
    classes=("ant", "bee", 'cicada "ζ"\n'),
    temperature=1.3,
    thresholds=(0.2, 0.3, 0.5),
    abstain=(Abstention(0.02, 0.95), Abstention(0.1, 0.7)),
    embedding=8,
    backbone="bundled/x",
    strategy="linear_probe",
    licence="Apache-2.0",
    weights_sha256="0" * 64,
    model_sha256="1" * 64,
    preprocessing=Preprocessing(32, 0.875, "bicubic", (0.5,) * 3, (0.5,) * 3),
    warning=None,
)


def test_a_record_comes_back_as_it_was() -> None:
    text = to_text(RECORD)
    assert text.isascii()
    assert "\n" not in text
    assert from_text(text, "file") == RECORD


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"schema": SCHEMA + 1}, "newer headstart"),
        ({"classes": []}, "0 classes"),
        ({"thresholds": [0.5]}, "one threshold a class"),
        ({"thresholds": [0.5, 0.0, 0.1]}, "not positive"),
        ({"thresholds": [0.5, None, 0.1]}, "not finite"),
        ({"costs": [[0.0, 1.0, 1.0]]}, "the costs are no matrix"),
        ({"costs": [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]}, "the costs are no matrix"),
        ({"costs": [[0.0, 1.0, 1.0], [1.0, 0.0, None], [1.0, 1.0, 0.0]]}, "the costs are no matrix"),
        ({"embedding": 10**12}, "unknown"),
        ({"batch": 10**9}, "a batch of"),
        ({"precisions": []}, "no precision"),
        ({"precisions": ["f8"]}, "f8"),
        ({"task": "regression"}, "regression"),
        ({"surprise": 1}, "surprise"),
        ({"abstain": [{"max_error": 2.0, "threshold": 0.1}]}, "abstention"),
        ({"preprocessing": {"size": -4}}, "preprocessing"),
    ],
)
def test_what_cannot_be_is_refused(changed: dict[str, Any], word: str) -> None:
    plain = {**json.loads(to_text(RECORD)), **changed}
    with pytest.raises(ArtifactError, match=word):
        from_text(json.dumps(plain), "model.onnx")


def test_an_enormous_input_is_refused() -> None:
    plain = json.loads(to_text(RECORD))
    plain["preprocessing"]["size"] = 10**6
    with pytest.raises(ArtifactError, match="size"):
        from_text(json.dumps(plain), "model.onnx")


@pytest.mark.parametrize("text", [None, "", "{", "[]", '"x"', "[" * 100_000, '{"schema": 1}', "null"])
def test_no_record_is_refused(text: str | None) -> None:
    with pytest.raises(ArtifactError):
        from_text(text, "model.onnx")


def test_costs_decide_as_in_the_trained_model() -> None:
    generator = np.random.default_rng(0)
    costs = ((0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (20.0, 5.0, 0.0))
    chances = np.vstack([generator.dirichlet([1, 1, 1], 300), [[0.5, 0.5, 0.0], [1 / 3] * 3, [0.0, 1.0, 0.0]]])
    record = from_text(to_text(dataclasses.replace(RECORD, costs=costs)), "file")
    for matrix in (costs, tuple(map(tuple, (1.0 - np.eye(3)).tolist()))):
        labels, confidence = decide(chances, dataclasses.replace(record, costs=matrix))
        task = TASKS["classification"]
        assert labels == task.labels(chances, RECORD.classes, np.array(matrix))
        assert (confidence == task.confidence(chances, np.array(matrix))).all()


@pytest.mark.parametrize("task", ["classification", "multilabel"])
@pytest.mark.parametrize("thresholds", [None, (0.2, 0.3, 0.5)])
def test_decisions_are_those_of_the_trained_model(task: Any, thresholds: Any) -> None:
    rng = np.random.default_rng(0)
    chances = rng.dirichlet((1, 1, 1), 200)
    record = dataclasses.replace(RECORD, task=task, thresholds=thresholds)
    labels, confidence = decide(chances, record)
    limits = None if thresholds is None else np.array(thresholds)
    assert labels == TASKS[task].labels(chances, record.classes, limits)
    np.testing.assert_array_equal(confidence, TASKS[task].confidence(chances, limits))


def test_the_strictest_threshold_that_is_not_too_strict() -> None:
    assert abstain_below(RECORD, None) == 0.0
    assert abstain_below(RECORD, 0.02) == 0.95
    assert abstain_below(RECORD, 0.05) == 0.95
    assert abstain_below(RECORD, 0.1) == 0.7
    with pytest.raises(OptionError, match=r"can't bound its error at 0\.01; the rates it can: 0\.02, 0\.1"):
        abstain_below(RECORD, 0.01)
