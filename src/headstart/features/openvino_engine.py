"""Trunks on the CPU through OpenVINO: bf16 where the CPU has it and parity holds, else float32."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from headstart import files, records
from headstart.backbones._openvino import openvino
from headstart.backbones.backbone import Segment
from headstart.errors import EngineError, HeadstartError, RecordError
from headstart.features import parity
from headstart.features.engine import EngineIdentity, Say, cpu_count

if TYPE_CHECKING:
    from openvino import CompiledModel, InferRequest

Precision = Literal["bf16", "f32"]

# Small batches keep the activations in the cores' caches: measured on Lite0, 4 is the fastest of 1 to 32.
_BATCH = 4
_BLOB, _VERDICT = "graph.blob", "verdict.json"


@dataclass(frozen=True)
class Verdict:
    """What the compile cache remembers of a trunk on this machine."""

    precision: Precision
    parity: parity.Parity
    blob_sha256: str


class OpenVinoTrunk:
    """A trunk compiled for the CPU; the graph itself is loaded when the first images come.

    One single-threaded stream runs on each core, and every calling thread has a request of its own, so that the
    threads that decode images also run them and no core waits for another.
    """

    batch_size = _BATCH

    def __init__(self, trunk: Segment, verdict: Verdict, load: functools.partial[CompiledModel]) -> None:
        self.trunk = trunk
        self.parity = verdict.parity
        self.identity = EngineIdentity("openvino", _version(), verdict.precision, "cpu")
        self._load = load
        self._lock = threading.Lock()
        self._compiled: CompiledModel | None = None
        self._input_type = np.float32 if trunk.start else np.uint8
        self._thread = threading.local()

    @classmethod
    def compile(cls, trunk: Segment, cache: Path, say: Say) -> OpenVinoTrunk:
        """Take the compiled graph from the cache, or compile, check and keep it there.

        Raises
        ------
        EngineError
            If no precision passes the parity check, or the conversion fails.
        """
        folder = cache / _key(trunk)
        verdict = _read_verdict(folder)
        if verdict is None:
            verdict = _compile_and_check(trunk, folder, say)
        return cls(trunk, verdict, functools.partial(_load_blob, trunk, folder, verdict, say))

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        request = self._request()
        results = request.infer({0: images}, share_inputs=True, share_outputs=True)
        return np.concatenate([value.reshape(len(images), -1) for value in results.values()], axis=1)

    def _request(self) -> InferRequest:
        if not hasattr(self._thread, "request"):
            with self._lock:
                if self._compiled is None:
                    compiled = self._load()
                    # OpenVINO's binding sets its tables of types up at their first use, while it waits for Python's
                    # lock: two threads that come first at once wait for each other for ever. So one goes ahead.
                    blank = np.zeros((1, *self.trunk.input.shape), self._input_type)
                    compiled.create_infer_request().infer({0: blank}, share_inputs=True, share_outputs=True)
                    self._compiled = compiled
            self._thread.request = self._compiled.create_infer_request()
        return self._thread.request


def _compile_and_check(trunk: Segment, folder: Path, say: Say) -> Verdict:
    try:
        graph = trunk.graph()
    except HeadstartError:
        raise
    except Exception as error:  # the converter raises types of its own, which change between versions
        raise EngineError(f"OpenVINO can't convert {trunk.backbone.name} ({str(error).splitlines()[0]})") from error
    reference, above = _reference(trunk, graph), _above(trunk)
    for precision in _precisions():
        compiled = _compile(graph, precision)
        found = parity.check(trunk, precision, functools.partial(_run_once, compiled), reference, above)
        if found.passed:
            return _keep(compiled, precision, found, folder)
        say(
            f"{trunk.backbone.name}: {precision} features differ too much from float32 on this CPU "
            f"(median cosine {found.median:.5f}, least {found.minimum:.4f})"
        )
    raise EngineError(f"OpenVINO's features of {trunk.backbone.name} don't match the reference on this CPU")


def _reference(trunk: Segment, graph: Any) -> parity.Run:
    if trunk.backbone.graph_is_definition:
        return functools.partial(_run_once, _compile(graph, "f32"))
    from headstart.features.torch_engine import TorchTrunk

    return TorchTrunk(trunk, device="cpu")


def _above(trunk: Segment) -> parity.Run | None:
    """The rest of the network in float32, where the trunk is not all of it."""
    if trunk.stop == len(trunk.backbone.stages):
        return None
    suffix = trunk.backbone.suffix(trunk.stop)
    return _reference(suffix, suffix.graph() if trunk.backbone.graph_is_definition else None)


def _compile(graph: Any, precision: Precision) -> CompiledModel:
    return _core().compile_model(graph, "CPU", _settings(precision))


def _run_once(compiled: CompiledModel, images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """All images in small batches through a fresh request."""
    request = compiled.create_infer_request()
    rows = []
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        results = request.infer({0: batch}).values()
        rows.append(np.concatenate([value.reshape(len(batch), -1) for value in results], axis=1))
    return np.concatenate(rows)


def _keep(compiled: CompiledModel, precision: Precision, found: parity.Parity, folder: Path) -> Verdict:
    blob = compiled.export_model().getvalue()
    verdict = Verdict(precision, found, files.sha256(blob))
    with files.clear_storage_errors(folder), files.replacing(folder) as temporary:
        temporary.mkdir(parents=True)
        (temporary / _BLOB).write_bytes(blob)
        (temporary / _VERDICT).write_text(records.to_json(verdict))
    return verdict


def _read_verdict(folder: Path) -> Verdict | None:
    try:
        return records.from_json(Verdict, (folder / _VERDICT).read_bytes(), where=str(folder))
    except (OSError, RecordError):
        return None


def _load_blob(trunk: Segment, folder: Path, verdict: Verdict, say: Say) -> CompiledModel:
    """The compiled graph from the cache; where it is damaged, compiled anew at the precision already found good."""
    try:
        blob = (folder / _BLOB).read_bytes()
    except OSError:
        blob = b""
    if files.sha256(blob) == verdict.blob_sha256:
        return _core().import_model(blob, "CPU", _settings(verdict.precision))
    say(f"the compiled graph in {folder} is damaged; compiling it again")
    compiled = _compile(trunk.graph(), verdict.precision)
    _keep(compiled, verdict.precision, verdict.parity, folder)
    return compiled


@functools.cache
def _core() -> Any:
    return openvino().Core()


def _settings(precision: Precision) -> dict[str, str]:
    cores = str(cpu_count())
    return {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": cores, "INFERENCE_NUM_THREADS": cores}


def _precisions() -> tuple[Precision, ...]:
    """bf16 first where the CPU computes in it (AMX or avx512_bf16), since it is emulated slowly elsewhere."""
    capabilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("bf16", "f32") if "BF16" in capabilities else ("f32",)


def _key(trunk: Segment) -> str:
    """Everything that shapes a compiled graph, as a name: weights, segment, engine version, CPU and cores."""
    outputs = (trunk.pooled, trunk.maps)
    facts = (trunk.backbone.weights_sha256, trunk.start, trunk.stop, outputs, trunk.backbone.preprocessing)
    return files.sha256(repr((facts, _version(), _cpu(), cpu_count())).encode())[:32]


@functools.cache
def _version() -> str:
    return importlib.metadata.version("openvino")


@functools.cache
def _cpu() -> str:
    """The CPU's model and feature flags."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    found = re.findall(r"^(?:model name|flags|Features|CPU part)\s*:\s*(.*)$", text.split("\n\n")[0], re.MULTILINE)
    return " ".join([platform.machine(), *found])
