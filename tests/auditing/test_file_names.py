"""Groups in file names are offered where the images bear them out, and only there."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from headstart.auditing.file_names import groups_across_splits, possible_groups
from headstart.auditing.material import Material
from headstart.data.grouping import group_by_name

MakeMaterial = Callable[..., Material]


def _patients(count: int = 24, slices: int = 4) -> list[tuple[str, str, str, str]]:
    return [
        (f"{'ab'[p % 2]}/pat{p:03d}_slice{s}.png", "ab"[p % 2], "", "") for p in range(count) for s in range(slices)
    ]


def _features(rows: list[tuple[str, str, str, str]], *, together: bool) -> NDArray[np.float32]:
    """Clouds: by patient, or each image alone."""
    rng = np.random.default_rng(0)
    patients = {name.split("_")[0]: rng.normal(size=16) for name, *_ in rows}
    found = [patients[name.split("_")[0]] * together + rng.normal(size=16) for name, *_ in rows]
    return np.array(found, np.float32)


def test_patients_are_offered_with_a_pattern_that_groups_them(make_material: MakeMaterial) -> None:
    rows = _patients()
    material = make_material(rows, features=_features(rows, together=True))
    (finding,) = possible_groups(material)
    assert (finding.file, finding.kind) == ("", "possible_groups")
    assert "24 groups" in finding.evidence
    pattern = re.search(r"--group-by '(.*)'$", finding.action)
    assert pattern is not None
    grouped = group_by_name(material.dataset, pattern[1])
    assert len(set(grouped.groups.tolist())) == 24
    assert not list(possible_groups(Material(grouped, material.table, material.columns, ())))


def test_names_that_the_images_do_not_bear_out_are_not_offered(make_material: MakeMaterial) -> None:
    rows = _patients()
    assert not list(possible_groups(make_material(rows, features=_features(rows, together=False))))


@pytest.mark.parametrize("pattern", ["{n:04d}", "IMG_{n:04d}", "{n:04d}_{h}"])
def test_numbers_of_a_camera_are_no_groups(make_material: MakeMaterial, pattern: str) -> None:
    names = [pattern.format(n=n, h=hash((n, "salt")) % 10**8) for n in range(60)]
    rows = [(f"{'ab'[n % 2]}/{name}.png", "ab"[n % 2], "", "") for n, name in enumerate(names)]
    features = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    assert not list(possible_groups(make_material(rows, features=features)))


def test_groups_across_splits_are_named(make_material: MakeMaterial) -> None:
    rows = [("a", "x", "train", "p1"), ("b", "y", "test", "p1"), ("c", "y", "train", "p2"), ("d", "x", "test", "")]
    (finding,) = groups_across_splits(make_material(rows))
    assert (finding.kind, finding.file, finding.other) == ("group_across_splits", "a", "b")
    assert "'p1'" in finding.evidence
