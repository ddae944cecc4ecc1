"""What a saved model holds, how it is written whole or not at all, and how it is read and verified."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart import files, records
from headstart.errors import ArtifactError, RecordError
from headstart.evaluation.abstention import AbstainRule
from headstart.evaluation.operating_points import OperatingPoint
from headstart.features.engine import EngineIdentity
from headstart.imaging import Preprocessing
from headstart.training.linear import LinearModel
from headstart.training.novelty import NoveltyReference

FORMAT = 2
_HASH_BYTES = 16
_TENSORS, _RECORD = "model.safetensors", "model.json"
_TUNED = "backbone."


@dataclass(frozen=True)
class MemberRecord:
    """One more network that a model averages its probabilities with.

    Attributes
    ----------
    weight:
        Of its probabilities, above 0; the model's own network has what is left of 1.
    strategy, cut, outputs, temperature, engine:
        As of :class:`ModelRecord`.
    """

    weight: float
    strategy: str
    cut: int
    outputs: tuple[str, ...]
    temperature: float
    engine: EngineIdentity


@dataclass(frozen=True)
class ModelRecord:
    """``model.json``: everything about a model but its tensors.

    Attributes
    ----------
    format:
        Version of the layout; a reader refuses newer ones.
    outputs:
        The outputs of ``trunk(cut)`` that the head reads, in order.
    temperature:
        Logits are divided by it; fitted on rows that the models had not seen (Guo et al. 2017).
    thresholds:
        One a class, or ``None``. Multi-label models: a label is predicted where its probability reaches it. Exclusive
        classes that were balanced in training: positive; the class of the largest probability over threshold is named.
    abstain:
        Where to abstain for a wished error rate, if any threshold bounds it.
    novelty_threshold, novelty_neighbour, novelty_quantile:
        Images with a higher novelty score are likely none of the classes; see
        :class:`headstart.training.novelty.NoveltyReference`.
    engine:
        What computed the features that the head was fitted on.
    costs:
        What deciding for each class (column) costs where each is true (row), C rows of C; the decision of least
        expected cost is taken, in place of thresholds. ``None`` where mistakes are not weighed.
    points:
        Thresholds that hold sensitivity or specificity on rows that the models had not seen, of two classes or labels.
    members:
        Further networks on the same backbone, whose probabilities are averaged with this one's; mostly none.
    tensors_sha256:
        Of ``model.safetensors``.
    """

    format: int
    headstart: str
    task: str
    strategy: str
    metric: str
    backbone: str
    weights_sha256: str
    licence: str
    preprocessing: Preprocessing
    stages: int
    cut: int
    outputs: tuple[str, ...]
    classes: tuple[str, ...]
    temperature: float
    thresholds: tuple[float, ...] | None
    abstain: AbstainRule | None
    novelty_threshold: float
    novelty_neighbour: int
    novelty_quantile: float
    engine: EngineIdentity
    versions: dict[str, str]
    seed: int
    members: tuple[MemberRecord, ...] = ()
    costs: tuple[tuple[float, ...], ...] | None = None
    points: tuple[OperatingPoint, ...] = ()
    tensors_sha256: str = ""


@dataclass(frozen=True)
class Evidence:
    """How sure and how right the models were on development rows that they had not seen.

    ``confidence`` float64 (n,), ``correct`` bool (n,): what an abstention threshold for any error rate is fitted on.
    ``fitted_on`` uint8 (m, 16): the first half of the SHA-256 of each image that shaped the model, so that a score on
    one of them is noticed.
    """

    confidence: npt.NDArray[np.float64]
    correct: npt.NDArray[np.bool_]
    fitted_on: npt.NDArray[np.uint8]

    def count_fitted(self, hashes: Sequence[str]) -> int:
        """How many images with these SHA-256 (hexadecimal) the model was fitted on."""
        known = {row.tobytes() for row in self.fitted_on}
        return sum(bytes.fromhex(digest)[:_HASH_BYTES] in known for digest in hashes)


def image_marks(hashes: Sequence[str]) -> npt.NDArray[np.uint8]:
    """What :attr:`Evidence.fitted_on` holds for images with these SHA-256: uint8 (n, 16)."""
    data = b"".join(bytes.fromhex(digest)[:_HASH_BYTES] for digest in hashes)
    return np.frombuffer(data, np.uint8).reshape(-1, _HASH_BYTES)


@dataclass(frozen=True)
class Member:
    """The tensors of a further network: its head, and the weights of the backbone that fine-tuning changed."""

    head: LinearModel
    tuned: Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class SavedModel:
    """A model in memory: its record, its linear head, its novelty reference and its evidence.

    ``tuned`` holds the weights of the backbone that fine-tuning changed, by the network's own names; it is empty where
    the whole backbone stayed frozen. ``members`` are in the order of the record's.
    """

    record: ModelRecord
    head: LinearModel
    novelty: NoveltyReference
    evidence: Evidence
    tuned: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    members: tuple[Member, ...] = ()


def write_model(folder: Path, model: SavedModel) -> ModelRecord:
    """Write a model folder at once: a killed process leaves the old one, or none, never half of one.

    Returns the record with the tensors' hash filled in.

    Raises
    ------
    StorageError
        If the disk is full or the place can't be written.
    """
    from safetensors.numpy import save

    tensors = save(
        {
            **_tensors_of(model.head, model.tuned),
            "novelty.features": np.ascontiguousarray(model.novelty.features),
            "evidence.confidence": np.ascontiguousarray(model.evidence.confidence),
            "evidence.correct": np.ascontiguousarray(model.evidence.correct),
            "evidence.fitted_on": np.ascontiguousarray(model.evidence.fitted_on),
            **{
                f"{_prefix(number)}{name}": values
                for number, member in enumerate(model.members)
                for name, values in _tensors_of(member.head, member.tuned).items()
            },
        },
        {"format": str(FORMAT)},
    )
    record = dataclasses.replace(model.record, tensors_sha256=files.sha256(tensors))
    with files.clear_storage_errors(folder), files.replacing(folder) as temporary:
        temporary.mkdir(parents=True)
        (temporary / _TENSORS).write_bytes(tensors)
        (temporary / _RECORD).write_text(_sealed(record))
    return record


def read_model(folder: Path) -> SavedModel:
    """Read and verify a model folder. Nothing in it is executed.

    Raises
    ------
    ArtifactError
        If a file is missing, a hash is wrong, the format is newer than this version of headstart, or the parts
        don't fit each other.
    """
    record = _read_record(folder / _RECORD)
    tensors = _read_tensors(folder / _TENSORS, record.tensors_sha256)
    try:
        head, tuned = _head_and_tuned(tensors, "", record, folder)
        members = tuple(
            Member(*_head_and_tuned(tensors, _prefix(number), record, folder)) for number in range(len(record.members))
        )
        novelty = NoveltyReference(
            tensors["novelty.features"], record.novelty_threshold, record.novelty_neighbour, record.novelty_quantile
        )
        evidence = Evidence(tensors["evidence.confidence"], tensors["evidence.correct"], tensors["evidence.fitted_on"])
    except KeyError as error:
        raise ArtifactError(f"{folder}: the tensor {error} is missing; save the model again") from error
    _check_thresholds(folder, record)
    _check_costs(folder, record)
    _check_weights(folder, record)
    return SavedModel(record, head, novelty, evidence, tuned, members)


def _prefix(number: int) -> str:
    """What the names of a member's tensors begin with."""
    return f"member.{number}."


