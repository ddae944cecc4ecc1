"""The torch provider: folders and caches laid out as the hub does, strict loading, frozen modules, offline mode."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.backbones.catalogue import find_backbone
from headstart.errors import BackboneError, MissingExtraError, OfflineError
from headstart.features.parity import photographs

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

SMALL = {"input_size": [3, 64, 64], "interpolation": "bicubic", "crop_pct": 0.9, "mean": [0.5] * 3, "std": [0.25] * 3}


def _folder(path: Path, architecture: str = "resnet10t", **config: Any) -> Path:
    """A randomly initialised timm network, saved as the hub lays it out."""
    from safetensors.torch import save_file

    path.mkdir(parents=True)
    torch.manual_seed(0)
    network = timm.create_model(architecture, num_classes=5)
    save_file(network.state_dict(), path / "model.safetensors")
    plain = {"architecture": architecture, "num_classes": 5, "pretrained_cfg": {**SMALL, "license": "mit"}, **config}
    (path / "config.json").write_text(json.dumps(plain))
    return path


@pytest.mark.parametrize(
    ("architecture", "stages"), [("resnet10t", 5), ("efficientnet_lite0", 9), ("vit_tiny_patch16_224", 1)]
)
def test_trunk_and_suffix_compose_to_the_network(tmp_path: Path, architecture: str, stages: int) -> None:
    side = 224 if architecture.startswith("vit") else 64
    folder = _folder(tmp_path / "m", architecture, pretrained_cfg={**SMALL, "input_size": [3, side, side]})
    backbone = find_backbone(f"file/{folder}")
    assert len(backbone.stages) == stages
    images = torch.from_numpy(photographs(side)[:2])
    network = timm.create_model(architecture, num_classes=5, checkpoint_path=str(folder / "model.safetensors")).eval()
    plain = (images.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.inference_mode():
        wanted = network.forward_head(network.forward_features(plain), pre_logits=True)
        for cut in range(1, stages + 1):
            value = backbone.trunk(cut).module()(images)[-1]
            if cut < stages:
                assert value.shape[1:] == backbone.boundary_shape(cut)
                (value,) = backbone.suffix(cut).module()(value)
            torch.testing.assert_close(value, wanted, atol=1e-5, rtol=1e-5)


def test_frozen_means_frozen(tmp_path: Path) -> None:
    """Ten steps of a head on top, in train mode, change no parameter and no buffer below."""
    backbone = find_backbone(f"file/{_folder(tmp_path / 'm')}")
    trunk = backbone.trunk(len(backbone.stages)).module()
    head = torch.nn.Linear(backbone.stages[-1].channels, 2)
    model = torch.nn.Sequential(trunk, head).train()
    before = _state_hash(trunk)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    images, targets = torch.from_numpy(photographs(64)), torch.arange(16) % 2
    for _ in range(10):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(trunk(images)[0]), targets).backward()
        optimizer.step()
    assert _state_hash(trunk) == before
    assert not any(module.training for module in trunk.modules())


def _state_hash(module: Any) -> str:
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in module.state_dict().values())).hexdigest()


def test_both_engines_agree_on_a_torch_backbone(tmp_path: Path) -> None:
    from headstart.features.openvino_engine import OpenVinoTrunk
    from headstart.features.torch_engine import TorchTrunk

    backbone = find_backbone(f"file/{_folder(tmp_path / 'm')}")
    trunk = backbone.trunk(5, pooled=(1, 2, 3, 4))
    converted = OpenVinoTrunk.compile(trunk, tmp_path / "graphs", print)
    images = photographs(64)
    a, b = converted(images), TorchTrunk(trunk, device="cpu")(images)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert a.shape == b.shape == (16, trunk.width)
    assert cosine.min() > (0.9999 if converted.identity.precision == "f32" else 0.98)


def test_wrong_and_partial_checkpoints_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = _folder(tmp_path / "m")
    state = load_file(folder / "model.safetensors")
    first = "conv1.0.weight"
    save_file({k: v for k, v in state.items() if k != first} | {"extra": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(BackboneError, match=rf"1 tensors missing.*{first}.*1 unexpected.*extra"):
        find_backbone(f"file/{folder}")
    save_file(timm.create_model("resnet14t").state_dict(), folder / "model.safetensors")
    with pytest.raises(BackboneError, match="another architecture"):
        find_backbone(f"file/{folder}")
    (folder / "model.safetensors").write_bytes(b"\x10\x00")
    with pytest.raises(BackboneError, match="not a readable safetensors"):
        find_backbone(f"file/{folder}")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"model\.safetensors is missing"):
        find_backbone(f"file/{folder}")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"architecture": 3, "pretrained_cfg": {}}', '{"architecture": "nope", "pretrained_cfg": {}}']
)
def test_a_bad_configuration_is_refused(tmp_path: Path, text: str) -> None:
    folder = _folder(tmp_path / "m")
    (folder / "config.json").write_text(text)
    with pytest.raises(BackboneError, match=r"config\.json"):
        find_backbone(f"file/{folder}")


def test_hub_weights_come_from_the_local_cache_without_a_socket(tmp_path: Path) -> None:
    """In a process where no socket can be opened, a cache laid out as the hub's client does is enough."""
    torch.manual_seed(0)
    snapshot = tmp_path / "hub" / "models--timm--resnet18.a1_in1k" / "snapshots" / "0"
    snapshot.mkdir(parents=True)
    from safetensors.torch import save_file

    save_file(timm.create_model("resnet18").state_dict(), snapshot / "model.safetensors")
    refs = snapshot.parent.parent / "refs"
    refs.mkdir()
    (refs / "main").write_text("0")
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): print('SOCKET'); raise OSError('blocked')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        "from headstart.backbones.catalogue import find_backbone\n"
        "from headstart.errors import OfflineError\n"
        "print(find_backbone('timm/resnet18.a1_in1k').stages[-1].channels)\n"
        "try: find_backbone('timm/resnet34')\n"
        "except OfflineError as error: print('OFFLINE', 'file/DIR' in str(error))\n"
    )
    import os

    env = {**os.environ, "HEADSTART_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["512", "OFFLINE", "True"], done.stdout + done.stderr


def test_hub_weights_without_a_network_name_the_local_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEADSTART_OFFLINE", "1")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: pytest.fail("a socket was opened"))
    with pytest.raises(OfflineError, match="bundled/tf_efficientnet_lite0"):
        find_backbone("timm/resnet34")


def test_nearest_timm_names() -> None:
    with pytest.raises(BackboneError, match="timm/resnet18"):
        find_backbone("timm/resnet81")


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.backbones.catalogue._has_torch", lambda: False)
    with pytest.raises(MissingExtraError, match=r"headstart\[train\]"):
        find_backbone("timm/resnet18")
