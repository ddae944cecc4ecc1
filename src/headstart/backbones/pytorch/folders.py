"""Folders laid out as the hub does, of any library: ``file/DIR``."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import cast

from headstart.backbones.hub_folders import library_of
from headstart.backbones.pytorch.network import LoadedNetwork
from headstart.errors import BackboneError, MissingExtraError

_EXTRAS = {"timm": "train", "torchvision": "train", "open_clip": "open-clip", "transformers": "transformers"}


def load(folder: str, *, size: int | None = None) -> LoadedNetwork:
    """The network ``file/<folder>``; see :func:`load_folder`."""
    return load_folder(Path(folder), size=size)


def load_folder(folder: Path, *, size: int | None = None) -> LoadedNetwork:
    """The network of a folder that holds a configuration beside its weights.

    ``config.json`` names timm's or torchvision's architecture (``"library": "torchvision"``, timm's where it is not
    said) or is that of a transformers model; ``open_clip_config.json`` is that of an open_clip model.

    Parameters
    ----------
    folder:
        Its absolute path goes into the network's name.
    size:
        Side of the input in pixels, where another than the weights' own is wanted.

    Raises
    ------
    BackboneError
        If the folder or a file is missing or damaged, its library or architecture is unknown, or tensors don't fit.
    MissingExtraError
        If its library is not installed.
    OptionError
        If the architecture can't take the size.
    """
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise BackboneError(f"file/{folder}: no such folder; it must hold config.json and the weights")
    library = library_of(folder)
    if importlib.util.find_spec(library) is None:
        raise MissingExtraError(f"file/{folder}", _EXTRAS[library])
    loader = importlib.import_module(f"headstart.backbones.pytorch.from_{library}")
    return cast(LoadedNetwork, loader.load_folder(folder, size=size))
