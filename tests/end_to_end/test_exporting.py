"""A bundled model is exported from the command line: without torch, without a network, and without child processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Headstart = Callable[..., Any]
pytestmark = [pytest.mark.real, pytest.mark.soak]


def test_a_bundled_model_is_exported_quietly(headstart: Headstart, digits: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    spy, run = tmp_path / "spied.txt", tmp_path / "work" / "run"
    quiet = {"HEADSTART_NO_TORCH": "1", "HEADSTART_SPY": str(spy)}
    assert headstart("fit", digits, "--out", run, **quiet).code == 0
    for options in (("onnx",), ("openvino",), ("onnx", "--int8"), ("openvino", "--int8")):
        done = headstart("export", run, "--format", *options, "--json", **quiet)
        assert done.code == 0, done.err
        assert done.json["images"] >= 200
        assert all(not one["faults"] or one["precision"] == "bf16" for one in done.json["results"])
    shown = headstart("export", run, "--format", "onnx", **quiet)
    assert "same decision" in shown.out
    assert "100.0% (bar 99%)" in shown.out
    assert json.loads((run / "export" / "onnx" / "parity.json").read_text())["format"] == "onnx"
    assert not spy.exists(), spy.read_text()


def test_what_is_wished_wrongly_is_refused(headstart: Headstart, digits: Path, tmp_path: Path) -> None:
    run = tmp_path / "work" / "run"
    assert headstart("fit", digits, "--out", run).code == 0
    for options, word in (
        (("--format", "tflite"), "onnx"),
        (("--format", "onnx", "--batch", "many"), "dynamic"),
        (("--format", "pt2", "--int8"), "openvino"),
    ):
        done = headstart("export", run, *options)
        assert done.code == 2, done.err
        assert word in done.err
        assert "Traceback" not in done.err
    assert headstart("export", run, "--format", "pt2", HEADSTART_NO_TORCH="1").code == 2
    assert not (run / "export").exists()
