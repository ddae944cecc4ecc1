"""timm's networks: folders and caches as the hub lays them out, other input sizes, configurations of anybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headstart.errors import BackboneError, OfflineError, OptionError
from headstart.imaging.preprocessing import Preprocessing

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from safetensors.torch import load_file, save_file  # noqa: E402

from headstart.backbones.pytorch import from_timm  # noqa: E402


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("socket.getaddrinfo", lambda *a, **k: pytest.fail("a socket was opened"))


def _folder(path: Path, architecture: str = "resnet10t", side: int = 64, **arguments: Any) -> Path:
    """A randomly initialised network, saved as the hub lays it out."""
    path.mkdir(parents=True)
    torch.manual_seed(0)
    network = timm.create_model(architecture, num_classes=5, **arguments)
    save_file(network.state_dict(), path / "model.safetensors")
    images = {"input_size": [3, side, side], "mean": [0.5] * 3, "std": [0.25] * 3, "license": "mit"}
    config = {"architecture": architecture, "num_classes": 5, "pretrained_cfg": images}
    (path / "config.json").write_text(json.dumps(config))
    return path


def _configure(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def _pre_logits(network: Any, images: Any) -> Any:
    return network.forward_head(network.forward_features(images), pre_logits=True)


def test_a_folder(tmp_path: Path) -> None:
    loaded = from_timm.load_folder(_folder(tmp_path / "m"))
    assert loaded.name == f"file/{tmp_path / 'm'}"
    assert loaded.classifiers == ("fc",)
    assert loaded.licence == "MIT"
    assert loaded.preprocessing == Preprocessing(64, 0.875, "bicubic", (0.5,) * 3, (0.25,) * 3)
    assert not loaded.network.training


@pytest.mark.parametrize(("architecture", "classifiers"), [("deit_tiny_distilled_patch16_224", 2), ("dpn48b", 1)])
def test_classifiers_are_timms_record(tmp_path: Path, architecture: str, classifiers: int) -> None:
    loaded = from_timm.load_folder(_folder(tmp_path / "m", architecture, 224))
    modules = [loaded.network.get_submodule(path) for path in loaded.classifiers]
    assert len(modules) == classifiers
    assert all(isinstance(module, torch.nn.Linear | torch.nn.Conv2d) for module in modules)


def test_a_network_without_classes_has_no_classifier(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "m")
    _configure(folder, num_classes=0)
    assert from_timm.load_folder(folder).classifiers == ()


@pytest.mark.parametrize("classes", [0, 7, 1000])
def test_the_configurations_classes_rule_and_never_fail_a_backbone(tmp_path: Path, classes: int) -> None:
    folder = _folder(tmp_path / "m")
    wanted = from_timm.load_folder(folder)
    _configure(folder, num_classes=classes)
    loaded = from_timm.load_folder(folder)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(_pre_logits(loaded.network, images), _pre_logits(wanted.network, images))


@pytest.mark.parametrize(
    ("architecture", "native", "size"), [("vit_tiny_patch16_224", 96, 64), ("swin_tiny_patch4_window7_224", 224, 256)]
)
def test_another_size_resamples_as_timm_does(tmp_path: Path, architecture: str, native: int, size: int) -> None:
    folder = _folder(tmp_path / "m", architecture, native, img_size=native)
    loaded = from_timm.load_folder(folder, size=size)
    state = load_file(folder / "model.safetensors")
    overlay = {"state_dict": state, "num_classes": 5}
    wanted = timm.create_model(
        architecture, pretrained=True, img_size=size, num_classes=5, pretrained_cfg_overlay=overlay
    )
    images = torch.randn(1, 3, size, size)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(images), wanted.eval()(images))
    assert "state_dict" not in loaded.network.pretrained_cfg
    assert loaded.preprocessing.size == size


@pytest.mark.parametrize(
    ("architecture", "native", "size", "words"),
    [
        ("vit_tiny_patch16_224", 96, 100, "96, 112"),
        ("maxvit_tiny_tf_224", 224, 200, "192, 224"),
        ("mixer_s16_224", 224, 256, "224 pixels only"),
        ("inception_v3", 299, 64, "takes: 96"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_size_that_the_architecture_cannot_take(
    tmp_path: Path, architecture: str, native: int, size: int, words: str
) -> None:
    arguments = {"img_size": native} if native == 96 else {}
    folder = _folder(tmp_path / "m", architecture, native, **arguments)
    with pytest.raises(OptionError, match=words):
        from_timm.load_folder(folder, size=size)


def test_an_original_authors_layout_goes_through_timms_table(tmp_path: Path) -> None:
    """Some vision transformers were published with flat patch embeddings, which timm folds."""
    folder = _folder(tmp_path / "m", "vit_tiny_patch16_224", 224)
    state = load_file(folder / "model.safetensors")
    flat = state | {"patch_embed.proj.weight": state["patch_embed.proj.weight"].flatten(1).contiguous()}
    save_file(flat, folder / "model.safetensors")
    network = from_timm.load_folder(folder).network
    assert torch.equal(network.patch_embed.proj.weight, state["patch_embed.proj.weight"])


def test_another_architecture_lists_the_files_own_tensors(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "m")
    save_file(timm.create_model("resnet14t").state_dict(), folder / "model.safetensors")
    with pytest.raises(BackboneError, match=r"another architecture than this ResNet.*unexpected"):
        from_timm.load_folder(folder)


@pytest.mark.parametrize(
    "arguments",
    [
        {"pretrained": True},
        {"pretrained_cfg": {"url": "http://x"}},
        {"checkpoint_path": "/etc/passwd"},
        {"features_only": True},
        {"in_chans": 1},
        {"cache_dir": "/"},
        {"block_args": {"a": 1}},
        {"stem_width": 10**9},
    ],
)
def test_a_configuration_can_not_reach_timms_own_switches(tmp_path: Path, arguments: dict[str, Any]) -> None:
    folder = _folder(tmp_path / "m")
    _configure(folder, model_args=arguments)
    with pytest.raises(BackboneError, match=f"may not set '{next(iter(arguments))}'"):
        from_timm.load_folder(folder)


@pytest.mark.parametrize("name", ["hf-hub:a/b", "local-dir:/tmp", "nope", "resnet18; x", ""])
def test_an_architecture_must_be_timms(tmp_path: Path, name: str) -> None:
    folder = _folder(tmp_path / "m")
    _configure(folder, architecture=name)
    with pytest.raises(BackboneError, match="no architecture is named"):
        from_timm.load_folder(folder)


def test_arguments_that_timm_does_not_know(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "m")
    _configure(folder, model_args={"nonsense": 1})
    with pytest.raises(BackboneError, match=r"config\.json: timm can't build it.*nonsense"):
        from_timm.load_folder(folder)


def test_local_weights_come_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_WEIGHTS", str(tmp_path))
    _folder(tmp_path / "resnet10t")
    assert from_timm.load("resnet10t").name == "timm/resnet10t"
    _folder(tmp_path / "timm" / "resnet10t", "resnet14t")
    with pytest.raises(BackboneError, match="holds a resnet14t, not the resnet10t"):
        from_timm.load("resnet10t")


def test_weights_that_are_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OfflineError, match="bundled/tf_efficientnet_lite0"):
        from_timm.load("resnet34")
    with pytest.raises(BackboneError, match="timm has no weights for it"):
        from_timm.load("coatnet_0_224")


@pytest.mark.parametrize(("wrong", "meant"), [("resnet5O", "resnet50"), ("resnet18.a1_in1", "resnet18.a1_in1k")])
def test_a_misspelt_name_or_tag_is_answered_with_the_nearest(wrong: str, meant: str) -> None:
    with pytest.raises(BackboneError, match=rf"unknown backbone 'timm/{wrong}': did you mean timm/{meant} "):
        from_timm.load(wrong)


def test_what_shapes_the_computation_is_part_of_the_definition(tmp_path: Path) -> None:
    """Equal weights, but another padding: their features must never be taken for each other's."""
    folder = _folder(tmp_path / "m", "mobilenetv2_035")
    plain = from_timm.load_folder(folder).definition
    _configure(folder, model_args={"pad_type": "same"})
    assert from_timm.load_folder(folder).definition != plain
    _configure(folder, model_args={}, num_classes=7)
    assert from_timm.load_folder(folder).definition == plain


@pytest.mark.real
def test_real_mobilenetv2_loads_strictly(shared: Path) -> None:
    loaded = from_timm.load_folder(shared / "weights" / "mobilenetv2_100")
    assert loaded.classifiers == ("classifier",)
    assert loaded.licence == "Apache-2.0"
    assert loaded.preprocessing == Preprocessing(224, 0.875, "bicubic", (0.5,) * 3, (0.5,) * 3)
