"""Exported ONNX files through onnxruntime, on the CPU."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np

from headstart.errors import ArtifactError, MissingExtraError
from headstart.runtime.record import EMBEDDING, INPUT, KEY, PROBABILITIES, ExportRecord, Precision, from_text
from headstart.runtime.session import Answers, Images, blank, checked, cores, filled

MOST_BYTES = 2**31
"""Larger files are no ONNX: protobuf, its container, ends there."""

# Images that are resized in the graph at once: more would hold large pictures in memory and gain nothing.
_BATCH = 32


def onnxruntime(where: str) -> ModuleType:
    """The ``onnxruntime`` module; raises :class:`MissingExtraError` where it is not installed."""
    try:
        module = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingExtraError(f"{where}: running it in onnxruntime", "export") from error
    module.disable_telemetry_events()
    return module


class OnnxSession:
    """An ONNX file that is loaded.

    Parameters
    ----------
    path:
        The file. What it points to outside itself is not read.
    threads:
        That compute one call; by default all cores.

    Raises
    ------
    ArtifactError
        If the file is missing, damaged or not one of headstart's.
    MissingExtraError
        If onnxruntime is not installed.
    """

    precision: Precision = "f32"

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        module = onnxruntime(str(path))
        options = module.SessionOptions()
        options.intra_op_num_threads = threads or cores()
        options.log_severity_level = 3
        options.enable_mem_pattern = False  # else memory is kept for every size of image that ever came
        try:
            self._session = module.InferenceSession(_bytes(path), options, providers=["CPUExecutionProvider"])
        except ArtifactError:
            raise
        except Exception as error:  # onnxruntime's own types, a dozen of them, without a common base
            reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
            raise ArtifactError(f"{path}: onnxruntime can't load it ({reason}); export the model again") from error
        self._where = str(path)
        self.engine = f"onnxruntime {module.__version__}"
        self.record: ExportRecord = from_text(self._session.get_modelmeta().custom_metadata_map.get(KEY), self._where)
        self._check_ports()
        self.run(blank(self.record))

    def run(self, images: Images) -> Answers:
        """See :class:`headstart.runtime.session.Session`."""
        size = self.record.batch or _BATCH
        parts = [self._run(images[start : start + size]) for start in range(0, len(images), size)]
        if len(parts) == 1:
            return parts[0]
        return Answers(
            np.concatenate([part.probabilities for part in parts]), np.concatenate([part.embeddings for part in parts])
        )

    def _run(self, images: Images) -> Answers:
        whole = filled(images, self.record.batch or 0)
        try:
            found = self._session.run([PROBABILITIES, EMBEDDING], {INPUT: np.ascontiguousarray(whole)})
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
            raise ArtifactError(f"{self._where}: can't be run on images of {images.shape[1:]} ({reason})") from error
        return checked(found[0], found[1], len(images), self.record, self._where)

    def _check_ports(self) -> None:
        inputs = [(port.name, port.type) for port in self._session.get_inputs()]
        outputs = {port.name for port in self._session.get_outputs()}
        if inputs != [(INPUT, "tensor(uint8)")] or not {PROBABILITIES, EMBEDDING} <= outputs:
            raise ArtifactError(f"{self._where}: takes {inputs} and gives {sorted(outputs)}; export the model again")


def _bytes(path: Path) -> bytes:
    """The file's bytes: from them alone onnxruntime finds no other file."""
    try:
        if not path.is_file() or path.stat().st_size >= MOST_BYTES:
            raise ArtifactError(f"{path} is missing, no plain file, or larger than an ONNX file can be")
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} can't be read ({error.strerror or error})") from error
