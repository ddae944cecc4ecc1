"""Read tensors, and nothing else, from a checkpoint in PyTorch's older, non-zip format, without PyTorch.

The file is a row of pickles (a magic number, a protocol version, facts about the writing machine, the object, the
storage keys) followed by the raw storages. A pickle can name any function to be called, so the reader here resolves
exactly the names that a plain ``state_dict`` needs and refuses every other, as ``torch.load(weights_only=True)`` does.
"""

from __future__ import annotations

import math
import pickle
import struct
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from headstart.errors import BackboneError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}


@dataclass(frozen=True)
class _StorageType:
    dtype: str


@dataclass
class _Storage:
    """Memory that tensors are views of; filled after the object's pickle has been read."""

    dtype: str
    size: int
    data: npt.NDArray[Any] | None = None


@dataclass(frozen=True)
class _TensorView:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def to_array(self) -> npt.NDArray[Any]:
        assert self.storage.data is not None
        if len(self.shape) != len(self.stride) or min(self.offset, *self.shape, *self.stride, 0) < 0:
            raise ValueError("a tensor has impossible dimensions")
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        if math.prod(self.shape) and last >= self.storage.size:
            raise ValueError("a tensor lies outside its storage")
        strides = tuple(step * self.storage.data.itemsize for step in self.stride)
        view = np.lib.stride_tricks.as_strided(self.storage.data[self.offset :], self.shape, strides, writeable=False)
        if view.size > self.storage.size:
            raise ValueError("a tensor is larger than its storage")
        return np.ascontiguousarray(view)


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: Sequence[int], stride: Sequence[int], *_: object
) -> _TensorView:
    return _TensorView(storage, int(offset), tuple(shape), tuple(stride))


class _TensorUnpickler(pickle.Unpickler):
    """Resolves the names of a plain state dict and refuses every other."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _DTYPES:
            return _StorageType(_DTYPES[name])
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is not a tensor")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _location, size, view = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType) or view is not None:
            raise pickle.UnpicklingError("it refers to something that is not a tensor's storage")
        return self.storages.setdefault(str(key), _Storage(storage_type.dtype, int(size)))


def read_legacy_checkpoint(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a ``state_dict`` saved in PyTorch's non-zip format, by name, in the order of the file.

    Raises
    ------
    BackboneError
        If the file is cut short, of another format, or holds anything that is not a tensor. No code of the file runs.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except (pickle.UnpicklingError, ValueError, TypeError, EOFError, KeyError, struct.error, AttributeError) as error:
        raise BackboneError(f"{path}: not a readable checkpoint of tensors ({error}); reinstall its package") from error


def _read(file: BinaryIO) -> dict[str, npt.NDArray[Any]]:
    if _TensorUnpickler(file).load() != _MAGIC or _TensorUnpickler(file).load() != _PROTOCOL:
        raise ValueError("not in PyTorch's non-zip format")
    if not _TensorUnpickler(file).load().get("little_endian", False):
        raise ValueError("written on a big-endian machine")
    unpickler = _TensorUnpickler(file)
    state = unpickler.load()
    for key in _TensorUnpickler(file).load():
        _fill(unpickler.storages[key], file)
    return {str(name): view.to_array() for name, view in state.items() if isinstance(view, _TensorView)}


def _fill(storage: _Storage, file: BinaryIO) -> None:
    (size,) = struct.unpack("<q", file.read(8))
    if size != storage.size:
        raise ValueError("a storage has another size than announced")
    dtype = np.dtype(storage.dtype)
    raw = file.read(size * dtype.itemsize)
    if len(raw) != size * dtype.itemsize:
        raise EOFError("the file is cut short")
    storage.data = np.frombuffer(raw, dtype)
