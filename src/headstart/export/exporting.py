"""Export a saved model: build the file aside, compare it with the model on real images, and only then keep it."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from headstart import records
from headstart.errors import MissingExtraError, OptionError, ParityError
from headstart.export import onnx_file, openvino_file
from headstart.export.onnx_network import onnx, onnx_network
from headstart.export.parity import Parity, Reference, compare, reference_of
from headstart.export.quantising import ENOUGH, check_calibration, quantised
from headstart.export.rows import FEWEST, Development, development_of
from headstart.export.source import Source
from headstart.features.engine import Say
from headstart.files import clear_storage_errors, replacing
from headstart.runs import find_run
from headstart.runtime import Model as ExportedModel
from headstart.runtime.onnx_session import OnnxSession
from headstart.runtime.openvino_session import OpenVinoSession, computes_bf16
from headstart.runtime.record import ExportRecord, Format, Precision

if TYPE_CHECKING:
    from onnx import ModelProto

FILES: dict[Format, str] = {"onnx": "model.onnx", "openvino": "model.xml", "pt2": "model.pt2"}
"""The file that each format writes; OpenVINO's weights lie beside it in ``model.bin``."""

UNCHECKED = "not compared with the trained model (--no-gate): it may answer differently"
_SCHEMA = 1
_SHOWN = 5


@dataclass(frozen=True)
class Exported:
    """``parity.json``: what was written, and how it compares.

    Attributes
    ----------
    file, size:
        Name of the file beside this record, and bytes of everything that was written with it.
    images, validation:
        Images that were compared, and how many of them are validation rows.
    warning:
        Why the answers may differ; ``None`` where they were compared.
    results:
        One a precision that the file may be computed in here, the kept ones first.
    """

    schema: int
    format: Format
    weights: str
    file: str
    size: int
    images: int
    validation: int
    warning: str | None
    results: tuple[Parity, ...]


def export(
    run: str | Path,
    format: Format,
    *,
    int8: bool = False,
    batch: int | None = None,
    gate: bool = True,
    data: str | Path | None = None,
    root: Path | None = None,
    say: Say = print,
) -> tuple[Path, Exported]:
    """Write a run's model as a file for another program.

    Parameters
    ----------
    run:
        A finished run folder.
    format:
        ``onnx``, ``openvino``, or ``pt2``, a program of :mod:`torch.export`.
    int8:
        Quantise weights and activations after training (Jacob et al. 2018), with training images as examples.
    batch:
        The one number of images that the file takes; any, where it is ``None``.
    gate:
        Compare the file with the model, and keep it only where both answer alike.
    data, root:
        Labelled images to compare with and quantise with instead of the run's own; as :func:`headstart.load` takes
        them.
    say:
        Called with a line for what a person should know.

    Returns
    -------
    tuple
        The folder that was written, ``RUN/export/FORMAT`` or ``RUN/export/FORMAT-int8``, and what is in its
        ``parity.json``.

    Raises
    ------
    ParityError
        If the file answers differently from the model; then nothing is written.
    OptionError
        If the format is unknown or has no such option.
    DataError
        If the images are gone, or too few to quantise with.
    MissingExtraError
        If a converter is not installed.
    """
    _check(format, int8, batch)
    found = find_run(run)
    source = Source.open(found.folder)
    development = None
    if gate or int8:
        development = development_of(found, source.saved.record.classes, None if data is None else Path(data), root)
    if int8 and development is not None:
        check_calibration(len(development.training))
    record = source.record(format, int8=int8, batch=batch)
    write = _writer(source, format, record, development if int8 else None)
    folder = found.path("export") / (f"{format}-int8" if int8 else format)
    with _aside(folder) as temporary:
        if gate and development is not None:
            reference = reference_of(source.in_float32(), development.to_compare())
            results = _examine(write, record, reference, temporary / "examined", say)
            kept = tuple(result.computed_in for result in results if result.passed)
            record, compared = replace(record, precisions=kept), reference.rows
            counts = len(compared), compared.validation
        else:
            record, results, counts = replace(record, warning=UNCHECKED), (), (0, 0)
        path = temporary / FILES[format]
        write(path, record)
        size = sum(file.stat().st_size for file in temporary.iterdir())
        written = Exported(_SCHEMA, format, record.weights, path.name, size, *counts, record.warning, results)
        (temporary / "parity.json").write_text(records.to_json(written))
    return folder, written


