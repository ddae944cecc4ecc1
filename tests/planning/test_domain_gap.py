"""The domain gap: the textbook's divergence, no bias from few images, an honest error, and the known order of sets."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from headstart.backbones.bundled import BundledBackbone
from headstart.backbones.statistics import Norm, source_norms
from headstart.data import Dataset, load
from headstart.errors import DataError
from headstart.features import float32
from headstart.imaging import encode
from headstart.planning.domain_gap import (
    RULER,
    DomainGap,
    Observed,
    Ruler,
    domain_gap,
    gap_between,
    gap_of_two,
    gap_to_source,
    observe,
)
from headstart.records import from_json, to_json

CHANNELS = 40


def _norm(stage: int, gamma: float = 1.0, channels: int = CHANNELS) -> Norm:
    one = np.ones(channels)
    return Norm(f"norm{stage}", stage, 0 * one, one, gamma * one, 0 * one, epsilon=0.0)


@pytest.fixture(scope="module")
def ruler() -> Ruler:
    return Ruler.of(tuple(_norm(stage) for stage in range(1, 10)))


def _observed(
    images: int, *, shift: float = 0.0, spread: float = 1.0, seed: int = 0, name: str = "drawn", positions: int = 4
) -> Observed:
    """Normal activations at a few positions of each image."""
    z = np.random.default_rng(seed).normal(shift, spread, (images, positions, 9 * CHANNELS))
    moments = np.stack([z.mean(1), (z**2).mean(1)], axis=1).astype(np.float32)
    return Observed(name, moments, np.arange(images))


def test_a_shift_and_a_spread_give_the_textbooks_divergence(ruler: Ruler) -> None:
    found = gap_to_source(_observed(3000, shift=0.6, spread=1.5), ruler)
    wanted = 0.5 * (1.5**2 + 0.6**2 - 1) - np.log(1.5)
    assert found.total.value == pytest.approx(wanted, rel=0.01)
    for part in (found.early, found.middle, found.late):
        assert part.value == pytest.approx(wanted, rel=0.02)
    assert gap_to_source(_observed(3000, shift=0.5), ruler).total.value == pytest.approx(0.5**2 / 2, rel=0.02)


def test_parts_are_the_stages_and_the_total_is_the_mean_over_layers(ruler: Ruler) -> None:
    seen = _observed(200)
    seen.moments[:, 0, 6 * CHANNELS :] += 1
    seen.moments[:, 1, 6 * CHANNELS :] += 1  # the mean of z² of what is shifted by 1, but for noise
    found = gap_to_source(seen, ruler)
    assert abs(found.early.value) < 0.01
    assert abs(found.middle.value) < 0.01
    assert found.late.value == pytest.approx(0.5, rel=0.05)
    assert found.total.value == pytest.approx((found.early.value + found.middle.value + found.late.value) / 3)


@pytest.mark.parametrize("images", [8, 32])
def test_few_images_neither_widen_the_gap_nor_hide_their_error(ruler: Ruler, images: int) -> None:
    for shift in (0.0, 0.4):
        found = [gap_to_source(_observed(images, shift=shift, seed=seed), ruler).total for seed in range(40)]
        values = np.array([one.value for one in found])
        assert values.mean() == pytest.approx(shift**2 / 2, abs=3e-3)
        errors = np.mean([one.error for one in found])
        assert 0.7 < errors / values.std(ddof=1) < 2


def test_the_same_images_over_again_add_no_certainty_where_they_are_grouped(ruler: Ruler) -> None:
    once = _observed(30, shift=0.4)
    eight = dataclasses.replace(once, moments=np.repeat(once.moments, 8, 0), groups=np.repeat(once.groups, 8))
    alone = dataclasses.replace(eight, groups=np.arange(240))
    truth = gap_to_source(once, ruler).total.error
    assert gap_to_source(eight, ruler).total.error == pytest.approx(truth, rel=0.1)
    assert gap_to_source(alone, ruler).total.error < 0.5 * truth


def test_one_image_or_one_group_gives_a_gap_without_an_error(ruler: Ruler) -> None:
    one = gap_to_source(_observed(1), ruler)
    group = gap_to_source(dataclasses.replace(_observed(20), groups=np.zeros(20, np.int64)), ruler)
    for found in (one, group):
        assert np.isfinite(found.total.value)
        assert np.isnan(found.total.error)
        assert np.isnan(from_json(DomainGap, to_json(found)).total.error)


def test_two_sets_are_apart_by_the_mean_of_both_directions_whatever_their_order(ruler: Ruler) -> None:
    a, b = _observed(600, shift=0.3, spread=1.2, seed=1), _observed(600, shift=-0.2, spread=0.8, seed=2)

    def divergence(m: float, s: float, n: float, t: float) -> float:
        return float(np.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5)

    found, back = gap_of_two(a, b, ruler), gap_of_two(b, a, ruler)
    wanted = (divergence(0.3, 1.2, -0.2, 0.8) + divergence(-0.2, 0.8, 0.3, 1.2)) / 2
    assert found.total.value == pytest.approx(wanted, rel=0.02)
    assert back.total.value == pytest.approx(found.total.value, rel=1e-9)
    assert (found.images, found.against_images, found.against) == (600, 600, "drawn")


def test_two_samples_of_one_source_are_not_apart(ruler: Ruler) -> None:
    found = [
        gap_of_two(_observed(24, shift=2, seed=seed), _observed(40, shift=2, seed=seed + 100), ruler).total
        for seed in range(30)
    ]
    assert abs(np.mean([one.value for one in found])) < 1e-3


def test_channels_that_say_nothing_are_left_out_and_layers_count_alike() -> None:
    gamma = np.ones(CHANNELS)
    gamma[:2] = 1e-3, 0.0
    dead = dataclasses.replace(_norm(1), gamma=gamma)
    ruler = Ruler.of((dead, _norm(2, channels=7), *(_norm(stage) for stage in range(3, 10))))
    assert (ruler.weights[:, :2] == 0).all()
    np.testing.assert_allclose(ruler.weights.sum(1), 1)
    assert ruler.weights[0, 2:CHANNELS].sum() == pytest.approx(1 / 9)
    assert ruler.weights[0, CHANNELS : CHANNELS + 7].sum() == pytest.approx(1 / 9)
    assert ruler.weights[1, CHANNELS + 7 + CHANNELS :].sum() == 0
    assert np.isfinite(ruler.scale).all()
    assert (ruler.scale != 0).all()


def test_a_channel_that_never_varies_agrees_with_one_that_never_did() -> None:
    never = dataclasses.replace(_norm(1), variance=np.zeros(CHANNELS), epsilon=1e-3)
    ruler = Ruler.of((never, *(_norm(stage) for stage in range(2, 10))))
    seen = _observed(3000)
    seen.moments[:, :, :CHANNELS] = 0
    assert abs(gap_to_source(seen, ruler).total.value) < 1e-3


# Real weights and images.


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Twelve crops of scikit-learn's photographs, and one broken file."""
    from sklearn.datasets import load_sample_images

    folder = tmp_path_factory.mktemp("photographs")
    for name, pixels in zip("ab", load_sample_images().images, strict=True):
        (folder / name).mkdir()
        for number in range(6):
            crop = np.ascontiguousarray(pixels[60 * number :][:100, 80 * number :][:, :120])
            (folder / name / f"{number}.png").write_bytes(encode(crop))
    (folder / "a" / "broken.png").write_bytes(b"no image")
    return load(folder)


