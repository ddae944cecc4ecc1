"""open_clip's image towers: equal to the whole model's, without its text tower, at other sizes, from any config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headstart.errors import BackboneError, OfflineError, OptionError
from headstart.imaging.preprocessing import Preprocessing

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

from open_clip.model import QuickGELU  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from headstart.backbones.pytorch import from_open_clip  # noqa: E402

TEXT = {"context_length": 8, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1}
VIT = {"image_size": 64, "patch_size": 16, "width": 64, "layers": 2, "head_width": 32}
TOWERS = {
    "vit": VIT,
    "vit with tokens": VIT | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 16},
    "timm": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear", "image_size": 160},
}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("socket.getaddrinfo", lambda *a, **k: pytest.fail("a socket was opened"))


def _folder(path: Path, vision: dict[str, Any], **config: Any) -> tuple[Path, Any]:
    """A small model of images and texts, saved as open_clip pushes it; also the model itself."""
    path.mkdir(parents=True)
    whole = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": TEXT, **config}
    images = {"mean": [0.4] * 3, "std": [0.2] * 3, "interpolation": "bilinear"}
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": whole, "preprocess_cfg": images}))
    (path / "README.md").write_text("---\nlicense: mit\n---\n")
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{path}").eval()
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, path / "open_clip_model.safetensors"
    )
    return path, model


@pytest.mark.parametrize("vision", TOWERS.values(), ids=TOWERS)
@pytest.mark.parametrize("quick", [False, True])
def test_the_tower_gives_what_the_model_encodes(tmp_path: Path, vision: dict[str, Any], quick: bool) -> None:
    folder, model = _folder(tmp_path / "m", vision, quick_gelu=quick)
    loaded = from_open_clip.load_folder(folder)
    images = torch.randn(2, 3, loaded.preprocessing.size, loaded.preprocessing.size)
    with torch.inference_mode():
        wanted = model.encode_image(images)
        wanted = wanted[0] if isinstance(wanted, tuple) else wanted
        torch.testing.assert_close(loaded.network(images), wanted)
    assert wanted.shape == (2, 24)
    assert not any("token_embedding" in key or "text" in key for key in loaded.network.state_dict())
    assert loaded.classifiers == ()
    assert loaded.licence == "MIT"


def test_the_record(tmp_path: Path) -> None:
    folder, _ = _folder(tmp_path / "m", VIT)
    loaded = from_open_clip.load_folder(folder)
    assert loaded.name == f"file/{tmp_path / 'm'}"
    assert loaded.preprocessing == Preprocessing(64, 1.0, "bilinear", (0.4,) * 3, (0.2,) * 3)


@pytest.mark.parametrize(("tower", "size"), [("vit", 96), ("resnet", 96), ("timm", 96)])
def test_another_size(tmp_path: Path, tower: str, size: int) -> None:
    folder, _ = _folder(tmp_path / "m", TOWERS[tower])
    loaded = from_open_clip.load_folder(folder, size=size)
    assert loaded.preprocessing.size == size
    assert loaded.network(torch.zeros(1, 3, size, size)).shape == (1, 24)


@pytest.mark.parametrize("tower", ["vit", "timm"])
def test_a_size_that_leaves_pixels_over(tmp_path: Path, tower: str) -> None:
    folder, _ = _folder(tmp_path / "m", TOWERS[tower])
    with pytest.raises(OptionError, match="96, 112"):
        from_open_clip.load_folder(folder, size=100)


def test_position_embeddings_are_resampled_as_open_clip_does(tmp_path: Path) -> None:
    folder, _ = _folder(tmp_path / "m", VIT)
    wanted = open_clip.create_model(f"local-dir:{folder}", force_image_size=96).visual.positional_embedding
    assert torch.equal(from_open_clip.load_folder(folder, size=96).network.positional_embedding, wanted)


def test_pickled_weights_of_the_whole_model(tmp_path: Path) -> None:
    folder, model = _folder(tmp_path / "m", VIT)
    (folder / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, folder / "epoch_1.pt")
    from_open_clip.load_folder(folder)


def test_weights_of_another_tower_are_refused(tmp_path: Path) -> None:
    folder, _ = _folder(tmp_path / "m", VIT)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["layers"] = 1
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(BackboneError, match=r"another architecture.*resblocks\.1"):
        from_open_clip.load_folder(folder)


@pytest.mark.parametrize(
    "vision",
    [
        VIT | {"code": "x"},
        {"timm_model_name": "hf-hub:a/b"},
        {"timm_model_name": "local-dir:/tmp"},
        VIT | {"image_size": "big"},
        VIT | {"image_size": [64, 32]},
        VIT | {"image_size": {"side": 64}},
        VIT | {"width": 33},
        [],
    ],
)
def test_a_bad_configuration_is_refused(tmp_path: Path, vision: Any) -> None:
    folder, _ = _folder(tmp_path / "m", VIT)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"] = vision
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(BackboneError, match=str(folder)):
        from_open_clip.load_folder(folder)


def test_published_weights_decide_on_the_form_of_gelu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ViT-B-32's own configuration has plain GELU; OpenAI's weights were trained with the quick form."""
    asked = {}

    def _keep(name: str, tower: Any, *rest: Any) -> None:
        asked[name] = tower

    monkeypatch.setattr(from_open_clip, "_checkpoint", lambda name, weights: tmp_path)
    monkeypatch.setattr(from_open_clip, "read_state", lambda path: {})
    monkeypatch.setattr(from_open_clip, "_loaded", _keep)
    for tag in ("openai", "laion2b_s34b_b79k"):
        from_open_clip.load(f"ViT-B-32.{tag}")
    quick = {name: any(isinstance(m, QuickGELU) for m in tower.build(224).modules()) for name, tower in asked.items()}
    assert quick == {"open_clip/ViT-B-32.openai": True, "open_clip/ViT-B-32.laion2b_s34b_b79k": False}


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert "ViT-B-32.laion2b_s34b_b79k" in from_open_clip.model_names()
    with pytest.raises(BackboneError, match=r"which weights\? there are RN101\.openai, RN101\.yfcc15m"):
        from_open_clip.load("RN101")
    with pytest.raises(BackboneError, match=r"unknown backbone 'open_clip/ViT-X'"):
        from_open_clip.load("ViT-X")
    with pytest.raises(OfflineError, match="bundled/tf_efficientnet_lite0"):
        from_open_clip.load("RN101.openai")


def test_local_weights_come_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_WEIGHTS", str(tmp_path))
    _folder(tmp_path / "open_clip" / "RN50.openai", VIT)
    assert from_open_clip.load("RN50.openai").name == "open_clip/RN50.openai"
