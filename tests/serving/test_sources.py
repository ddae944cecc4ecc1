"""A run without an export gets one before it is served; what is no model is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headstart import runtime
from headstart.errors import ArtifactError, ParityError
from headstart.export import exporting
from headstart.serving.settings import ServedModel
from headstart.serving.sources import ready_to_serve


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The runs that were exported."""
    found: list[Path] = []

    def export(run: Path, format: str, **_: Any) -> None:
        assert format == "openvino"
        found.append(run)

    monkeypatch.setattr(exporting, "export", export)
    monkeypatch.setattr(runtime, "load", lambda path: None)
    return found


def test_only_a_run_without_an_export_is_exported(exports: list[Path], tmp_path: Path) -> None:
    said: list[str] = []
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    ready_to_serve(ServedModel("m", run), said.append)
    assert exports == [run]
    assert "no export yet" in said[0]
    (run / "export" / "onnx").mkdir(parents=True)
    (run / "export" / "onnx" / "model.onnx").touch()
    ready_to_serve(ServedModel("m", run), said.append)
    assert len(exports) == 1


def test_what_is_no_model_is_named(exports: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        ready_to_serve(ServedModel("m", tmp_path / "gone"), print)
    with pytest.raises(ArtifactError, match="no exported model"):
        ready_to_serve(ServedModel("m", tmp_path), print)

    def refuses(*_: Any, **__: Any) -> None:
        raise ParityError("answers differently")

    monkeypatch.setattr(exporting, "export", refuses)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ParityError):
        ready_to_serve(ServedModel("m", tmp_path), lambda line: None)
