"""What a service is asked to serve, made ready: a run without an export gets one."""

from __future__ import annotations

from collections.abc import Callable

from headstart import runtime
from headstart.errors import ArtifactError
from headstart.runtime.loading import find
from headstart.serving.settings import ServedModel


def ready_to_serve(model: ServedModel, say: Callable[[str], None]) -> None:
    """See that a model can be loaded; a run that has no export is exported to OpenVINO, through the gate.

    Raises
    ------
    ArtifactError
        If it is neither a run nor an exported model, or damaged.
    ParityError, OptionError, DataError
        If the run can't be exported, as :func:`headstart.export.exporting.export` raises them.
    """
    try:
        find(model.path)
    except ArtifactError:
        if not (model.path / "run.json").is_file():
            raise
        from headstart.export.exporting import export  # here, because exported models are served without all it needs

        say(f"{model.name}: no export yet, writing {model.path / 'export' / 'openvino'}")
        export(model.path, "openvino", say=say)
    runtime.load(model.path)
