"""Checkpoints in any common container → tensors by name, loaded into a network only where every one of them fits."""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from headstart.errors import BackboneError

_WHOLE = (
    "model.safetensors",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
)
_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SUFFIXES = (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pth", ".pt", ".ckpt")
_UNFINISHED = (".incomplete", ".part", ".partial", ".crdownload", ".tmp")
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "teacher", "module", "network", "net")
_PREFIXES = ("module.", "model.", "backbone.", "network.", "_orig_mod.")
_MAX_INDEX_BYTES = 64 * 1024 * 1024
_MAX_HEADER_BYTES = 100_000_000  # as safetensors has it: a larger header is none
_SHOWN = 3
_PICKLED = b"\x80"
_CONVERT = (
    "load it where you trust it and save the tensors alone: "
    'safetensors.torch.save_file(model.state_dict(), "model.safetensors")'
)


def read_state(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint, on the CPU, by name.

    Parameters
    ----------
    path:
        A file (``.safetensors``, a shard index ``*.index.json``, or what ``torch.save`` wrote, zipped or in the
        older format), or a folder laid out as the hub does, which is searched for ``model.safetensors``, its
        shards, ``pytorch_model.bin`` and the only other weights file, in this order.

    Returns
    -------
    dict of str to Tensor
        Floating-point tensors of any width come as float32, others as they are. A dictionary wrapped in another
        (``{"state_dict": …}``, ``{"model": …}``, ``{"teacher": …}``) is taken out. Files are mapped into memory
        where their format allows, so that a checkpoint in float32 takes no memory of its own.

    Raises
    ------
    BackboneError
        If the file is missing, half-downloaded, a git-lfs pointer, or a pickle that needs code; if a shard is missing
        or lies outside the folder.
    """
    return _read_file(_weights_file(path) if path.is_dir() else path)


def load_strictly(
    network: nn.Module, state: Mapping[str, Tensor], where: str, *, classifiers: Sequence[str] = ()
) -> None:
    """Copy a checkpoint into a network, every tensor of both accounted for.

    A prefix that all names share (``module.``, ``model.``, ``backbone.``) is left out where more names fit without
    it. BatchNorm's ``num_batches_tracked`` may be missing, since nothing in eval mode reads it.

    Parameters
    ----------
    network:
        Float32; changed in place.
    state:
        From :func:`read_state`.
    where:
        The checkpoint's name, for messages.
    classifiers:
        Module paths of the network's classifiers. A backbone has no use for them: where the checkpoint has none or
        one for other classes, the network's are set to zero, so that equal checkpoints give equal weights.

    Raises
    ------
    BackboneError
        If tensors are missing, left over, of another shape, quantised, or not finite.
    """
    fitted = fit_to(network, state, classifiers)
    if misfit := describe_misfit(network, fitted):
        raise BackboneError(f"{where}: {misfit}")
    refuse_non_finite(fitted, where)
    named: OrderedDict[str, Tensor] = OrderedDict(fitted)
    # Old layouts are recognised by version numbers that only pickles carry; the names fit, so the layout is today's.
    named._metadata = network.state_dict()._metadata  # type: ignore[attr-defined]
    network.load_state_dict(named, strict=False)


def refuse_non_finite(state: Mapping[str, Tensor], where: str) -> None:
    """Raise :class:`BackboneError` where a tensor holds NaN or infinity, which no network was trained to."""
    for key, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BackboneError(f"{where}: {key} holds NaN or infinity; the file is damaged, fetch it again")


def fit_to(network: nn.Module, state: Mapping[str, Tensor], classifiers: Sequence[str]) -> dict[str, Tensor]:
    """The checkpoint without its common prefix, and with classifiers of the network's shape (zero where unknown)."""
    wanted = network.state_dict()
    fitted = _without_prefix(state, wanted)
    for path in classifiers:
        own = {key: tensor for key, tensor in wanted.items() if key.startswith(f"{path}.")}
        whole = all(key in fitted and fitted[key].shape == tensor.shape for key, tensor in own.items())
        head = {key: fitted[key] if whole else torch.zeros_like(tensor) for key, tensor in own.items()}
        fitted = {key: tensor for key, tensor in fitted.items() if not key.startswith(f"{path}.")} | head
    return fitted


def describe_misfit(network: nn.Module, state: Mapping[str, Tensor]) -> str:
    """What keeps a checkpoint from fitting a network, in one line; empty where it fits."""
    wanted = network.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in wanted]
    both = [key for key in wanted if key in state]
    shapes = [
        f"{key} {tuple(state[key].shape)} for {tuple(wanted[key].shape)}"
        for key in both
        if state[key].shape != wanted[key].shape
    ]
    coded = [
        f"{key} {str(state[key].dtype).removeprefix('torch.')}"
        for key in both
        if wanted[key].is_floating_point() and not state[key].is_floating_point()
    ]
    parts = [(missing, "tensors missing"), (unexpected, "unexpected"), (shapes, "of another shape")]
    counts = ", ".join(f"{len(keys)} {what} {_few(keys)}" for keys, what in parts if keys)
    if unexpected or shapes:
        return f"made for another architecture than this {type(network).__name__}: {counts}"
    if missing:
        return f"an incomplete checkpoint for this {type(network).__name__}: {counts}"
    return f"{len(coded)} tensors are quantised {_few(coded)}; use the checkpoint in float" if coded else ""


