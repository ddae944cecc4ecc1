"""Find an exported file, and load it with what runs its format."""

from __future__ import annotations

from pathlib import Path

from headstart.errors import ArtifactError
from headstart.runtime.model import Model
from headstart.runtime.onnx_session import OnnxSession
from headstart.runtime.openvino_session import OpenVinoSession
from headstart.runtime.record import Precision

FILES = ("model.xml", "model.onnx")
"""Names of the files that are looked for in a folder, the fastest first."""

# Below a run folder, in the order in which they are taken: what answers most like the trained model, and fastest.
_FOLDERS = ("export/openvino", "export/onnx", "export/openvino-int8", "export/onnx-int8")


def load(path: str | Path, *, threads: int | None = None, precision: Precision | None = None) -> Model:
    """Load an exported model; nothing in the file is executed but its graph.

    Parameters
    ----------
    path:
        An exported file (``model.onnx``, ``model.xml``), the folder it lies in, or a run folder with exports in it.
    threads:
        Cores to use; by default all that this process may.
    precision:
        Of an OpenVINO file, ``f32`` or ``bf16``; by default bf16 where the CPU has it and the export was found to
        answer as the trained model in it.

    Raises
    ------
    ArtifactError
        If there is no exported model, or it is damaged, of a newer headstart or of a format that is not run here.
    MissingExtraError, EngineError
        If what runs the format is not installed.
    """
    file = find(Path(path))
    if file.suffix == ".onnx":
        return Model(OnnxSession(file, threads=threads))
    if file.suffix == ".xml":
        return Model(OpenVinoSession(file, threads=threads, precision=precision))
    if file.suffix == ".pt2":
        raise ArtifactError(f"{file} is a PyTorch program: load it with torch.export.load, or export to onnx, openvino")
    raise ArtifactError(f"{file} is no exported model: known are {', '.join(FILES)}")


def find(path: Path) -> Path:
    """The exported file that a path means; raises :class:`ArtifactError` where there is none."""
    if path.is_file():
        return path
    for folder in (path, *(path / below for below in _FOLDERS)):
        for name in FILES:
            if (folder / name).is_file():
                return folder / name
    if not path.exists():
        raise ArtifactError(f"{path} does not exist")
    raise ArtifactError(f"{path} holds no exported model that can be run here: headstart export RUN --format openvino")