@contextlib.contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A folder that takes the place of ``folder`` where all goes well, and of which nothing is left where not."""
    try:
        with clear_storage_errors(folder), replacing(folder) as temporary:
            temporary.mkdir(parents=True)
            yield temporary
    except BaseException:
        with contextlib.suppress(OSError):  # other exports lie there
            folder.parent.rmdir()
        raise


Write = Callable[[Path, ExportRecord], None]


def _check(format: str, int8: bool, batch: int | None) -> None:
    if format not in get_args(Format):
        raise OptionError(f"unknown format {format!r}: known are {', '.join(get_args(Format))}")
    if int8 and format == "pt2":
        raise OptionError("pt2 is not quantised: --int8 goes with the formats onnx and openvino")
    if batch is not None and not 1 <= batch <= 4096:
        raise OptionError(f"a batch of {batch} images: give a number from 1 to 4096, or dynamic")


def _writer(source: Source, format: Format, record: ExportRecord, calibration: Development | None) -> Write:
    """Build the network once; what comes back writes it with any record."""
    views = None if calibration is None else calibration.views(ENOUGH, record.preprocessing)
    if format == "pt2":
        return _program_writer(source)
    if format == "onnx":
        network = _onnx_of(source)
        network = network if views is None else quantised(network, views)

        def write_onnx(path: Path, record: ExportRecord) -> None:
            onnx().save(onnx_file.whole_model(network, source.head, record), str(path))

        return write_onnx
    graph = source.trunk.graph()
    graph = graph if views is None else quantised(graph, views)
    model = openvino_file.whole_model(graph, source.head, record)
    return lambda path, record: openvino_file.write(model, record, path)


def _onnx_of(source: Source) -> ModelProto:
    """The trunk as ONNX: from the graph that defines it, or else by torch."""
    onnx()
    if source.trunk.backbone.graph_is_definition:
        return onnx_network(source.trunk.graph())
    from headstart.export.pytorch.programs import onnx_of

    return onnx_of(source.trunk)


def _program_writer(source: Source) -> Write:
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("exporting to pt2", "train")
    from headstart.export.pytorch.programs import write_program

    return lambda path, record: write_program(source.trunk, source.head, record, path)


def _examine(write: Write, record: ExportRecord, reference: Reference, folder: Path, say: Say) -> tuple[Parity, ...]:
    """Write the file, run it, and compare; raises :class:`ParityError` unless it answers as the model does.

    In float32 it must. Of OpenVINO's bf16, where this CPU has it, the file says whether it does.
    """
    if len(reference.rows) < FEWEST:
        say(f"compared on {len(reference.rows)} images only, {FEWEST} are wanted: bring more with --data")
    folder.mkdir()
    path = folder / FILES[record.format]
    write(path, replace(record, precisions=("f32",)))
    result = compare(_load(path, record.format, "f32"), reference)
    if not result.passed:
        raise ParityError(_refusal(record, result, len(reference.rows)))
    results = [result]
    if record.format == "openvino" and computes_bf16():
        lower = compare(_load(path, record.format, "bf16"), reference)
        if not lower.passed:
            say(f"not computed in bf16: {'; '.join(lower.faults)}")
        results.insert(0 if lower.passed else 1, lower)
    shutil.rmtree(folder)
    return tuple(results)


def _load(path: Path, format: Format, precision: Precision) -> ExportedModel:
    """The file as its users run it."""
    if format == "onnx":
        return ExportedModel(OnnxSession(path))
    if format == "openvino":
        return ExportedModel(OpenVinoSession(path, precision=precision))
    from headstart.export.pytorch.program_session import ProgramSession

    return ExportedModel(ProgramSession(path))


def _refusal(record: ExportRecord, result: Parity, images: int) -> str:
    worst = "; ".join(
        f"{one.file} by {one.difference:.2f} ({_said(one.artifact)} → {_said(one.exported)})"
        for one in result.worst[:_SHOWN]
    )
    return (
        f"the {record.format} file answers differently from the trained model on {images} images: "
        f"{'; '.join(result.faults)}. Nothing was written; --no-gate writes it with a warning\n"
        f"most different: {worst}"
    )


def _said(label: str | tuple[str, ...]) -> str:
    return label if isinstance(label, str) else "+".join(label) or "nothing"
