"""Import OpenVINO when it is first needed, with its telemetry switched off."""

from __future__ import annotations

import functools
import importlib
import sys
from types import ModuleType


@functools.cache
def openvino() -> ModuleType:
    """The ``openvino`` module.

    OpenVINO sends usage data through the package ``openvino_telemetry``, from a child process; where that package
    can't be imported, it falls back to a stub of its own that sends nothing. Marking the package as absent before
    OpenVINO asks for it is the one switch that needs no file in the user's home folder.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module("openvino")
