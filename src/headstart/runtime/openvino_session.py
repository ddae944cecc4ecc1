"""Exported OpenVINO files on the CPU, in bf16 where the CPU has it and the file was found good in it."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.errors import ArtifactError, EngineError
from headstart.openvino_import import openvino
from headstart.runtime.record import EMBEDDING, INPUT, KEY, PROBABILITIES, ExportRecord, Precision, from_text
from headstart.runtime.session import Answers, Images, blank, checked, cores, filled

if TYPE_CHECKING:
    from openvino import InferRequest

MOST_BYTES = 32 * 2**30
"""Larger weights are refused."""

_MOST_XML = 512 * 2**20
# Small batches keep the activations in the cores' caches: measured on Lite0, 4 is the fastest of 1 to 32.
_BATCH = 4


class OpenVinoSession:
    """An OpenVINO file that is loaded.

    One single-threaded stream runs on each core; a batch is shared out among them.

    Parameters
    ----------
    path:
        The ``.xml`` file; the weights lie beside it in a ``.bin`` of the same name.
    threads:
        Cores to use; by default all.
    precision:
        ``f32`` or ``bf16``; by default the first of the record's that this CPU computes in.

    Raises
    ------
    ArtifactError
        If a file is missing, damaged or not one of headstart's.
    EngineError
        If OpenVINO is not installed.
    """

    def __init__(self, path: Path, *, threads: int | None = None, precision: Precision | None = None) -> None:
        module = _module(path)
        self._where = str(path)
        core, self._streams = module.Core(), threads or cores()
        model = self._read(core, path)
        self.engine = f"openvino {module.__version__.split('-')[0]}"
        self.precision: Precision = precision or _best(core, self.record)
        settings = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "NUM_STREAMS": str(self._streams),
            "INFERENCE_NUM_THREADS": str(self._streams),
        }
        try:
            self._compiled = core.compile_model(model, "CPU", settings)
        except Exception as error:
            raise ArtifactError(f"{path}: OpenVINO can't compile it ({_first_line(error)})") from error
        self._idle: queue.LifoQueue[InferRequest] = queue.LifoQueue()
        # OpenVINO's binding sets its tables of types up at their first use, while it waits for Python's lock: two
        # threads that come first at once wait for each other for ever. So one image goes ahead.
        self.run(blank(self.record))

    def _read(self, core: Any, path: Path) -> Any:
        weights = path.with_suffix(".bin")
        for file, limit in ((path, _MOST_XML), (weights, MOST_BYTES)):
            if not file.is_file() or file.stat().st_size > limit:
                raise ArtifactError(f"{file} is missing, no plain file, or larger than headstart reads")
        try:
            model = core.read_model(str(path), str(weights))
            text = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else None
        except Exception as error:
            raise ArtifactError(f"{path}: OpenVINO can't read it ({_first_line(error)}); export it again") from error
        self.record: ExportRecord = from_text(text, self._where)
        inputs = [(port.get_names(), port.get_element_type().get_type_name()) for port in model.inputs]
        names = [next(iter({PROBABILITIES, EMBEDDING} & port.get_names()), "") for port in model.outputs]
        if inputs != [({INPUT}, "u8")] or set(names) != {PROBABILITIES, EMBEDDING}:
            raise ArtifactError(f"{path}: takes {inputs} and gives {names}; export the model again")
        self._places = names.index(PROBABILITIES), names.index(EMBEDDING)
        return model

    def run(self, images: Images) -> Answers:
        """See :class:`headstart.runtime.session.Session`."""
        size = self.record.batch or min(_BATCH, -(-len(images) // self._streams))
        chunks = [images[start : start + size] for start in range(0, len(images), size)]
        answers: list[Answers] = []
        for start in range(0, len(chunks), self._streams):  # as many at once as there are streams
            answers += self._run_at_once(chunks[start : start + self._streams])
        if len(answers) == 1:
            return answers[0]
        return Answers(
            np.concatenate([part.probabilities for part in answers]),
            np.concatenate([part.embeddings for part in answers]),
        )

    def _run_at_once(self, chunks: list[Images]) -> list[Answers]:
        requests = [self._request() for _ in chunks]
        inputs = [np.ascontiguousarray(filled(chunk, self.record.batch or 0)) for chunk in chunks]
        try:
            for request, chunk in zip(requests, inputs, strict=True):
                request.start_async({0: chunk}, share_inputs=True)
            answers = []
            for request, chunk in zip(requests, chunks, strict=True):
                request.wait()
                found = [request.get_output_tensor(place).data.copy() for place in self._places]
                answers.append(checked(found[0], found[1], len(chunk), self.record, self._where))
        except RuntimeError as error:
            for request in requests:
                request.cancel()
            shape = chunks[0].shape[1:]
            raise ArtifactError(f"{self._where}: can't be run on images of {shape} ({_first_line(error)})") from error
        for request in requests:
            self._idle.put(request)
        return answers

    def _request(self) -> InferRequest:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._compiled.create_infer_request()


def computes_bf16() -> bool:
    """Whether this CPU computes in bf16 (AMX or avx512_bf16); elsewhere it is emulated slowly."""
    return "BF16" in openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _best(core: Any, record: ExportRecord) -> Precision:
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    for precision in record.precisions:
        if precision == "f32" or "BF16" in able:
            return precision
    return "f32"


def _module(path: Path) -> Any:
    try:
        return openvino()
    except ImportError as error:
        raise EngineError(f"{path}: running it needs OpenVINO: pip install openvino") from error


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
