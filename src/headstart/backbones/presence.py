"""Whether the weights of a catalogue entry are on this machine: a look at folders, without PyTorch and the network."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from headstart.backbones.entries import Entry, entries
from headstart.backbones.hub_folders import library_of, local_folder, read_config, weights_root
from headstart.backbones.licences import normalise
from headstart.errors import BackboneError

# What each provider reads from a repository. One of timm's can hold open_clip's file of the same network besides.
_CHECKPOINT = r"(model|pytorch_model)(-(?P<part>\d+)-of-(?P<parts>\d+))?\.(safetensors|bin)"
_FILES = {
    "timm": re.compile(_CHECKPOINT),
    "transformers": re.compile(_CHECKPOINT),
    "open_clip": re.compile(rf"open_clip_{_CHECKPOINT}|pytorch_model\.bin"),
}
_ANY_CHECKPOINT = re.compile(r".+\.(safetensors|bin|pth|pt)")
_PACKAGES = {"timm": "timm", "torchvision": "torchvision", "open_clip": "open_clip", "transformers": "transformers"}


@dataclass(frozen=True)
class _Caches:
    """The places where weights lie, and the names of what is in each, listed once."""

    hub: Path
    repositories: frozenset[str]
    checkpoints: frozenset[str]
    local: frozenset[str]


def is_here(entry: Entry) -> bool:
    """Whether its weights are complete on this machine; what reads them may still have to be installed."""
    return entry.name in names_here((entry,))


def names_here(found: Iterable[Entry]) -> frozenset[str]:
    """The names of those entries whose weights are on this machine.

    They are looked for where the providers look: in a folder below ``HEADSTART_WEIGHTS``; for ``bundled`` in the
    installed packages; for repositories of the hub in its cache (``HF_HUB_CACHE``, ``HF_HOME``), where a download that
    was broken off doesn't count; and for single files in the cache of PyTorch's hub (``TORCH_HOME``).
    """
    caches = _Caches(_hub_cache(), _names_in(_hub_cache()), _checkpoints(), _local_names())
    return frozenset(entry.name for entry in found if _is_in(entry, caches))


def local_entries() -> tuple[Entry, ...]:
    """Folders directly below ``HEADSTART_WEIGHTS`` or a provider's folder in it that the catalogue doesn't list.

    Each has the facts of a listed entry with the same architecture, but for licence, data and accuracy. A folder
    whose architecture isn't listed, or whose configuration can't be read, is left out.
    """
    root = weights_root()
    if root is None:
        return ()
    folders = [root / name for name in sorted(_names_in(root) - set(_PACKAGES))]
    folders += [root / provider / name for provider in _PACKAGES for name in sorted(_names_in(root / provider))]
    listed = {entry.name: entry for entry in entries()}
    made = (_local_entry(folder, listed) for folder in folders)
    return tuple(entry for entry in made if entry is not None and entry.name not in listed)


def missing_extra(entry: Entry) -> str | None:
    """The extra that it needs and that isn't installed, if any."""
    if entry.extra is None:
        return None
    needs = ("torch", _PACKAGES[entry.provider]) if entry.provider in _PACKAGES else (entry.weights,)
    return entry.extra if any(importlib.util.find_spec(package) is None for package in needs) else None


def _is_in(entry: Entry, caches: _Caches) -> bool:
    model = entry.name.partition("/")[2]
    if model.partition("/")[0] in caches.local and _has_local_weights(entry.provider, model):
        return True
    if entry.provider == "bundled":
        return importlib.util.find_spec(entry.weights) is not None
    if "/" not in entry.weights:
        return entry.weights in caches.checkpoints
    repository = f"models--{entry.weights.replace('/', '--')}"
    return repository in caches.repositories and _has_snapshot(caches.hub / repository, _FILES[entry.provider])


def _has_snapshot(repository: Path, wanted: re.Pattern[str]) -> bool:
    """Whether a snapshot has the weights: a file gets its name there only once it has been fetched whole."""
    snapshots = repository / "snapshots"
    return any(_has_weights(snapshots / revision, wanted) for revision in _names_in(snapshots))


def _has_weights(folder: Path, wanted: re.Pattern[str]) -> bool:
    """Whether there is a whole checkpoint: one file, or every part of one."""
    found = [match for name in _names_in(folder) if (match := wanted.fullmatch(name)) and (folder / name).is_file()]
    parts = [match for match in found if match.groupdict().get("parts")]
    return len(parts) < len(found) or bool(parts and len(parts) >= int(parts[0]["parts"]))


def _has_local_weights(provider: str, model: str) -> bool:
    try:
        folder = local_folder(provider, model)
    except BackboneError:
        return False
    return folder is not None and _has_weights(folder, _ANY_CHECKPOINT)


def _local_entry(folder: Path, listed: dict[str, Entry]) -> Entry | None:
    try:
        provider, (_, config) = library_of(folder), read_config(folder)
    except BackboneError:
        return None
    model = f"{provider}/{config.get('architecture')}"
    kin = next((entry for name, entry in listed.items() if name == model or name.startswith(f"{model}.")), None)
    name = f"{provider}/{folder.name}"
    if kin is None or not _has_local_weights(provider, folder.name):
        return None
    declared = config.get("pretrained_cfg")
    facts = declared if isinstance(declared, dict) else {}
    shape = facts.get("input_size")
    size = shape[-1] if isinstance(shape, list) and shape and isinstance(shape[-1], int) else kin.size
    return replace(
        kin,
        name=name,
        macs=kin.macs if size == kin.size else None,
        size=size,
        source="unknown",
        domain="unknown",
        licence=normalise(facts.get("license")),
        top1=None,
        weights=str(folder),
    )


def _names_in(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


def _local_names() -> frozenset[str]:
    """The names below ``HEADSTART_WEIGHTS`` that a model's can begin with, so that only these are looked at."""
    root = weights_root()
    if root is None:
        return frozenset()
    return _names_in(root).union(*(_names_in(root / provider) for provider in _PACKAGES))


def _checkpoints() -> frozenset[str]:
    """The files that torchvision takes: in the cache of PyTorch's hub, or as they are below ``HEADSTART_WEIGHTS``."""
    home = os.environ.get("TORCH_HOME") or _cache_home() / "torch"
    root = weights_root()
    local = _names_in(root) | _names_in(root / "torchvision") if root is not None else frozenset()
    return local | _names_in(Path(home).expanduser() / "hub" / "checkpoints")


def _hub_cache() -> Path:
    """Where the hub's client keeps repositories, by its own variables."""
    if chosen := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(chosen).expanduser()
    home = os.environ.get("HF_HOME") or _cache_home() / "huggingface"
    return Path(home).expanduser() / "hub"


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
