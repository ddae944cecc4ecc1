"""The catalogue's table holds what it promises, and searching it does what it says."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest

from headstart.backbones.bundled import BUNDLED
from headstart.backbones.entries import (
    Domain,
    Entry,
    Sort,
    best_of_each_size,
    entries,
    listed_licence,
    parse_count,
    select,
)
from headstart.backbones.licences import is_permissive, normalise
from headstart.errors import OptionError


def _entry(name: str, **facts: object) -> Entry:
    given = {
        "family": "resnet", "parameters": 10, "macs": 5, "size": 224, "source": "ImageNet-1k", "domain": "natural",
        "licence": "MIT", "top1": 70.0, "weights": name,
    }  # fmt: skip
    return Entry(name, **(given | facts))  # type: ignore[arg-type]


def test_the_table_is_sorted_and_names_each_backbone_once() -> None:
    names = [entry.name for entry in entries()]
    assert names == sorted(set(names))
    assert len(names) > 2000


def test_every_row_is_within_its_ranges() -> None:
    for entry in entries():
        assert entry.provider in ("bundled", "timm", "torchvision", "open_clip", "transformers"), entry
        assert entry.parameters > 100_000, entry
        assert entry.macs is None or entry.macs > entry.parameters, entry
        assert 64 <= entry.size <= 1024, entry
        assert entry.top1 is None or 20 < entry.top1 < 95, entry
        assert entry.licence == normalise(entry.licence), entry
        assert entry.source, entry
        assert entry.weights, entry


def test_every_domain_is_known_and_has_weights() -> None:
    assert {entry.domain for entry in entries()} == set(get_args(Domain))


def test_the_table_lists_every_bundled_backbone() -> None:
    listed = {entry.name: entry for entry in entries() if entry.provider == "bundled"}
    assert set(listed) == {f"bundled/{model}" for model in BUNDLED}
    for model, weights in BUNDLED.items():
        entry = listed[f"bundled/{model}"]
        assert (entry.size, entry.extra, entry.weights) == (weights.size, weights.extra, weights.package)


def test_the_installed_timm_knows_every_name_of_its_own() -> None:
    timm = pytest.importorskip("timm")
    listed = {entry.name.removeprefix("timm/") for entry in entries() if entry.provider == "timm"}
    assert listed - set(timm.list_models(pretrained=True)) == set()


def test_the_installed_torchvision_knows_every_name_of_its_own() -> None:
    models = pytest.importorskip("torchvision").models
    for entry in entries():
        if entry.provider == "torchvision":
            model, _, tag = entry.name.removeprefix("torchvision/").partition(".")
            assert models.get_model_weights(model)[tag].url.endswith(f"/{entry.weights}")


def test_the_installed_open_clip_knows_every_name_of_its_own() -> None:
    open_clip = pytest.importorskip("open_clip")
    listed = {entry.name.removeprefix("open_clip/") for entry in entries() if entry.provider == "open_clip"}
    assert listed - {f"{model}.{tag}" for model, tag in open_clip.list_pretrained()} == set()


def test_reading_the_table_imports_no_heavy_package() -> None:
    code = (
        "import sys; from headstart.backbones.entries import entries; entries()\n"
        "assert not {'torch', 'timm', 'numpy', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_published_facts_of_well_known_weights() -> None:
    known = {entry.name: entry for entry in entries()}
    resnet = known["torchvision/resnet50.IMAGENET1K_V2"]
    assert (resnet.parameters, resnet.licence, resnet.top1) == (25_557_032 - 2_049_000, "BSD-3-Clause", 80.858)
    assert resnet.macs == pytest.approx(4.089e9, rel=1e-3)
    assert known["timm/vit_large_patch16_dinov3.sat493m"].domain == "satellite"
    assert known["timm/vit_large_patch16_dinov3.sat493m"].family == "dinov3"
    clip = known["timm/vit_base_patch32_clip_224.laion2b_ft_in12k_in1k"]
    assert (clip.family, clip.domain) == ("clip", "web image-text")
    assert clip.source == "LAION-2B, then ImageNet-12k, then ImageNet-1k"
    assert known["timm/convnextv2_tiny.fcmae_ft_in22k_in1k"].licence == "CC-BY-NC-4.0"


@pytest.mark.parametrize(
    ("family", "some", "not_one"),
    [
        ("mobilenet", {"mobilenetv2", "mobilenetv3", "mobilenetv4"}, "mobilenetx"),
        ("vit", {"vit"}, "vitamin"),
        ("SWIN", {"swin", "swinv2"}, "swiftformer"),
        ("dinov2", {"dinov2"}, "dinov3"),
        ("efficientnet", {"efficientnet", "efficientnetv2", "efficientnet-lite"}, "efficientnetx"),
    ],
)
def test_a_family_stands_for_its_versions(family: str, some: set[str], not_one: str) -> None:
    found = {entry.family for entry in select(entries(), family=family)}
    assert some <= found
    assert not_one not in found


def test_each_condition_keeps_exactly_what_meets_it() -> None:
    every = entries()
    assert set(select(every, max_parameters=5_000_000)) == {e for e in every if e.parameters <= 5_000_000}
    assert set(select(every, licence="permissive")) == {e for e in every if is_permissive(e.licence)}
    assert set(select(every, domain="web")) == {e for e in every if e.domain == "web image-text"}
    assert set(select(every, search="DINOv3 Satellite")) == {
        e for e in every if "dinov3" in e.name and e.domain == "satellite"
    }
    assert set(select(every)) == set(every)


@pytest.mark.parametrize("sort", get_args(Sort))
def test_an_order_puts_what_has_no_number_last(sort: Sort) -> None:
    found = [
        _entry("timm/a", parameters=3, macs=None, top1=80.0),
        _entry("timm/b", parameters=1, macs=9, top1=None),
        _entry("timm/c", parameters=2, macs=7, top1=90.0),
    ]
    order = "".join(entry.name[-1] for entry in select(found, sort=sort))
    assert order == {"accuracy": "cab", "speed": "cba", "size": "bca"}[sort]


def test_the_best_of_each_size_is_named_once() -> None:
    found = [_entry("timm/a", parameters=5, top1=70.0), _entry("timm/b", parameters=20, top1=60.0)]
    found.append(_entry("timm/c", parameters=30, top1=80.0))
    assert [entry.name for entry in best_of_each_size(found, (1, 10, 25, 40))] == ["timm/a", "timm/c"]


@pytest.mark.parametrize(
    ("text", "count"),
    [("30M", 30_000_000), ("1.5B", 1_500_000_000), (" 500 k", 500_000), ("25000000", 25_000_000), ("2m", 2_000_000)],
)
def test_counts_are_read_as_people_write_them(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "M", "30MM", "-3M", "0", "1e6", "thirty", "nan", "30M parameters"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="write for example"):
        parse_count(text)


@pytest.mark.parametrize(
    ("wish", "hint"),
    [
        ({"family": "mobilnetv3"}, "did you mean mobilenetv3"),
        ({"family": "convnet"}, "convnext"),
        ({"family": "lite"}, "did you mean efficientnet-lite"),
        ({"family": ""}, "unknown family"),
        ({"domain": "medcal"}, "medical"),
        ({"domain": ""}, "unknown domain"),
        ({"licence": "free"}, "permissive or any"),
        ({"sort": "beauty"}, "accuracy, speed, size"),
    ],
)
def test_a_misspelt_wish_is_answered_with_the_nearest(wish: dict[str, str], hint: str) -> None:
    with pytest.raises(OptionError, match=hint):
        select(entries(), **wish)  # type: ignore[arg-type]


def test_the_licence_of_a_name_is_known_before_its_weights_are() -> None:
    assert listed_licence("bundled/tf_efficientnet_lite0") == "Apache-2.0"
    assert listed_licence("timm/nothing") is None


def test_an_architecture_has_the_licence_that_all_of_its_weights_share() -> None:
    assert listed_licence("timm/convnextv2_tiny") == "CC-BY-NC-4.0"
    assert listed_licence("torchvision/vit_b_16") is None  # of two kinds
