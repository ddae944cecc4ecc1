"""transformers' vision models: the embedding of each kind equal to the model's own, at other sizes, without code."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from headstart.errors import BackboneError, OfflineError, OptionError
from headstart.imaging.preprocessing import Preprocessing

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402

from headstart.backbones.processor_configs import preprocessing_of  # noqa: E402
from headstart.backbones.pytorch import from_transformers  # noqa: E402
from headstart.backbones.pytorch.backbone import TorchBackbone  # noqa: E402

TOKENS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 64,
    "patch_size": 16,
}
WINDOWS = {"image_size": 64, "patch_size": 4, "embed_dim": 16, "depths": [1, 2], "num_heads": [1, 2], "window_size": 4}
MAPS = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
KINDS: dict[str, dict[str, Any]] = {
    "ViT": TOKENS,
    "DeiT": TOKENS,
    "Dinov2": TOKENS,
    "Dinov2WithRegisters": TOKENS,
    "DINOv3ViT": TOKENS,
    "Beit": TOKENS | {"use_relative_position_bias": True},
    "CLIPVision": TOKENS,
    "SiglipVision": TOKENS,
    "Swin": WINDOWS,
    "Swinv2": WINDOWS,
    "ConvNext": MAPS,
    "ConvNextV2": MAPS,
    "DINOv3ConvNext": MAPS,
    "ResNet": MAPS | {"embedding_size": 8, "layer_type": "basic"},
    "RegNet": MAPS | {"embedding_size": 8, "groups_width": 8},
}
CLASS_TOKEN = ("ViT", "DeiT", "Dinov2", "Dinov2WithRegisters", "DINOv3ViT")
PROCESSOR = {"size": {"height": 64, "width": 64}, "resample": 3, "image_mean": [0.5] * 3, "image_std": [0.2] * 3}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("socket.getaddrinfo", lambda *a, **k: pytest.fail("a socket was opened"))


def _save(path: Path, model: Any) -> Path:
    transformers.logging.disable_progress_bar()
    model.save_pretrained(path)
    (path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    (path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return path


def _model(kind: str) -> Any:
    torch.manual_seed(0)
    return transformers.AutoModel.from_config(getattr(transformers, f"{kind}Config")(**KINDS[kind])).eval()


def _embedding(kind: str, model: Any, images: Any, **options: Any) -> Any:
    """What the model's own outputs hold."""
    with torch.inference_mode():
        outputs = model(pixel_values=images, **options)
    if kind in CLASS_TOKEN:
        return outputs.last_hidden_state[:, 0]
    return outputs.pooler_output.flatten(1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_embedding_is_the_models_own(tmp_path: Path, kind: str) -> None:
    model = _model(kind)
    loaded = from_transformers.load_folder(_save(tmp_path / "m", model))
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(images), _embedding(kind, model, images))
    assert loaded.name == f"file/{tmp_path / 'm'}"
    assert loaded.classifiers == ()
    assert loaded.licence == "Apache-2.0"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("Beit", "Swinv2")])
def test_another_size_gives_what_the_model_gives_when_it_interpolates(tmp_path: Path, kind: str) -> None:
    model = _model(kind)
    loaded = from_transformers.load_folder(_save(tmp_path / "m", model), size=96)
    options = {"interpolate_pos_encoding": True} if kind in ("ViT", "DeiT", "CLIPVision", "SiglipVision") else {}
    images = torch.randn(1, 3, 96, 96)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(images), _embedding(kind, model, images, **options))


@pytest.mark.parametrize(("kind", "size", "words"), [("ViT", 100, "96, 112"), ("Beit", 96, "64 pixels only")])
def test_a_size_that_the_model_cannot_take(tmp_path: Path, kind: str, size: int, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        from_transformers.load_folder(_save(tmp_path / "m", _model(kind)), size=size)


def test_weights_of_a_larger_size_than_the_processors(tmp_path: Path) -> None:
    """DINOv2 was saved with 518 pixels in its configuration and 224 in its processor's."""
    model = _model("Dinov2")
    folder = _save(tmp_path / "m", model)
    small = PROCESSOR | {
        "size": {"shortest_edge": 56},
        "do_center_crop": True,
        "crop_size": {"height": 48, "width": 48},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(small))
    loaded = from_transformers.load_folder(folder)
    assert (loaded.preprocessing.size, loaded.preprocessing.shorter_side) == (48, 56)
    images = torch.randn(1, 3, 48, 48)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(images), _embedding("Dinov2", model, images))


def test_a_classifiers_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**TOKENS)).eval()
    loaded = from_transformers.load_folder(_save(tmp_path / "m", model))
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        wanted = model.vit(images).last_hidden_state[:, 0]
        torch.testing.assert_close(loaded.network(images), wanted)


@pytest.mark.parametrize("name", ["CLIP", "Siglip"])
def test_the_image_tower_of_a_model_of_images_and_texts(tmp_path: Path, name: str) -> None:
    text = {key: TOKENS[key] for key in list(TOKENS)[:4]} | {"vocab_size": 50, "max_position_embeddings": 8}
    config = getattr(transformers, f"{name}Config")(vision_config=TOKENS, text_config=text)
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config).eval()
    loaded = from_transformers.load_folder(_save(tmp_path / "m", model))
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(images), model.vision_model(images).pooler_output)


