"""What is exported: a saved model as a network with a head, and the saved model itself in float32 to compare with."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart.artifact.model import Model, open_parts
from headstart.artifact.saved import SavedModel
from headstart.backbones.backbone import Segment
from headstart.errors import OptionError
from headstart.evaluation.abstention import fit_abstain
from headstart.features.extract import probe_trunk
from headstart.features.float32 import compile_float32
from headstart.runtime.record import SCHEMA, Abstention, ExportRecord, Format

ERROR_RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Rates for which an exported file has a threshold to abstain below, where the evidence bounds them."""


@dataclass(frozen=True, eq=False)
class Head:
    """The linear head, temperature included.

    ``weights`` float32 (D, C) and ``bias`` float32 (C,) give logits whose softmax (or sigmoid) is the calibrated
    probability; the standardisation of the features is folded in. ``outputs`` are the trunk's outputs that make up its
    D columns, in their order.
    """

    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    outputs: tuple[str, ...]
    exclusive: bool


@dataclass(frozen=True, eq=False)
class Source:
    """A saved model, taken apart for export.

    ``trunk`` is the frozen network with no more outputs than the head reads, the last of which is the embedding.
    """

    saved: SavedModel
    trunk: Segment
    head: Head

    @classmethod
    def open(cls, run: Path) -> Source:
        """Read a run folder or a model folder.

        Raises
        ------
        ArtifactError, RunError
            As :func:`headstart.artifact.model.open_model` does.
        OptionError
            If the model averages several networks: an exported file has one.
        """
        saved, (backbone, *others) = open_parts(run)
        if others:
            raise OptionError(
                f"{run}: the model averages {1 + len(others)} networks, and an exported file has one: fit again with "
                "--quality balanced to export a single network"
            )
        outputs = saved.record.outputs
        stages = tuple(n for n in range(1, len(backbone.stages)) if f"stage{n}" in outputs)
        scale = 1 / saved.record.temperature
        head = Head(
            (saved.head.weights * scale).astype(np.float32),
            (saved.head.bias * scale).astype(np.float32),
            outputs,
            saved.head.kind == "softmax",
        )
        return cls(saved, backbone.trunk(len(backbone.stages), pooled=stages), head)

    def in_float32(self) -> Model:
        """The saved model as :func:`headstart.open` gives it, but computed in float32 whatever the machine could do."""
        trunk = probe_trunk(self.trunk.backbone)
        if self.trunk.backbone.graph_is_definition:
            return Model(self.saved, compile_float32(trunk))
        from headstart.features.torch_engine import TorchTrunk

        return Model(self.saved, TorchTrunk(trunk, device="cpu"))

    def record(self, format: Format, *, int8: bool, batch: int | None) -> ExportRecord:
        """What goes into the file's metadata, before anything was compared."""
        saved = self.saved.record
        return ExportRecord(
            schema=SCHEMA,
            headstart=importlib.metadata.version("headstart"),
            format=format,
            weights="int8" if int8 else "f32",
            precisions=("f32",),
            batch=batch,
            resizes=format == "onnx",
            task="multilabel" if saved.task == "multilabel" else "classification",
            classes=saved.classes,
            temperature=saved.temperature,
            thresholds=saved.thresholds,
            abstain=self._abstentions(),
            embedding=self.trunk.outputs[-1].shape[0],
            backbone=saved.backbone,
            strategy=saved.strategy,
            licence=saved.licence,
            weights_sha256=self.trunk.backbone.weights_sha256,
            model_sha256=saved.tensors_sha256,
            preprocessing=saved.preprocessing,
            warning=None,
            costs=saved.costs,
        )

    def _abstentions(self) -> tuple[Abstention, ...]:
        evidence = self.saved.evidence
        rules = ((rate, fit_abstain(evidence.confidence, evidence.correct, rate)) for rate in ERROR_RATES)
        return tuple(Abstention(rate, rule.threshold) for rate, rule in rules if rule is not None)
