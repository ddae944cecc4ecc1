"""The restricted checkpoint reader: equal to torch's, and deaf to anything that is not a tensor."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from headstart.backbones._legacy_checkpoint import read_legacy_checkpoint
from headstart.errors import BackboneError

torch = pytest.importorskip("torch")


def _save(path: Path, state: object) -> Path:
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


def test_equals_torch_for_plain_strided_and_shared_tensors(tmp_path: Path) -> None:
    base = torch.randn(6, 4)
    state = {
        "plain": base,
        "transposed": base.t(),
        "slice": base[1:3],
        "half": torch.randn(3).half(),
        "count": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }
    found = read_legacy_checkpoint(_save(tmp_path / "w.pth", state))
    assert list(found) == list(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(found[name], tensor.numpy())


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_refuses_code_without_running_it(tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    path = _save(tmp_path / "evil.pth", {"w": torch.zeros(2), "x": _Touch(trap)})
    with pytest.raises(BackboneError, match=r"evil\.pth.*mkdir"):
        read_legacy_checkpoint(path)
    assert not trap.exists()


@pytest.mark.parametrize("keep", [0, 10, 200, -4])
def test_a_file_cut_short_is_named(tmp_path: Path, keep: int) -> None:
    path = _save(tmp_path / "cut.pth", {"w": torch.randn(100)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BackboneError, match=r"cut\.pth"):
        read_legacy_checkpoint(path)


def test_a_tensor_outside_its_storage_is_refused(tmp_path: Path) -> None:
    path = _save(tmp_path / "w.pth", {"w": torch.randn(7, 3)})
    # The shape (7, 3) is pickled as K\x07K\x03: claim more rows than the storage holds.
    path.write_bytes(path.read_bytes().replace(b"K\x07K\x03", b"K\x77K\x03"))
    with pytest.raises(BackboneError, match="storage"):
        read_legacy_checkpoint(path)


def test_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(pickle.dumps({"w": 1}))
    with pytest.raises(BackboneError, match="non-zip"):
        read_legacy_checkpoint(path)