@pytest.mark.real
def test_a_second_measurement_is_read_from_the_store(photographs: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    first = domain_gap(photographs, say=pytest.fail)
    assert (first.images, first.against, first.ruler) == (12, None, f"bundled/{RULER}")
    assert from_json(DomainGap, to_json(first)) == first
    broken = photographs.files.index("a/broken.png")
    sound = photographs.select([row for row in range(len(photographs)) if row != broken][::-1])
    monkeypatch.setattr(float32, "_compile", lambda trunk: pytest.fail("nothing is left to compute"))
    again = domain_gap(sound, say=pytest.fail)
    assert again.total.value == pytest.approx(first.total.value, rel=1e-6)


@pytest.mark.real
def test_grey_images_lie_as_far_as_their_rgb_copies() -> None:
    greys = [np.random.default_rng(seed).integers(0, 255, (60, 60), np.uint8) for seed in range(4)]
    dataset = load((greys, list("abab")))
    as_grey, as_rgb = (domain_gap(dataset, channels=channels).total.value for channels in (1, 3))
    assert as_grey == pytest.approx(as_rgb, rel=1e-3)
    assert as_rgb > 0.3  # noise is no photograph


@pytest.mark.real
def test_images_that_cannot_be_decoded_are_no_measurement(photographs: Dataset) -> None:
    broken = photographs.select([photographs.files.index("a/broken.png")])
    with pytest.raises(DataError, match=r"no images to measure.*broken\.png"):
        domain_gap(broken)
    with pytest.raises(DataError, match="no images"):
        domain_gap(photographs.select([]))


@pytest.mark.real
def test_the_real_rulers_layers_are_all_used_but_for_one_channel() -> None:
    norms = source_norms(BundledBackbone(RULER))
    ruler = Ruler.of(norms)
    np.testing.assert_allclose(ruler.weights.sum(1), 1)
    assert (len(norms), len(ruler.scale), int((ruler.weights[0] == 0).sum())) == (49, 21008, 1)
    assert (ruler.weights[1:].max(0) > 0).sum() == 21007


Sets = dict[str, Observed]
SEEN = 128


@pytest.fixture(scope="module")
def seen(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sets]:
    """A sample of images of each of the folders."""
    folders = {name: shared / "data" / name for name in ("hymenoptera", "rsscn7", "brain_mri4")}
    folders |= {name: shared / "data" / "pacs" / name for name in ("photo", "cartoon", "sketch")}
    datasets = {name: load(folder) for name, folder in folders.items()}
    imagenet = sorted((shared / "data" / "imagenet_sample" / "images").iterdir())
    datasets["imagenet"] = load((imagenet, [file.stem for file in imagenet]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield {name: observe(dataset, images=SEEN, say=pytest.fail)[0] for name, dataset in datasets.items()}


@pytest.fixture(scope="module")
def lite() -> Ruler:
    return Ruler.of(source_norms(BundledBackbone(RULER)))


@pytest.mark.real
def test_the_order_of_real_data_sets(seen: Sets, lite: Ruler) -> None:
    gaps = {name: gap_to_source(observed, lite).total for name, observed in seen.items()}
    steps = (("imagenet",), ("photo", "hymenoptera"), ("cartoon", "rsscn7"), ("brain_mri4",), ("sketch",))
    for nearer, farther in itertools.pairwise(steps):
        for a in nearer:
            for b in farther:
                assert gaps[a].value + 3 * gaps[a].error < gaps[b].value - 3 * gaps[b].error, (a, b)


@pytest.mark.real
@pytest.mark.parametrize("images", [32, 64])
def test_few_real_images_give_the_gap_of_all(seen: Sets, lite: Ruler, images: int) -> None:
    rng = np.random.default_rng(0)
    for name, observed in seen.items():
        whole = gap_to_source(observed, lite).total.value
        found = [gap_to_source(observed.select(rows), lite).total.value for rows in _subsets(rng, observed, images)]
        tolerance = max(0.01, 0.2 * whole)
        assert abs(np.mean(found) - whole) < 0.5 * tolerance, name
        if images == 64:
            assert np.abs(np.array(found) - whole).max() < tolerance, name


@pytest.mark.real
def test_halves_of_a_real_data_set_are_not_apart_but_photographs_and_sketches_are(seen: Sets, lite: Ruler) -> None:
    for name, observed in seen.items():
        halves = (observed.select(rows) for rows in np.split(np.random.default_rng(1).permutation(SEEN), 2))
        apart = gap_of_two(*halves, lite).total
        assert abs(apart.value) < max(3 * apart.error, 0.002), name
    far = gap_of_two(seen["photo"], seen["sketch"], lite).total
    near = gap_of_two(seen["photo"], seen["imagenet"], lite).total
    assert far.value > 5 * near.value


@pytest.mark.real
def test_the_gap_between_data_sets_reads_both(photographs: Dataset) -> None:
    noise = [np.random.default_rng(seed).integers(0, 255, (60, 60, 3), np.uint8) for seed in range(6)]
    found = gap_between(photographs, load((noise, list("ababab"))))
    assert (found.images, found.against_images, found.of, found.against) == (12, 6, photographs.name, "data")
    assert found.total.value > 0.3


def _subsets(rng: np.random.Generator, observed: Observed, images: int) -> list[npt.NDArray[np.int64]]:
    return [rng.choice(len(observed.groups), images, replace=False) for _ in range(6)]
