"""Two exported files of one model of digits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def exports(digits_run: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with an ONNX and an OpenVINO file that were not compared."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from headstart.export.exporting import export

    run = Path(shutil.copytree(digits_run, tmp_path_factory.mktemp("exports") / "run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(warm_cache))
        export(run, "onnx", gate=False)
        export(run, "openvino", gate=False)
    return run