def _tensors_of(head: LinearModel, tuned: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, npt.NDArray[Any]]:
    return {
        "head.weights": np.ascontiguousarray(head.weights),
        "head.bias": np.ascontiguousarray(head.bias),
        **{f"{_TUNED}{name}": np.ascontiguousarray(values) for name, values in tuned.items()},
    }


def _head_and_tuned(
    tensors: Mapping[str, npt.NDArray[Any]], prefix: str, record: ModelRecord, folder: Path
) -> tuple[LinearModel, dict[str, npt.NDArray[np.float32]]]:
    """The head and the tuned weights of one network; the way back from :func:`_tensors_of`."""
    head = LinearModel(tensors[f"{prefix}head.weights"], tensors[f"{prefix}head.bias"], _kind(record.task))
    if head.weights.shape[1:] != (len(record.classes),) or head.bias.shape != (len(record.classes),):
        raise ArtifactError(f"{folder}: the head has not one column a class; save the model again")
    start = prefix + _TUNED
    return head, {name.removeprefix(start): values for name, values in tensors.items() if name.startswith(start)}


def _check_weights(folder: Path, record: ModelRecord) -> None:
    """Raise :class:`ArtifactError` unless the members' weights are shares that leave the first network one too."""
    weights = [member.weight for member in record.members]
    if weights and not (min(weights) > 0 and sum(weights) < 1):
        raise ArtifactError(f"{folder}: the weights of its networks, {weights}, are no shares; save the model again")