def test_pickled_and_half_precision_weights(tmp_path: Path) -> None:
    folder = _save(tmp_path / "m", _model("Dinov2"))
    state = load_file(folder / "model.safetensors")
    torch.save({key: value.half() for key, value in state.items()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    network = from_transformers.load_folder(folder).network
    assert {value.dtype for value in network.parameters()} == {torch.float32}


def test_missing_left_over_and_misshapen_tensors_are_listed(tmp_path: Path) -> None:
    folder = _save(tmp_path / "m", _model("Dinov2"))
    state = load_file(folder / "model.safetensors")
    del state["layernorm.weight"]
    state |= {"layernorm.bias": torch.zeros(7), "extra": torch.zeros(1)}
    save_file(state, folder / "model.safetensors")
    words = r"1 tensors missing \(layernorm\.weight\), 1 unexpected \(extra\), 1 of another shape \(layernorm\.bias\)"
    with pytest.raises(BackboneError, match=words):
        from_transformers.load_folder(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"model_type": "my_model", "auto_map": {"AutoModel": "evil.Model"}},
            "comes with a model is never run",
        ),
        ({"model_type": None}, "no model type"),
        ({"model_type": "bert"}, "not a network from one image"),
        ({"model_type": "vit_mae"}, "not a network from one image"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantised"),
        ({"num_channels": 1}, "only RGB"),
    ],
)
def test_a_bad_configuration_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    folder = _save(tmp_path / "m", _model("Dinov2"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(BackboneError, match=words):
        from_transformers.load_folder(folder)


def test_a_configuration_can_not_name_kernels_to_fetch(tmp_path: Path) -> None:
    folder = _save(tmp_path / "m", _model("Dinov2"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"_attn_implementation": "evil/kernel"}))
    network = from_transformers.load_folder(folder).network
    assert network.model.config._attn_implementation in ("sdpa", "eager")


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"size": 64}, (64, 64)),
        ({"size": {"shortest_edge": 72}, "crop_size": 64, "do_center_crop": True}, (64, 72)),
        ({"size": {"shortest_edge": 72}, "crop_size": 64}, (72, 72)),
        ({"size": {"shortest_edge": 56}, "crop_pct": 0.875}, (56, 64)),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, (384, 384)),
    ],
)
def test_the_processors_spellings_of_size(tmp_path: Path, config: dict[str, Any], wanted: tuple[int, int]) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR | config))
    found = preprocessing_of(tmp_path, size=None)
    assert (found.size, found.shorter_side) == wanted


def test_a_processor_that_does_not_normalise_and_a_nested_one(tmp_path: Path) -> None:
    nested = {"image_processor": PROCESSOR | {"do_normalize": False}}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    found = preprocessing_of(tmp_path, size=None)
    assert found == Preprocessing(64, 1.0, "bicubic", (0.0,) * 3, (1.0,) * 3, aspect="squash")


@pytest.mark.parametrize(
    "config",
    [
        {"resample": 0},
        {"size": {"height": 64, "width": 48}},
        {"size": None},
        {"rescale_factor": 0.00784},
        {"do_rescale": False},
        {"image_mean": [0.5]},
    ],
)
def test_a_processor_that_the_record_cannot_express(tmp_path: Path, config: dict[str, Any]) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR | config))
    with pytest.raises(BackboneError, match=r"preprocessor_config\.json"):
        preprocessing_of(tmp_path, size=None)


def test_a_folder_without_a_processor(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"preprocessor_config\.json is missing"):
        preprocessing_of(tmp_path, size=None)


def _cached(cache: Path, model: str) -> Path:
    """The place of a repository in the hub's cache."""
    snapshot = cache / f"models--{model.replace('/', '--')}" / "snapshots" / "0"
    snapshot.mkdir(parents=True)
    refs = snapshot.parent.parent / "refs"
    refs.mkdir()
    (refs / "main").write_text("0")
    return snapshot


def test_the_hubs_local_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    _save(_cached(tmp_path / "hub", "a/b"), _model("Dinov2"))
    assert from_transformers.load("a/b").name == "transformers/a/b"
    (_cached(tmp_path / "hub", "a/half") / "config.json").write_text("{}")
    for model in ("a/half", "a/none"):
        with pytest.raises(OfflineError, match="bundled/tf_efficientnet_lite0"):
            from_transformers.load(model)


def test_local_weights_come_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_WEIGHTS", str(tmp_path))
    _save(tmp_path / "a" / "b", _model("Dinov2"))
    assert from_transformers.load("a/b").name == "transformers/a/b"
    with pytest.raises(BackboneError, match="leaves the folder"):
        from_transformers.load("../b")


def test_what_shapes_the_computation_is_part_of_the_definition(tmp_path: Path) -> None:
    """Heads leave no trace in the shapes of the weights."""
    folder = _save(tmp_path / "m", _model("ViT"))
    path = folder / "config.json"
    config, before = json.loads(path.read_text()), from_transformers.load_folder(folder).definition
    path.write_text(json.dumps(config | {"transformers_version": "0"}))
    assert from_transformers.load_folder(folder).definition == before
    path.write_text(json.dumps(config | {"num_attention_heads": 4}))
    assert from_transformers.load_folder(folder).definition != before


def test_more_channels_get_through_the_models_own_check(tmp_path: Path) -> None:
    loaded = from_transformers.load_folder(_save(tmp_path / "m", _model("ViT")))
    five = dataclasses.replace(loaded, preprocessing=dataclasses.replace(loaded.preprocessing, channels=5))
    assert TorchBackbone(five).trunk(1).input.shape == (64, 64, 5)
