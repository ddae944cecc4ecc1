"""A checkpoint is whole or refused, belongs to one training, and executes nothing."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from headstart.errors import RunError
from headstart.training.finetuning.checkpoint import Checkpoints

IDENTITY = {"backbone": "bundled/tf_efficientnet_lite0", "training rows": "aa", "rate": "0.001"}
STATE: dict[str, Any] = {
    "model": {"weight": torch.arange(6.0).reshape(2, 3)},
    "history": [{"epoch": 0, "train_loss": float("inf")}],
    "place": [1, 2, 3],
    "average": None,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.pt"


def test_what_is_saved_is_loaded_and_the_last_one_counts(path: Path) -> None:
    checkpoints = Checkpoints(path, IDENTITY)
    assert checkpoints.load() is None
    checkpoints.save({**STATE, "place": [0, 0, 0]})
    checkpoints.save(STATE)
    found = Checkpoints(path, dict(IDENTITY)).load()
    assert found is not None
    assert torch.equal(found.pop("model")["weight"], STATE["model"]["weight"])
    assert found == {key: value for key, value in STATE.items() if key != "model"}
    assert list(path.parent.iterdir()) == [path]


def test_every_shortened_file_is_refused_with_its_name_in_one_line(path: Path) -> None:
    checkpoints = Checkpoints(path, IDENTITY)
    checkpoints.save(STATE)
    whole = path.read_bytes()
    for length in {0, 1, 3, 4, 30, *range(0, len(whole), 41), len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(RunError, match="cut short or damaged") as found:
            checkpoints.load()
        assert str(path) in str(found.value)
        assert "\n" not in str(found.value)
        assert len(str(found.value)) < len(str(path)) + 300


@pytest.mark.parametrize("content", [b"\0" * 2000, b"PK\3\4" + b"x" * 500, b"{}", pickle.dumps([1, 2]), b"\x80\x02."])
def test_other_files_are_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(RunError, match=re.escape(str(path))):
        Checkpoints(path, IDENTITY).load()


@pytest.mark.parametrize("content", [[1, 2], {"version": 1}, {"version": 99, "identity": {}, "state": {}}, "text"])
def test_what_torch_reads_but_is_no_checkpoint_is_refused(path: Path, content: Any) -> None:
    torch.save(content, path)
    with pytest.raises(RunError, match="another version"):
        Checkpoints(path, IDENTITY).load()


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.sign),)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_the_file_is_executed(path: Path, tmp_path: Path, zipped: bool) -> None:
    bomb = Bomb(tmp_path / "exploded")
    content = {"version": 1, "identity": IDENTITY, "state": {"model": bomb}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(RunError, match="damaged") as found:
        Checkpoints(path, IDENTITY).load()
    assert "\n" not in str(found.value)
    assert not bomb.sign.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rate": "0.01"}, ["its rate is '0.001', here it is '0.01'"]),
        ({"training rows": "bb", "rate": "1"}, ["training rows is 'aa'", "here it is 'bb'", "its rate is"]),
        ({"backbone": "timm/resnet18"}, ["bundled/tf_efficientnet_lite0", "timm/resnet18"]),
        ({"engine": "torch"}, ["its engine is None, here it is 'torch'"]),
    ],
)
def test_the_state_of_another_training_is_refused_with_every_difference(
    path: Path, change: dict[str, str], said: list[str]
) -> None:
    Checkpoints(path, IDENTITY).save(STATE)
    with pytest.raises(RunError, match=r"another training") as found:
        Checkpoints(path, {**IDENTITY, **change}).load()
    assert all(part in str(found.value) for part in said)
    with pytest.raises(RunError, match=r"its rate is '0.001', here it is None"):
        Checkpoints(path, {name: value for name, value in IDENTITY.items() if name != "rate"}).load()