def _few(names: Sequence[str]) -> str:
    more = ", …" if len(names) > _SHOWN else ""
    return f"({', '.join(names[:_SHOWN])}{more})"


def _without_prefix(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The checkpoint with as many known prefixes left out as makes more of its names fit."""
    best = candidate = dict(state)
    while prefix := next((p for p in _PREFIXES if candidate and all(key.startswith(p) for key in candidate)), ""):
        candidate = {key.removeprefix(prefix): tensor for key, tensor in candidate.items()}
        if len(wanted.keys() & candidate.keys()) > len(wanted.keys() & best.keys()):
            best = candidate
    return best


def _weights_file(folder: Path) -> Path:
    """The weights of a folder."""
    order = (_WHOLE[0], _WHOLE[1], _INDICES[0], _WHOLE[2], _WHOLE[3], _INDICES[1])
    for name in order:
        if (folder / name).is_file():
            return folder / name
    others = sorted(path for path in folder.iterdir() if path.is_file() and path.name.endswith(_SUFFIXES))
    safe = [path for path in others if path.suffix == ".safetensors"]
    if len(safe or others) == 1:
        return (safe or others)[0]
    unfinished = next((path for path in sorted(folder.iterdir()) if path.suffix in _UNFINISHED), None)
    if unfinished is not None:
        raise BackboneError(f"{unfinished}: a download that did not finish; fetch the weights again")
    if others:
        names = ", ".join(path.name for path in others[:_SHOWN])
        raise BackboneError(f"{folder}: which weights? found {names}; name one model.safetensors")
    raise BackboneError(f"{folder / _WHOLE[0]} is missing; looked for {', '.join(order[1:])}, *.pth and *.pt as well")


def _read_file(path: Path) -> dict[str, Tensor]:
    if path.suffix in _UNFINISHED:
        raise BackboneError(f"{path}: a download that did not finish; fetch the weights again")
    if not path.is_file():
        raise BackboneError(f"{path} is missing: no such weights file")
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise BackboneError(f"{path}: a git-lfs pointer in place of the weights; run `git lfs pull` in its folder")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path, start)


def _read_shards(index: Path) -> dict[str, Tensor]:
    """All tensors of the shards that an index names, which must lie beside it."""
    places = _weight_map(index)
    for shard in sorted(set(places.values())):
        if Path(shard).name != shard or re.search(r"[\\/:]", shard) or shard in ("", ".", "..") or ".index." in shard:
            raise BackboneError(f"{index}: the shard {shard!r} is not the name of a file beside it; refused")
        if not (index.parent / shard).is_file():
            raise BackboneError(f"{index.parent / shard} is missing: {index.name} names it; fetch it as well")
    state: dict[str, Tensor] = {}
    for shard in sorted(set(places.values())):
        state |= _read_file(index.parent / shard)
    if missing := [key for key in places if key not in state]:
        raise BackboneError(f"{index}: {len(missing)} tensors that it names are in no shard {_few(missing)}")
    return state


def _weight_map(index: Path) -> dict[str, str]:
    """Tensor name → shard name."""
    try:
        if index.stat().st_size > _MAX_INDEX_BYTES:
            raise ValueError("it is too large")
        places = json.loads(index.read_bytes())["weight_map"]
        if not places or not all(isinstance(shard, str) for shard in places.values()):
            raise ValueError("weight_map must give a file name for each tensor")
        return dict(places)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BackboneError(f"{index}: not an index of shards ({error})") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return _widened(load_file(path), path)
    except (SafetensorError, OSError) as error:
        if unfinished := _unfinished_safetensors(path):
            raise BackboneError(f"{path}: {unfinished}; fetch it again") from error
        raise BackboneError(f"{path}: not a readable safetensors file ({_first_line(error)})") from error


def _unfinished_safetensors(path: Path) -> str:
    """How much of the file is there, where its own header says that more was meant to be."""
    size = path.stat().st_size
    with path.open("rb") as file, contextlib.suppress(struct.error, ValueError, KeyError, TypeError, RecursionError):
        if size < 8:
            return f"{size} bytes: the download did not finish"
        (length,) = struct.unpack("<Q", file.read(8))
        if length > _MAX_HEADER_BYTES:
            return ""
        if 8 + length > size:
            return f"{size:,} bytes, fewer than its header has: the download did not finish"
        header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        total = 8 + length + max(ends)
        return f"{size:,} of {total:,} bytes: the download did not finish" if total > size else ""
    return ""


def _read_pickle(path: Path, start: bytes) -> dict[str, Tensor]:
    """What ``torch.save`` wrote, by a reader that builds tensors and plain containers and runs nothing."""
    zipped = zipfile.is_zipfile(path)
    if start.startswith(b"PK") and not zipped:
        size = path.stat().st_size
        raise BackboneError(f"{path}: {size:,} bytes without the end of the archive: the download did not finish")
    if start and not zipped and not start.startswith(_PICKLED):
        raise BackboneError(f"{path}: not what torch.save writes (it starts with {start[:16]!r}); fetch it again")
    try:
        with _quiet():
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError, AttributeError) as error:
        raise BackboneError(f"{path}: {_unreadable(error)}") from error
    return _widened(_unwrapped(loaded, path), path)


def _unreadable(error: Exception) -> str:
    text = str(error)
    if "TorchScript" in text:
        return f"a TorchScript archive, which holds code: refused; {_CONVERT}"
    wanted = re.search(r"(?:GLOBAL|Unsupported class) (\S+)", text)
    if wanted is not None:
        return f"its pickle needs the code {wanted[1]}: refused; {_CONVERT}"
    if isinstance(error, EOFError) or "unexpected EOF" in text or "Ran out of input" in text:
        return "it ends too early: the download did not finish; fetch it again"
    if isinstance(error, pickle.UnpicklingError):
        return f"not a checkpoint of plain tensors: refused; {_CONVERT}"
    return f"not a readable checkpoint ({_first_line(error)})"


def _unwrapped(loaded: Any, path: Path, depth: int = 0) -> dict[str, Tensor]:
    """The innermost dictionary of tensors."""
    if isinstance(loaded, Mapping):
        tensors = {key: value for key, value in loaded.items() if isinstance(key, str) and isinstance(value, Tensor)}
        if tensors:
            return tensors
        inner = next((loaded[key] for key in _WRAPPERS if isinstance(loaded.get(key), Mapping)), None)
        if inner is not None and depth < len(_WRAPPERS):
            return _unwrapped(inner, path, depth + 1)
    found = f"its keys are {_few([str(key) for key in loaded])}" if isinstance(loaded, Mapping) else type(loaded)
    raise BackboneError(f"{path}: holds no tensors by name ({found}); save model.state_dict()")


def _widened(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Floats of any width as float32, replaced one by one so that both widths are never held in full."""
    for key, tensor in state.items():
        if tensor.is_quantized or tensor.layout != torch.strided:
            raise BackboneError(f"{path}: {key} is quantised or sparse; save the checkpoint in dense float32")
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            state[key] = tensor.float()
    return state


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own remark on TorchScript archives, which are refused here
        yield


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
