"""Names of backbones are read as people write them; what can't be loaded is left out and said."""

from __future__ import annotations

import pytest

from headstart.backbones.backbone import Backbone
from headstart.backbones.catalogue import DEFAULT_BACKBONE, find_backbone
from headstart.errors import BackboneError, MissingExtraError, OptionError
from headstart.planning.entrants import Named, label_of, open_each, read_names, usual_names, weight_of, work_of


def _open(name: str, size: int | None) -> Backbone:
    return find_backbone(name, size=size)


def test_names_and_their_sizes() -> None:
    assert read_names("lite0, timm/resnet18.a1_in1k@288 ,file/a@b") == (
        Named("lite0"),
        Named("timm/resnet18.a1_in1k", 288),
        Named("file/a@b"),
    )
    assert read_names("lite0,lite0@96,lite0", 64) == (Named("lite0", 64), Named("lite0", 96))


@pytest.mark.parametrize("text", ["", "lite0,", ",", " , lite0"])
def test_an_empty_name_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"empty name: write for example lite0,lite0@288"):
        read_names(text)


def test_the_usual_ones_are_those_that_are_installed_also_at_a_larger_size(monkeypatch: pytest.MonkeyPatch) -> None:
    names = usual_names()
    assert names[:2] == (Named(DEFAULT_BACKBONE), Named(DEFAULT_BACKBONE, 288))
    monkeypatch.setattr("importlib.util.find_spec", lambda package: package if "lite0" in package else None)
    assert usual_names() == names[:2]
    monkeypatch.setattr("importlib.util.find_spec", lambda package: package)
    assert [one.size for one in usual_names()] == [None, 288, None, 312, None, 336]


def test_each_is_opened_once_and_what_can_not_be_is_said() -> None:
    said: list[str] = []
    found = open_each(read_names("lite0,bundled/lite9,bundled/tf_efficientnet_lite0@224,lite0@64"), _open, said.append)
    assert [label_of(one) for one in found.backbones] == [f"{DEFAULT_BACKBONE}@224", f"{DEFAULT_BACKBONE}@64"]
    assert found.left_out == tuple(said)
    (reason,) = said
    assert reason.startswith("left out of the comparison: unknown backbone 'bundled/lite9'")
    small, large = sorted(found.backbones, key=work_of)
    assert label_of(small).endswith("@64")
    assert 9 < work_of(large) / work_of(small) < 13
    assert weight_of(small) == weight_of(large)


def test_where_none_can_be_opened_the_reasons_are_the_error() -> None:
    def refuse(name: str, size: int | None) -> Backbone:
        if name == "a":
            raise MissingExtraError("timm/a", "train")
        raise OptionError(f"takes no images of {size} pixels")

    with pytest.raises(MissingExtraError, match="timm/a needs"):
        open_each([Named("a")], refuse, print)
    with pytest.raises(BackboneError, match=r"timm/a needs .*; .*b: takes no images of 7 pixels"):
        open_each([Named("a"), Named("b", 7)], refuse, print)
