"""What an exported file says about itself: everything that is needed to feed it, and to read its answers."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Literal

from headstart import records
from headstart.errors import ArtifactError, HeadstartError
from headstart.imaging import Preprocessing

KEY = "headstart"
"""The name of the entry in a file's metadata: ONNX ``metadata_props``, OpenVINO ``rt_info``."""

SCHEMA = 1
INPUT, PROBABILITIES, EMBEDDING = "images", "probabilities", "embedding"
"""Names of the tensors of every exported file."""

# A file that claims more is not one of ours, and could fill the memory.
_MOST_TEXT = 64 * 2**20
_MOST_CLASSES, _WIDEST, _LARGEST_SIDE, _LARGEST_BATCH = 1_000_000, 1_000_000, 8192, 4096

Format = Literal["onnx", "openvino", "pt2"]
Precision = Literal["bf16", "f32"]


@dataclass(frozen=True)
class Abstention:
    """Answers with a confidence of ``threshold`` or more err at most at ``max_error`` (at 95 % confidence)."""

    max_error: float
    threshold: float


@dataclass(frozen=True)
class ExportRecord:
    """What stands in an exported file's metadata, as JSON.

    Attributes
    ----------
    schema:
        Version of this record; a reader refuses newer ones.
    headstart:
        The version that wrote the file.
    format:
        ``onnx``, ``openvino`` or ``pt2`` (:mod:`torch.export`).
    weights:
        ``f32``, or ``int8`` after post-training quantisation.
    precisions:
        What may compute the rest: those in which the file was found to answer as the trained model, best first.
    batch:
        Images a call, where the file takes no other number.
    resizes:
        Whether the graph resizes and crops in itself (``images`` of any one size), or takes images of
        ``preprocessing.size`` on both sides.
    task, classes, thresholds, costs:
        As in :class:`headstart.artifact.saved.ModelRecord`.
    temperature:
        Already applied to ``probabilities``.
    abstain:
        Confidence thresholds for some error rates, those that the evidence can bound.
    embedding:
        Width of the output ``embedding``.
    weights_sha256, model_sha256:
        Of the backbone's weights, and of the tensors of the saved model that was exported.
    warning:
        Why the answers may differ from the trained model's; ``None`` where they were compared.
    """

    schema: int
    headstart: str
    format: Format
    weights: Literal["f32", "int8"]
    precisions: tuple[Precision, ...]
    batch: int | None
    resizes: bool
    task: Literal["classification", "multilabel"]
    classes: tuple[str, ...]
    temperature: float
    thresholds: tuple[float, ...] | None
    abstain: tuple[Abstention, ...]
    embedding: int
    backbone: str
    strategy: str
    licence: str
    weights_sha256: str
    model_sha256: str
    preprocessing: Preprocessing
    warning: str | None
    costs: tuple[tuple[float, ...], ...] | None = None


def to_text(record: ExportRecord) -> str:
    """One line of JSON in ASCII, which every container can hold."""
    return json.dumps(records.to_plain(record), ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def from_text(text: str | bytes | None, where: str) -> ExportRecord:
    """Read and check a record.

    Raises
    ------
    ArtifactError
        If there is none, it is of a newer headstart, or it is not one that headstart has written.
    """
    if not text:
        raise ArtifactError(f"{where} was not exported by headstart: its metadata have no entry {KEY!r}")
    if len(text) > _MOST_TEXT:
        raise ArtifactError(f"{where}: its metadata are larger than any that headstart writes")
    try:
        plain = json.loads(text)
        schema = plain.get("schema") if isinstance(plain, dict) else None
        if isinstance(schema, int) and schema > SCHEMA:
            raise ArtifactError(f"{where} was written by a newer headstart (schema {schema}): pip install -U headstart")
        record = records.from_plain(ExportRecord, plain, where=where)
    except ArtifactError:
        raise
    except (ValueError, RecursionError, HeadstartError) as error:
        raise ArtifactError(f"{where}: its metadata are damaged ({error}); export the model again") from error
    if wrong := _fault(record):
        raise ArtifactError(f"{where}: its metadata are damaged ({wrong}); export the model again")
    return record


def _fault(record: ExportRecord) -> str | None:
    """What in a record can't be, or would ask for unreasonable memory."""
    if not 1 <= len(record.classes) <= _MOST_CLASSES:
        return f"{len(record.classes)} classes"
    if record.thresholds is not None and len(record.thresholds) != len(record.classes):
        return "not one threshold a class"
    if not all(map(math.isfinite, record.thresholds or ())):
        return "a threshold is not finite"
    if record.task == "classification" and min(record.thresholds or (1.0,)) <= 0:
        return "a threshold of exclusive classes is not positive"
    if record.costs is not None and not _can_decide(record):
        return "the costs are no matrix of the classes"
    if not all(math.isfinite(level.threshold) and 0 < level.max_error < 1 for level in record.abstain):
        return "an abstention threshold is out of range"
    if not 1 <= record.embedding <= _WIDEST or record.preprocessing.size > _LARGEST_SIDE:
        return "an embedding or an input of that size is unknown"
    if record.batch is not None and not 1 <= record.batch <= _LARGEST_BATCH:
        return f"a batch of {record.batch}"
    return None if record.precisions else "no precision"


def _can_decide(record: ExportRecord) -> bool:
    """Whether the costs are a row of finite numbers a class, one for each, of exclusive classes."""
    costs, classes = record.costs or (), len(record.classes)
    square = [len(row) for row in costs] == [classes] * classes
    return record.task == "classification" and square and all(math.isfinite(cost) for row in costs for cost in row)
