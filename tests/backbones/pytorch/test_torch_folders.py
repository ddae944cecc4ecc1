"""Folders of any library go to the loader of that library."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from headstart.errors import BackboneError, MissingExtraError

pytest.importorskip("torch")

from headstart.backbones.hub_folders import card_licence, library_of, local_folder, read_config
from headstart.backbones.pytorch import folders


def _config(folder: Path, config: Any, name: str = "config.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("config", "library"),
    [
        ({"architecture": "resnet18"}, "timm"),
        ({"library": "timm", "architecture": "resnet18"}, "timm"),
        ({"library": "torchvision", "architecture": "resnet18"}, "torchvision"),
        ({"model_type": "vit", "architectures": ["ViTModel"]}, "transformers"),
        ({"model_cfg": {}}, "open_clip"),
    ],
)
def test_the_library_of_a_configuration(tmp_path: Path, config: dict[str, Any], library: str) -> None:
    assert library_of(_config(tmp_path, config)) == library


def test_a_folder_of_two_libraries_is_open_clips(tmp_path: Path) -> None:
    """open_clip's repositories often hold a transformers configuration as well."""
    _config(tmp_path, {"model_type": "clip"})
    assert library_of(_config(tmp_path, {"model_cfg": {}}, "open_clip_config.json")) == "open_clip"


@pytest.mark.parametrize("config", [{}, [], 3, {"library": "os"}, {"library": ["timm"]}])
def test_a_configuration_of_no_library(tmp_path: Path, config: Any) -> None:
    with pytest.raises(BackboneError, match=r"config\.json"):
        folders.load_folder(_config(tmp_path, config))


def test_a_configuration_of_any_size_or_depth_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a": "' + "x" * 2_000_000 + '"}')
    with pytest.raises(BackboneError, match="larger than"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(BackboneError, match="not a readable configuration"):
        read_config(tmp_path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="no such folder"):
        folders.load(str(tmp_path / "nothing"))
    with pytest.raises(BackboneError, match=r"config\.json is missing"):
        folders.load(str(tmp_path))


def test_a_library_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"headstart\[open-clip\]"):
        folders.load_folder(_config(tmp_path, {"model_cfg": {}}))


def test_where_local_weights_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADSTART_WEIGHTS", raising=False)
    assert local_folder("timm", "m") is None
    monkeypatch.setenv("HEADSTART_WEIGHTS", str(tmp_path))
    assert local_folder("timm", "m") is None
    plain = _config(tmp_path / "m", {"library": "torchvision", "architecture": "m"})
    assert local_folder("torchvision", "m") == plain
    assert local_folder("timm", "m") is None
    own = _config(tmp_path / "torchvision" / "m", {"library": "torchvision", "architecture": "m"})
    assert local_folder("torchvision", "m") == own
    for name in ("../m", "/etc", "a/../../m"):
        with pytest.raises(BackboneError, match="leaves the folder"):
            local_folder("timm", name)


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags: []\n---\nlicense: mit", "Apache-2.0"),
        ("---\ntags: []\nlicense: other\nlicense_name: dinov3-license\n---\n", "dinov3-license"),
        ("---\ntags: []\n---\nlicense: mit", "unknown"),
        ("license: mit", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_licence_of_a_model_card(tmp_path: Path, card: str, licence: str) -> None:
    (tmp_path / "README.md").write_text(card)
    assert card_licence(tmp_path) == licence
    assert card_licence(tmp_path / "nowhere") == "unknown"
