"""The detectors of single images come together, and none of them is handed a test row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.auditing.cross_fit import cross_fitted
from headstart.auditing.rows import audit_rows
from headstart.backbones.catalogue import find_backbone
from headstart.data import load, resolve
from headstart.features.compiling import compile_trunk
from headstart.features.extract import probe_trunk
from headstart.runs import SilentProgress
from headstart.training.gathering import examples_of, extract_all


@pytest.mark.usefixtures("warm")
def test_what_is_planted_is_found_among_development_rows_alone(digits: Path, tmp_path: Path) -> None:
    for part, names in (("train", range(70)), ("test", range(70, 99))):
        for label in ("0", "1", "8"):
            (tmp_path / part / label).mkdir(parents=True)
            found = sorted((digits / label).iterdir())
            for number in names:
                (tmp_path / part / label / f"{number}.png").symlink_to(found[number])
    swapped = tmp_path / "train" / "0" / "swapped.png"
    swapped.symlink_to(sorted((digits / "1").iterdir())[99])
    for part in ("train", "test"):
        Image.new("L", (64, 64), 128).save(tmp_path / part / "8" / "blank.png")
    compiled = compile_trunk(probe_trunk(find_backbone("bundled/tf_efficientnet_lite0")), say=print)
    dataset, table = extract_all(load(tmp_path), compiled, SilentProgress(), print)
    dataset, protocol = resolve(dataset, test=None, seed=0)
    examples = examples_of(dataset, table, compiled.trunk.columns, protocol, 0)
    chances = cross_fitted(examples, seed=0)
    look = compiled.trunk.backbone.preprocessing
    findings = audit_rows(dataset, examples, chances, look, progress=SilentProgress(), seed=0)
    assert not [one for one in findings if one.file.startswith("test/")]
    assert "train/0/swapped.png" in [one.file for one in findings if one.kind == "suspicious_label"]
    assert [one.file for one in findings if one.kind == "near_constant"] == ["train/8/blank.png"]
    some = audit_rows(dataset, examples, chances, look, progress=SilentProgress(), seed=0, at_most=5)
    assert {one.kind for one in some} <= {one.kind for one in findings}
    assert np.isfinite(chances).all()