def _check_costs(folder: Path, record: ModelRecord) -> None:
    """Raise :class:`ArtifactError` unless the costs are a matrix that can decide, and the points are of its classes."""
    classes = len(record.classes)
    if record.costs is not None and not (
        _kind(record.task) == "softmax"
        and [len(row) for row in record.costs] == [classes] * classes
        and all(math.isfinite(cost) for row in record.costs for cost in row)
    ):
        raise ArtifactError(f"{folder}: the costs are not {classes} rows of {classes} numbers; save the model again")
    if any(point.positive not in record.classes or not math.isfinite(point.threshold) for point in record.points):
        raise ArtifactError(f"{folder}: an operating point is of no class of the model; save the model again")


def _check_thresholds(folder: Path, record: ModelRecord) -> None:
    """Raise :class:`ArtifactError` unless the thresholds can decide between the classes."""
    found = record.thresholds
    if found is None:
        return
    if len(found) != len(record.classes) or not all(map(math.isfinite, found)):
        raise ArtifactError(f"{folder}: the thresholds are not one number a class; save the model again")
    if _kind(record.task) == "softmax" and min(found) <= 0:
        raise ArtifactError(f"{folder}: a threshold is {min(found)}, but exclusive classes need positive ones")


def _sealed(record: ModelRecord) -> str:
    """The record's JSON with a hash of itself as its last field."""
    plain = records.to_plain(record)
    return records.to_json({**plain, "sha256": _digest(plain)})


def _digest(plain: dict[str, Any]) -> str:
    return files.sha256(json.dumps(plain, sort_keys=True, ensure_ascii=False).encode())


def _read_record(path: Path) -> ModelRecord:
    try:
        plain = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing: {path.parent} is not a saved model") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} can't be read ({error}); save the model again") from error
    if not isinstance(plain, dict) or not isinstance(plain.get("format"), int):
        raise ArtifactError(f"{path} is not the record of a saved model")
    if plain["format"] > FORMAT:
        raise ArtifactError(
            f"{path} has format {plain['format']}, this headstart reads up to {FORMAT}: pip install -U headstart"
        )
    if plain.pop("sha256", None) != _digest(plain):
        raise ArtifactError(f"{path} was altered after it was saved (its hash is wrong); save the model again")
    try:
        return records.from_plain(ModelRecord, plain, where=str(path))
    except RecordError as error:
        raise ArtifactError(str(error)) from error


def _read_tensors(path: Path, sha256: str) -> dict[str, npt.NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing; save the model again") from error
    except OSError as error:
        raise ArtifactError(f"{path} can't be read ({error})") from error
    if files.sha256(data) != sha256:
        raise ArtifactError(f"{path} was altered after it was saved (its hash is wrong); save the model again")
    try:
        return dict(load(data))
    except SafetensorError as error:
        raise ArtifactError(f"{path} is not a safetensors file ({error})") from error


def _kind(task: str) -> Any:
    from headstart.tasks import TASKS

    if task not in TASKS:
        raise ArtifactError(f"unknown task {task!r} in a saved model")
    return TASKS[task].kind
