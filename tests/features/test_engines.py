"""The engines: equal rows however images are batched, a parity check that bites, a cache that heals."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from headstart.backbones.bundled import BundledBackbone
from headstart.errors import EngineError, MissingExtraError
from headstart.features import compiling, openvino_engine, parity
from headstart.features.compiling import compile_trunk
from headstart.features.extract import probe_trunk
from headstart.features.openvino_engine import OpenVinoTrunk
from headstart.features.parity import photographs


@pytest.fixture(scope="module")
def backbone() -> BundledBackbone:
    return BundledBackbone("tf_efficientnet_lite0")


@pytest.fixture(scope="module")
def compiled(backbone: BundledBackbone, tmp_path_factory: pytest.TempPathFactory) -> OpenVinoTrunk:
    return OpenVinoTrunk.compile(probe_trunk(backbone), tmp_path_factory.mktemp("graphs"), pytest.fail)


@pytest.mark.real
def test_rows_do_not_depend_on_the_batch(compiled: OpenVinoTrunk) -> None:
    images = photographs(224)
    whole = compiled(images)
    assert whole.shape == (16, compiled.trunk.width)
    for size in (1, 3, 4):
        rows = np.concatenate([compiled(images[i : i + size]) for i in range(0, 16, size)])
        np.testing.assert_array_equal(rows, whole)


@pytest.mark.real
def test_rows_do_not_depend_on_threads(compiled: OpenVinoTrunk) -> None:
    images = photographs(224)
    whole = compiled(images)
    with ThreadPoolExecutor(4) as pool:
        for rows in pool.map(compiled, [images] * 8):
            np.testing.assert_array_equal(rows, whole)


@pytest.mark.real
def test_a_second_process_loads_the_cached_graph_and_gives_the_same(backbone: BundledBackbone, tmp_path: Path) -> None:
    first = compile_trunk(probe_trunk(backbone), engine="openvino", cache=tmp_path, say=pytest.fail)
    rows = first(photographs(224)[:2])
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from headstart.backbones.bundled import BundledBackbone\n"
        "from headstart.features import openvino_engine as e\n"
        "from headstart.features.extract import probe_trunk\n"
        "from headstart.features.parity import photographs\n"
        "e._compile_and_check = None\n"  # would fail if it were needed
        "t = e.OpenVinoTrunk.compile(probe_trunk(BundledBackbone('tf_efficientnet_lite0')), Path(sys.argv[1]), print)\n"
        "np.save(sys.argv[2], t(photographs(224)[:2]))\n"
    )
    out = tmp_path / "rows.npy"
    subprocess.run([sys.executable, "-c", code, str(tmp_path), str(out)], check=True, env=os.environ)
    np.testing.assert_array_equal(np.load(out), rows)


@pytest.mark.real
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_graph_is_compiled_again_and_said_once(
    backbone: BundledBackbone, tmp_path: Path, damage: str
) -> None:
    trunk = probe_trunk(backbone)
    rows = OpenVinoTrunk.compile(trunk, tmp_path, pytest.fail)(photographs(224)[:1])
    (blob,) = tmp_path.rglob("graph.blob")
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 255
    {"flip": lambda: blob.write_bytes(data), "cut": lambda: blob.write_bytes(data[:99]), "remove": blob.unlink}[
        damage
    ]()
    said: list[str] = []
    again = OpenVinoTrunk.compile(trunk, tmp_path, said.append)
    for _ in range(2):
        np.testing.assert_array_equal(again(photographs(224)[:1]), rows)
    assert len(said) == 1
    assert str(tmp_path) in said[0]
    OpenVinoTrunk.compile(trunk, tmp_path, pytest.fail)(photographs(224)[:1])


@pytest.mark.real
def test_parity_refuses_planted_faults(backbone: BundledBackbone) -> None:
    """Swapped channels, a wrong mean and rounding to four bits each fail; the reference itself passes."""
    trunk = backbone.trunk(9)
    run = openvino_engine._reference(trunk, trunk.graph())
    assert parity.check(trunk, "f32", run, run).passed
    assert not parity.check(trunk, "bf16", lambda images: run(images[..., ::-1]), run).passed
    assert not parity.check(trunk, "bf16", lambda images: run((images * 0.9).astype(np.uint8)), run).passed
    assert not parity.check(trunk, "bf16", lambda images: np.round(run(images), 0), run).passed


@pytest.mark.real
def test_a_failed_check_falls_back_and_says_so(
    backbone: BundledBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_engine, "_precisions", lambda: ("bf16", "f32"))
    monkeypatch.setitem(parity._BARS, "bf16", (1.1, 1.1))
    said: list[str] = []
    found = OpenVinoTrunk.compile(backbone.trunk(3), tmp_path, said.append)
    assert found.identity.precision == "f32"
    assert len(said) == 1
    assert "bf16" in said[0]
    monkeypatch.setitem(parity._BARS, "f32", (1.1, 1.1))
    with pytest.raises(EngineError, match="don't match"):
        OpenVinoTrunk.compile(backbone.trunk(4), tmp_path, said.append)


@pytest.mark.real
def test_auto_takes_torch_where_openvino_fails(
    backbone: BundledBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm")
    monkeypatch.setitem(parity._BARS, "bf16", (1.1, 1.1))
    monkeypatch.setitem(parity._BARS, "f32", (1.1, 1.1))
    said: list[str] = []
    found = compile_trunk(backbone.trunk(2), cache=tmp_path, say=said.append)
    assert found.identity.engine == "torch"
    assert "PyTorch instead" in said[-1]


def test_torch_engine_without_torch_names_the_extra(backbone: BundledBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_has_torch", lambda: False)
    with pytest.raises(MissingExtraError, match=r"headstart\[train\]"):
        compile_trunk(backbone.trunk(9), engine="torch")


@pytest.mark.real
def test_both_engines_agree_on_the_bundled_backbone(backbone: BundledBackbone, compiled: OpenVinoTrunk) -> None:
    pytest.importorskip("timm")
    images = photographs(224)
    torch_rows = compile_trunk(probe_trunk(backbone), engine="torch")(images)
    top = compiled.trunk.columns["features"]
    a, b = torch_rows[:, top], compiled(images)[:, top]
    assert ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min() > 0.98
