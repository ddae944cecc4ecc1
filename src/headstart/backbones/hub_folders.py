"""Folders laid out as the hub does: where local ones lie, what their configuration and model card say."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from headstart.backbones.licences import UNKNOWN, normalise
from headstart.errors import BackboneError

CONFIGURATIONS = ("config.json", "open_clip_config.json")
_MAX_CONFIG_BYTES = 1024 * 1024
_MAX_CARD_BYTES = 4096


def weights_root() -> Path | None:
    """The folder of local weights that ``HEADSTART_WEIGHTS`` names, if it does."""
    root = os.environ.get("HEADSTART_WEIGHTS")
    return Path(root).expanduser() if root else None


def local_folder(provider: str, model: str) -> Path | None:
    """The folder of ``provider/model`` in ``HEADSTART_WEIGHTS``, if there is one.

    ``$HEADSTART_WEIGHTS/provider/model`` comes before ``$HEADSTART_WEIGHTS/model``; the latter counts only where its
    configuration is one of this provider, since two providers may use one name.

    Raises
    ------
    BackboneError
        If the model's name has ``..`` in it, or the configuration can't be read.
    """
    root = weights_root()
    if root is None:
        return None
    if ".." in Path(model).parts or Path(model).is_absolute():
        raise BackboneError(f"{provider}/{model}: the name leaves the folder of local weights; refused")
    own, plain = root / provider / model, root / model
    if any((own / name).is_file() for name in CONFIGURATIONS):
        return own
    if any((plain / name).is_file() for name in CONFIGURATIONS) and library_of(plain) == provider:
        return plain
    return None


def read_config(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The configuration of a folder and the path it was read from; ``open_clip_config.json`` comes first.

    Raises
    ------
    BackboneError
        If there is none, it is larger than a megabyte, or not a JSON object.
    """
    path = next((folder / name for name in reversed(CONFIGURATIONS) if (folder / name).is_file()), None)
    if path is None:
        raise BackboneError(
            f"{folder / CONFIGURATIONS[0]} is missing: it must name the architecture beside the weights"
        )
    return path, read_object(path)


def read_object(path: Path) -> dict[str, Any]:
    """A small file that holds one JSON object; raises :class:`BackboneError` where it does not."""
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise ValueError(f"larger than {_MAX_CONFIG_BYTES // 1024} KiB")
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BackboneError(f"{path}: not a readable configuration ({error})") from error
    if not isinstance(config, dict):
        raise BackboneError(f"{path}: not a configuration (it must hold one JSON object)")
    return config


def library_of(folder: Path) -> str:
    """Which provider builds the network of a folder: what ``library`` says, or what the other keys are typical of.

    Raises
    ------
    BackboneError
        If the configuration is missing, unreadable, or of no library that headstart knows.
    """
    path, config = read_config(folder)
    known = ("timm", "torchvision", "open_clip", "transformers")
    named = config.get("library")
    if named is not None:
        if named not in known:
            raise BackboneError(f"{path}: library {named!r} is none of {', '.join(known)}")
        return str(named)
    if "model_cfg" in config:
        return "open_clip"
    if "model_type" in config or "architectures" in config:
        return "transformers"
    if "architecture" in config:
        return "timm"
    raise BackboneError(f"{path}: not a configuration of {', '.join(known)}: it has no key that names an architecture")


def card_licence(folder: Path) -> str:
    """The licence that the model card (``README.md``) of a folder declares in its header, or ``"unknown"``."""
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as file:
            head = file.read(_MAX_CARD_BYTES)
    except OSError:
        return UNKNOWN
    header = re.match(r"---\n(.*?)\n---", head, flags=re.DOTALL)
    if header is None:
        return UNKNOWN
    named = {
        key: value.strip(" '\"") for key, value in re.findall(r"^(license|license_name):[ ]*(\S+)", header[1], re.M)
    }
    licence = named.get("license")
    return normalise(named.get("license_name") if licence == "other" else licence)
