"""torchvision's networks: every architecture's classifier, every set of weights' preprocessing, files and folders."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.errors import BackboneError, OfflineError, OptionError
from headstart.imaging.preprocessing import Preprocessing

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torchvision import models  # noqa: E402
from torchvision.models.vision_transformer import interpolate_embeddings  # noqa: E402

from headstart.backbones.pytorch import from_torchvision  # noqa: E402
from headstart.backbones.pytorch.from_torchvision import _classifier, _Recipe, _renamed  # noqa: E402
from headstart.imaging import load_view  # noqa: E402

ARCHITECTURES = models.list_models(module=models)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("socket.getaddrinfo", lambda *a, **k: pytest.fail("a socket was opened"))


def _folder(path: Path, architecture: str, side: int, classes: int = 5, **images: Any) -> Path:
    path.mkdir(parents=True)
    torch.manual_seed(0)
    save_file(_Recipe(architecture, classes, side).build(side).state_dict(), path / "model.safetensors")
    images = {"input_size": [3, side, side], "resize": side + 8, "mean": [0.5] * 3, "std": [0.25] * 3, **images}
    config = {"library": "torchvision", "architecture": architecture, "num_classes": classes, "pretrained_cfg": images}
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if not name.startswith("regnet")])
def test_the_classifier_is_the_last_layer_to_be_called(architecture: str) -> None:
    recipe = _Recipe(architecture, 1000, models.get_model_weights(architecture).DEFAULT.transforms().crop_size[0])
    calls = []
    with torch.device("meta"):
        network = recipe.build(recipe.native).eval()
        for path, module in network.named_modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
                module.register_forward_hook(lambda m, i, out, path=path: calls.append((path, out.shape[1])))
        network(torch.zeros(1, 3, recipe.native, recipe.native))
    assert _classifier(network, 1000) == [path for path, width in calls if width == 1000][-1]


def test_the_classifier_of_a_regnet() -> None:
    assert _classifier(_Recipe("regnet_x_400mf", 1000, 224).build(224), 1000) == "fc"


def test_every_set_of_weights_comes_back_to_its_own_sizes() -> None:
    count = 0
    for architecture in ARCHITECTURES:
        for weights in models.get_model_weights(architecture):
            transforms = weights.transforms()
            found = _Recipe(architecture, 1000, 224).preprocessing(transforms, architecture, None)
            assert [found.shorter_side] == transforms.resize_size, weights
            assert [found.size] == transforms.crop_size, weights
            count += 1
    assert count > 100


@pytest.mark.parametrize("architecture", ["resnet18", "googlenet", "inception_v3", "squeezenet1_0", "maxvit_t"])
def test_preprocessing_equals_that_of_the_weights(tmp_path: Path, architecture: str) -> None:
    """Image and network together: Google's two networks normalise once more inside, which is folded in here."""
    rng = np.random.default_rng(0)
    smooth = np.asarray(Image.fromarray(rng.integers(0, 256, (9, 13, 3), np.uint8)).resize((500, 360), 3))
    Image.fromarray(smooth).save(tmp_path / "a.png")
    transforms = models.get_model_weights(architecture).DEFAULT.transforms()
    theirs = transforms(Image.open(tmp_path / "a.png"))[None]
    if architecture in ("googlenet", "inception_v3"):
        with torch.device("meta"):
            original = models.get_model(architecture, transform_input=True, init_weights=False)
        theirs = original._transform_input(theirs)
    found = _Recipe(architecture, 1000, 224).preprocessing(transforms, architecture, None)
    pixels = torch.from_numpy(load_view((tmp_path / "a.png").read_bytes(), found, "a")).float() / 255
    mine = ((pixels - torch.tensor(found.mean)) / torch.tensor(found.std)).permute(2, 0, 1)[None]
    assert ((mine - theirs) * torch.tensor(found.std).view(3, 1, 1)).abs().max() < 2.01 / 255


@pytest.mark.parametrize("architecture", ["squeezenet1_1", "mnasnet0_5", "densenet121", "googlenet"])
def test_a_folder(tmp_path: Path, architecture: str) -> None:
    loaded = from_torchvision.load_folder(_folder(tmp_path / "m", architecture, 64, license="bsd-3-clause"))
    assert loaded.name == f"file/{tmp_path / 'm'}"
    assert loaded.licence == "BSD-3-Clause"
    assert loaded.preprocessing.shorter_side == 72
    with torch.inference_mode():
        assert loaded.network(torch.zeros(1, 3, 64, 64)).shape == (1, 5)


