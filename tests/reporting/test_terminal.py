"""What a person reads in a terminal: every name as it is written, whatever it holds."""

from __future__ import annotations

import pytest
from rich.console import Console

from headstart.artifact.model import Prediction
from headstart.reporting import terminal

ODD = "[red]:bee:[/red]\\"


@pytest.fixture(autouse=True)
def console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "_OUT", Console(highlight=False, emoji=False, width=100))


@pytest.mark.parametrize(
    ("prediction", "line"),
    [
        (Prediction("a.jpg", ODD, 0.987, {ODD: 0.987}, 0.1, is_novel=False), ("a.jpg", ODD, "0.987")),
        (Prediction(ODD, ["x", "y"], 0.5, {}, 0.9, is_novel=True), (ODD, "x, y", "0.500", "unlike the training")),
        (Prediction("a", [], 0.5, {}, 0.9, is_novel=False), ("a", "(no label)", "0.500")),
        (Prediction("a", None, 0.5, {}, 0.1, is_novel=False, abstained=True), ("a", "(not sure enough)", "0.500")),
        (Prediction("a", None, 0.5, {}, 0.1, is_novel=False, error="a: [odd]"), ("a", "not decoded: a: [odd]")),
    ],
)
def test_a_prediction_is_one_line(
    prediction: Prediction, line: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.show_prediction(prediction)
    text = capsys.readouterr().out
    assert text.count("\n") == 1
    assert all(part in text for part in line)
    assert ("unlike" in text) == prediction.is_novel


def test_scores_that_are_undefined_or_have_no_interval_are_shown_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    split = {"n": 5, "accuracy": 0.8, "accuracy_ci95": [0.3, 0.95], "auroc": None, "log_loss": 0.5}
    terminal.show_scores({"val": {**split, "estimate": "out_of_fold"}, "test": {**split, "auroc": 1.0}})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[0] == "score"
    assert lines[0].index("test (5 images)") < lines[0].index("val (5 images, out of fold)")
    shown = {line.split("  ")[0]: line for line in lines}
    assert "0.800  0.300–0.950" in shown["accuracy"]
    assert shown["AUROC"].split()[1:] == ["1.000", "–"]
    assert "ece" not in shown


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1500, "1.5 kB"), (2_340_000, "2.3 MB"), (3e13, "30000.0 GB")],
)
def test_sizes_are_decimal(count: float, text: str) -> None:
    assert terminal.size(count) == text
