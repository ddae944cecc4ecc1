"""Transfer learning for computer vision: a folder of labelled images in, a measured classifier out.

The verbs: :func:`load` data, :func:`inspect` them, :func:`plan` and :func:`fit` a model, :func:`open` it. They are
imported when they are first used, so that ``import headstart`` costs nothing and never imports PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headstart.artifact.model import Model as Model
    from headstart.artifact.model import Prediction as Prediction
    from headstart.artifact.model import open_model as open
    from headstart.data import Dataset as Dataset
    from headstart.data import load as load
    from headstart.planning.fingerprint import inspect as inspect
    from headstart.planning.options import Options as Options
    from headstart.workflow import fit as fit
    from headstart.workflow import plan as plan

__version__ = "0.1.0"

_HOMES = {
    "Dataset": ("headstart.data", "Dataset"),
    "Model": ("headstart.artifact.model", "Model"),
    "Options": ("headstart.planning.options", "Options"),
    "Prediction": ("headstart.artifact.model", "Prediction"),
    "fit": ("headstart.workflow", "fit"),
    "inspect": ("headstart.planning.fingerprint", "inspect"),
    "load": ("headstart.data", "load"),
    "plan": ("headstart.workflow", "plan"),
    "open": ("headstart.artifact.model", "open_model"),
}
__all__ = ["Dataset", "Model", "Options", "Prediction", "fit", "inspect", "load", "open", "plan"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'headstart' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