@pytest.mark.parametrize("classes", [0, 3])
def test_a_head_for_other_classes_does_not_fail_a_backbone(tmp_path: Path, classes: int) -> None:
    folder = _folder(tmp_path / "m", "squeezenet1_1", 64)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_classes": classes}))
    loaded = from_torchvision.load_folder(folder)
    assert not loaded.network.get_submodule(loaded.classifiers[0]).weight.any()


def test_position_embeddings_are_resampled_as_torchvision_does(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "m", "vit_b_32", 64)
    loaded = from_torchvision.load_folder(folder, size=96)
    native = from_torchvision.load_folder(folder)
    wanted = interpolate_embeddings(96, 32, native.network.state_dict())["encoder.pos_embedding"]
    assert torch.equal(loaded.network.encoder.pos_embedding, wanted)
    with pytest.raises(OptionError, match="96, 128"):
        from_torchvision.load_folder(folder, size=100)


@pytest.mark.parametrize(
    ("architecture", "native", "size", "words"), [("alexnet", 64, 32, "takes"), ("maxvit_t", 224, 256, "224")]
)
def test_a_size_that_the_architecture_cannot_take(
    tmp_path: Path, architecture: str, native: int, size: int, words: str
) -> None:
    folder = _folder(tmp_path / "m", architecture, native)
    with pytest.raises(OptionError, match=words):
        from_torchvision.load_folder(folder, size=size)


def test_old_names_and_auxiliary_heads() -> None:
    old = [
        "AuxLogits.fc.weight",
        "aux1.conv.bn.bias",
        "a.denselayer1.norm.1.weight",
        "b.mlp.linear_1.bias",
        "fc.weight",
    ]
    new = _renamed({key: torch.zeros(1) for key in old})
    assert list(new) == ["a.denselayer1.norm1.weight", "b.mlp.0.bias", "fc.weight"]


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "nope"},
        {"architecture": "fasterrcnn_resnet50_fpn"},
        {"num_classes": -1},
        {"model_args": {"weights": "DEFAULT"}},
        {"pretrained_cfg": {"input_size": [3, 64, 64], "resize": 32}},
        {"pretrained_cfg": {"input_size": [1, 64, 64], "resize": 72}},
        {"pretrained_cfg": []},
    ],
)
def test_a_bad_configuration_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = _folder(tmp_path / "m", "squeezenet1_1", 64)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(BackboneError, match=r"config\.json"):
        from_torchvision.load_folder(folder)


def test_published_weights_are_found_by_file_and_their_hash_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = _Recipe("squeezenet1_1", 1000, 224).build(224).state_dict()
    torch.save(state, tmp_path / "x.pth")
    digest = hashlib.sha256((tmp_path / "x.pth").read_bytes()).hexdigest()[:8]
    name = f"squeezenet1_1-{digest}.pth"
    weights = models.SqueezeNet1_1_Weights.DEFAULT
    monkeypatch.setattr(from_torchvision, "_published", lambda *names: _Published(weights, f"https://x/{name}"))
    monkeypatch.setenv("HEADSTART_WEIGHTS", str(tmp_path))
    (tmp_path / "x.pth").rename(tmp_path / name)
    loaded = from_torchvision.load("squeezenet1_1")
    assert loaded.name == "torchvision/squeezenet1_1"
    assert loaded.licence == "BSD-3-Clause"
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1])
    with pytest.raises(BackboneError, match="did not finish"):
        from_torchvision.load("squeezenet1_1")


class _Published:
    """A set of weights at another address."""

    def __init__(self, weights: Any, url: str) -> None:
        self.url, self.name, self.meta, self.transforms = url, weights.name, weights.meta, weights.transforms


def test_names() -> None:
    assert {"resnet50", "resnet50.IMAGENET1K_V1", "vit_h_14.IMAGENET1K_SWAG_LINEAR_V1"} <= (
        from_torchvision.model_names()
    )
    with pytest.raises(BackboneError, match="IMAGENET1K_V1, IMAGENET1K_V2"):
        from_torchvision.load("resnet50.V9")
    with pytest.raises(BackboneError, match=r"'torchvision/resnet51': did you mean torchvision/resnet50"):
        from_torchvision.load("resnet51")
    with pytest.raises(OfflineError, match=r"resnet50-11ad3fa6\.pth"):
        from_torchvision.load("resnet50")


@pytest.mark.real
def test_real_squeezenet_loads_strictly(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = from_torchvision.load_folder(shared / "weights" / "squeezenet1_1")
    assert loaded.classifiers == ("classifier.1",)
    assert loaded.preprocessing.shorter_side == 256
    assert isinstance(loaded.preprocessing, Preprocessing)
    monkeypatch.setenv("HEADSTART_WEIGHTS", str(shared / "weights"))
    assert from_torchvision.load("squeezenet1_1").name == "torchvision/squeezenet1_1"
