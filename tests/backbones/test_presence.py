"""Weights count as here when they lie whole in one of the places where the providers look."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headstart.backbones.entries import Entry, entries
from headstart.backbones.presence import is_here, local_entries, missing_extra, names_here

KNOWN = {entry.name: entry for entry in entries()}
RESNET = KNOWN["timm/resnet18.a1_in1k"]
CLIP = KNOWN["open_clip/ViT-B-32.openai"]
SAME_IN_TIMM = KNOWN["timm/vit_base_patch32_clip_224.openai"]
SQUEEZENET = KNOWN["torchvision/squeezenet1_1.IMAGENET1K_V1"]
DINO = KNOWN["transformers/facebook/dinov2-small"]


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty caches, so that nothing of this machine is seen."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HEADSTART_WEIGHTS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def _fetched(tmp_path: Path, entry: Entry, *files: str) -> Path:
    """A repository in the hub's cache as its client leaves it: bytes in blobs, names as links in a snapshot."""
    repository = tmp_path / "hf" / "hub" / f"models--{entry.weights.replace('/', '--')}"
    snapshot = repository / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True, exist_ok=True)
    (repository / "blobs").mkdir(exist_ok=True)
    for file in files:
        (repository / "blobs" / file).write_bytes(b"x")
        (snapshot / file).symlink_to(Path("..", "..", "blobs", file))
    return repository


def test_nothing_is_here_but_what_is_installed() -> None:
    here = names_here(entries())
    assert "bundled/tf_efficientnet_lite0" in here
    assert {name.partition("/")[0] for name in here} == {"bundled"}


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_fetched_repository_is_here(tmp_path: Path, file: str) -> None:
    _fetched(tmp_path, RESNET, "config.json", file)
    assert names_here(entries()) >= {RESNET.name}
    assert is_here(RESNET)
    assert not is_here(KNOWN["timm/resnet34.a1_in1k"])


def test_transformers_and_open_clip_have_files_of_their_own(tmp_path: Path) -> None:
    assert CLIP.weights == SAME_IN_TIMM.weights
    _fetched(tmp_path, DINO, "model.safetensors")
    _fetched(tmp_path, CLIP, "open_clip_model.safetensors")
    assert [is_here(entry) for entry in (DINO, CLIP, SAME_IN_TIMM)] == [True, True, False]


def test_half_a_download_is_not_here(tmp_path: Path) -> None:
    repository = _fetched(tmp_path, RESNET, "config.json")
    (repository / "blobs" / "0a1b.incomplete").write_bytes(b"x")
    assert not is_here(RESNET)
    (repository / "snapshots" / "0123abcd" / "model.safetensors").symlink_to(Path("..", "..", "blobs", "0a1b"))
    assert not is_here(RESNET)


def test_a_sharded_checkpoint_is_here_once_every_part_is(tmp_path: Path) -> None:
    _fetched(tmp_path, DINO, "model-00001-of-00002.safetensors")
    assert not is_here(DINO)
    _fetched(tmp_path, DINO, "model-00002-of-00002.safetensors")
    assert is_here(DINO)


def test_torchvision_files_lie_in_the_cache_of_torch(tmp_path: Path) -> None:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / f"{SQUEEZENET.weights}.1a2b.partial").write_bytes(b"x")
    assert not is_here(SQUEEZENET)
    (folder / SQUEEZENET.weights).write_bytes(b"x")
    assert is_here(SQUEEZENET)


def test_the_hub_cache_is_where_its_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fetched(tmp_path, RESNET, "model.safetensors")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert not is_here(RESNET)


def _local(folder: Path, config: object, *, weights: bool = True) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    if weights:
        (folder / "model.safetensors").write_bytes(b"x")


@pytest.mark.parametrize("place", ["resnet18.a1_in1k", "timm/resnet18.a1_in1k"])
def test_a_local_folder_of_the_same_name_is_here(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_WEIGHTS", str(tmp_path / "weights"))
    assert not is_here(RESNET)
    _local(tmp_path / "weights" / place, {"architecture": "resnet18"})
    assert is_here(RESNET)
    assert local_entries() == ()


def test_local_folders_that_the_catalogue_does_not_list_are_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "weights"
    monkeypatch.setenv("HEADSTART_WEIGHTS", str(root))
    facts = {"input_size": [3, 128, 128], "license": "mit"}
    _local(root / "ours", {"architecture": "resnet18", "pretrained_cfg": facts})
    _local(root / "torchvision" / "plain", {"library": "torchvision", "architecture": "resnet18"})
    _local(root / "empty", {"architecture": "resnet18"}, weights=False)
    _local(root / "strange", {"architecture": "nobody_knows"})
    _local(root / "broken", [])
    _local(root / "odd", {"architecture": "resnet18", "pretrained_cfg": 3})
    (root / "notes.txt").write_text("x")
    found = {entry.name: entry for entry in local_entries()}
    assert set(found) == {"timm/ours", "torchvision/plain", "timm/odd"}
    ours = found["timm/ours"]
    assert (ours.family, ours.parameters, ours.size, ours.macs) == ("resnet", RESNET.parameters, 128, None)
    assert (ours.licence, ours.source, ours.top1) == ("MIT", "unknown", None)
    assert names_here(found.values()) == set(found)


def test_an_extra_is_missing_where_its_package_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in ("timm", "open_clip") else object())
    assert missing_extra(KNOWN["bundled/tf_efficientnet_lite0"]) is None
    assert missing_extra(RESNET) == "train"
    assert missing_extra(CLIP) == "open-clip"
    assert missing_extra(SQUEEZENET) is None
