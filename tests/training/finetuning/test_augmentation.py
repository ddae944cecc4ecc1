"""Views: the same whenever and wherever they are made, and what their preset says."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
import torch

from headstart.errors import ImageError, OptionError
from headstart.features.extract import CLEAN
from headstart.files import sha256
from headstart.imaging import Preprocessing, encode, load_view
from headstart.training.finetuning.augmentation import Augmenter, flips_of
from headstart.training.finetuning.chances import draw
from headstart.training.finetuning.presets import PRESETS, Preset, find_preset

RGB = Preprocessing(48, 0.875, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def _channels(channels: int) -> Preprocessing:
    return Preprocessing(48, 0.875, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), channels)


def _image(channels: int = 3, height: int = 70, width: int = 90) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(channels)
    coarse = rng.integers(40, 215, (7, 9, channels)).astype(np.uint8)
    return np.repeat(np.repeat(coarse, height // 7, axis=0), width // 9, axis=1)


def _load(augmenter: Augmenter, number: int, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return augmenter.load(encode(image), "x", number)


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_views_have_the_wanted_shape_in_every_preset_and_channel_count(preset: str, channels: int) -> None:
    augmenter = Augmenter(preset, _channels(channels), seed=0)
    for number in range(4):
        view = _load(augmenter, number, _image(channels))
        assert view.shape == (48, 48, channels)
        assert view.dtype == np.uint8
    assert channels == 3 or not {"hue", "saturation", "grey"} & set(augmenter.transforms)


def test_a_view_is_the_same_in_any_thread_and_order_and_leaves_torchs_numbers_alone() -> None:
    data = [encode(_image(3, 70, 90 + 9 * i)) for i in range(4)]
    jobs = [(i, number) for i in range(4) for number in range(5)]

    def make(job: tuple[int, int]) -> npt.NDArray[np.uint8]:
        return Augmenter("strong", RGB, seed=3).load(data[job[0]], "x", job[1])

    torch.manual_seed(7)
    state = torch.get_rng_state()
    one_by_one = [make(job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(make, reversed(jobs)))
    for alone, other in zip(one_by_one, reversed(together), strict=True):
        np.testing.assert_array_equal(alone, other)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 300), (300, 1)])
def test_pictures_of_any_shape_become_views(height: int, width: int) -> None:
    augmenter = Augmenter("strong", RGB, seed=0)
    for number in range(8):
        assert _load(augmenter, number, np.full((height, width, 3), 90, np.uint8)).shape == (48, 48, 3)


def test_views_differ_by_number_seed_and_bytes() -> None:
    image, other = _image(), _image(3, 70, 99)
    views = [_load(Augmenter("light", RGB, seed=seed), number, image) for seed in (0, 1) for number in (0, 2)]
    views.append(_load(Augmenter("light", RGB, seed=0), 0, other))
    assert len({view.tobytes() for view in views}) == 5


def test_the_random_numbers_of_a_view_stay_what_they_are() -> None:
    chances = draw(0, sha256(b"image"), 1)
    assert (chances.area, chances.erased_left) == (0.722524593826356, 0.21490549299030426)


def test_making_views_leaves_the_number_of_threads_of_the_caller_alone() -> None:
    before = torch.get_num_threads()
    _load(Augmenter("medium", RGB, seed=0), 0, _image())
    assert torch.get_num_threads() == before


def test_without_any_transform_a_view_is_the_clean_one() -> None:
    augmenter = Augmenter("none", RGB, seed=0)
    assert augmenter.numbered(5) is CLEAN
    data = encode(_image())
    np.testing.assert_array_equal(augmenter.load(data, "x", 5), load_view(data, RGB, "x"))
    assert Augmenter("light", RGB, seed=0, without=frozenset({"crop", "horizontal_flip"})).numbered(0) is CLEAN


def test_an_odd_view_is_the_mirror_image() -> None:
    augmenter = Augmenter("light", RGB, seed=0, without=frozenset({"crop"}))
    data = encode(_image())
    clean = load_view(data, RGB, "x")
    np.testing.assert_array_equal(augmenter.load(data, "x", 4), clean)
    np.testing.assert_array_equal(augmenter.load(data, "x", 5), clean[:, ::-1])


def test_eight_views_show_the_eight_positions_of_a_square() -> None:
    preset = Preset(horizontal_flip=True, vertical_flip=True, quarter_turn=True)
    augmenter, data = Augmenter(preset, RGB, seed=0), encode(_image())
    assert len({augmenter.load(data, "x", number).tobytes() for number in range(8)}) == 8
    assert flips_of(preset, 0) == frozenset()
    assert flips_of(Preset(vertical_flip=True), 1) == {"vertical_flip"}


def test_leaving_a_transform_out_does_not_change_the_others() -> None:
    image = _image()
    whole = _load(Augmenter("light", RGB, seed=0), 1, image)
    upright = _load(Augmenter("light", RGB, seed=0, without=frozenset({"horizontal_flip"})), 1, image)
    np.testing.assert_array_equal(whole, upright[:, ::-1])


def test_rotation_brings_in_no_black_corners() -> None:
    augmenter = Augmenter(Preset(rotation=45.0), RGB, seed=0)
    rotated = [_load(augmenter, number, _image()) for number in range(12)]
    assert len({view.tobytes() for view in rotated}) > 3
    assert min(view.min() for view in rotated) >= load_view(encode(_image()), RGB, "x").min()


def test_the_corners_of_a_rotated_crop_show_what_lies_around_it() -> None:
    """In a picture that grows brighter to the right, a reflection would make it darker again."""
    ramp = np.repeat(np.repeat(np.arange(240, dtype=np.uint8)[None, :, None], 240, axis=0), 3, axis=2)
    augmenter = Augmenter(Preset(crop=0.05, rotation=20.0), RGB, seed=0)
    inner = 0
    for number in range(120):
        view = _load(augmenter, number, ramp).astype(int)[:, :, 0]
        if view.min() > 40 and view.max() < 200:
            inner += 1
            assert (np.diff(view, axis=1) >= 0).all()
    assert inner > 5


def test_a_crop_keeps_its_share_of_long_pictures_too() -> None:
    """Columns of a wide picture are numbered: so many of them, and no more, are within a view."""
    wide = np.repeat(np.repeat(np.arange(240, dtype=np.uint8)[None, :, None], 60, axis=0), 3, axis=2)
    augmenter = Augmenter(Preset(crop=0.5), RGB, seed=0)
    for number in range(20):
        view = _load(augmenter, number, wide).astype(int)
        assert 60 * 0.5**0.5 * 0.75**0.5 - 4 <= view[0, -1, 0] - view[0, 0, 0] <= 60 * (4 / 3) ** 0.5 + 1


def test_grey_pictures_of_three_channels_stay_grey() -> None:
    grey = np.repeat(_image(1), 3, axis=2)
    augmenter = Augmenter("medical", RGB, seed=0)
    for number in range(6):
        assert np.ptp(_load(augmenter, number, grey), axis=2).max() <= 1


def test_many_channels_are_lit_each_for_itself() -> None:
    image = _image(5)
    augmenter = Augmenter(Preset(brightness=0.3, contrast=0.3), _channels(5), seed=0)
    several, alone = _load(augmenter, 2, image), Augmenter(augmenter.preset, _channels(1), seed=0)
    one = alone.view(load_view(encode(image[:, :, 2]), _channels(1), "x"), sha256(encode(image)), 2)
    np.testing.assert_array_equal(several[:, :, 2:3], one)


def test_a_rotation_goes_to_the_wanted_share_of_views() -> None:
    clean, image = load_view(encode(_image()), RGB, "x"), _image()
    for share, least, most in ((0.0, 0, 0), (0.5, 4, 16), (1.0, 20, 20)):
        augmenter = Augmenter(Preset(rotation=45.0), RGB, seed=0, share=share)
        turned = sum(not np.array_equal(_load(augmenter, number, image), clean) for number in range(20))
        assert least <= turned <= most


def test_what_shapes_the_pixels_is_in_the_identity() -> None:
    augmenters = [
        Augmenter("light", RGB, seed=0),
        Augmenter("light", RGB, seed=1),
        Augmenter("medium", RGB, seed=0),
        Augmenter("medium", RGB, seed=0, without=frozenset({"rotation"})),
        Augmenter("medium", _channels(1), seed=0),
        Augmenter(Preset(crop=0.7), RGB, seed=0),
        Augmenter("light", RGB, seed=0, share=1.0),
    ]
    assert len({augmenter.identity for augmenter in augmenters}) == 7
    names = {augmenters[0].numbered(number).name for number in range(3)}
    assert len(names) == 3
    assert "without rotation" in augmenters[3].identity


def test_bad_names_are_answered_with_the_nearest_one() -> None:
    with pytest.raises(OptionError, match=r"'mediun': did you mean 'medium'\?; there are none, light"):
        find_preset("mediun")
    with pytest.raises(OptionError, match=r"'horizontal_flips': did you mean 'horizontal_flip'"):
        find_preset("light", ["horizontal_flips"])
    with pytest.raises(OptionError, match="seed -1"):
        Augmenter("light", RGB, seed=-1)
    with pytest.raises(OptionError, match="2 is no share"):
        Augmenter("light", RGB, seed=0, share=2)


def test_a_view_refuses_another_preprocessing() -> None:
    with pytest.raises(ValueError, match="don't fit"):
        Augmenter("light", RGB, seed=0).numbered(0).load(encode(_image()), _channels(1), "x")


def test_a_broken_image_is_named() -> None:
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        Augmenter("strong", RGB, seed=0).load(b"no image", "broken.jpg", 0)


def test_views_of_squashed_images_show_the_whole_width_where_those_of_cropped_ones_show_a_square() -> None:
    image = np.zeros((48, 240, 3), np.uint8)
    image[:, :40, 0] = image[:, 200:, 1] = 255  # red at one end, green at the other
    squashing = dataclasses.replace(RGB, aspect="squash")
    preset = Preset(crop=0.9)
    for number in range(8):
        whole = _load(Augmenter(preset, squashing, seed=0), number, image)
        square = _load(Augmenter(preset, RGB, seed=0), number, image)
        assert whole[..., 0].max() > 200
        assert whole[..., 1].max() > 200
        assert not (square[..., 0].max() > 200 and square[..., 1].max() > 200)
    assert Augmenter(preset, squashing, seed=0).identity != Augmenter(preset, RGB, seed=0).identity
