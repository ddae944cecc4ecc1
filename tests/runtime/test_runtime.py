"""An exported file is loaded without the rest of headstart, answers images of any form, and harms nobody."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart import runtime
from headstart.errors import ArtifactError, EngineError, HeadstartError, ImageError, MissingExtraError, OptionError
from headstart.imaging import load_view

pytestmark = pytest.mark.real
FORMATS = ("onnx", "openvino")


@pytest.fixture(scope="module", params=FORMATS)
def model(request: pytest.FixtureRequest, exports: Path) -> runtime.Model:
    return runtime.load(exports / "export" / request.param)


@pytest.fixture(scope="module")
def some(digits: Path) -> list[Path]:
    return sorted(digits.rglob("*.png"))[::50]


def test_every_form_of_an_image_is_answered_alike(model: runtime.Model, some: list[Path]) -> None:
    wanted = model.predict_proba(some)
    assert wanted.shape == (6, 3)
    assert wanted.dtype == np.float32
    np.testing.assert_allclose(wanted.sum(1), 1, atol=1e-5)
    forms = {
        "str": [str(path) for path in some],
        "bytes": [path.read_bytes() for path in some],
        "arrays": [np.asarray(Image.open(path).convert("RGB")) for path in some],
        "images": [Image.open(path) for path in some],
        "iterator": iter(some),
        "tuple": tuple(some),
        "four axes": np.stack([np.asarray(Image.open(path).convert("RGB")) for path in some]),
    }
    for form, images in forms.items():
        np.testing.assert_allclose(model.predict_proba(images), wanted, atol=1e-5, err_msg=form)
    assert len(model.predict(some[0])) == 1
    assert model.predict([]) == []
    assert model.embed([]).shape == (0, model.record.embedding)


def test_a_prediction_says_everything(model: runtime.Model, some: list[Path]) -> None:
    (answer,) = model.predict(some[0])
    assert answer.file == str(some[0])
    assert answer.label == "0"
    assert answer.confidence == pytest.approx(answer.probabilities["0"])
    assert list(answer.probabilities) == ["0", "1", "8"]
    assert answer.embedding.shape == (1280,)
    assert answer.error is None
    with pytest.raises(OptionError, match=r"can't bound its error at 0\.0001"):
        model.predict(some, max_error=0.0001)
    rate = model.record.abstain[0]
    answers = model.predict(some, max_error=rate.max_error)
    assert all(answer.abstained == (answer.confidence < rate.threshold) for answer in answers)
    assert all((answer.label is None) == answer.abstained for answer in answers)


def test_images_of_many_sizes_keep_their_order(model: runtime.Model, some: list[Path]) -> None:
    pictures = [Image.open(path).convert("RGB") for path in some]
    sizes = [(40, 40), (60, 30), (40, 40), (30, 60), (60, 30), (8, 8)]
    images = [np.asarray(picture.resize(size)) for picture, size in zip(pictures, sizes, strict=True)]
    together = model.predict_proba(images)
    for place, image in enumerate(images):
        np.testing.assert_allclose(together[place], model.predict_proba([image])[0], atol=1e-4)


def test_broken_images_are_named_and_the_others_answered(
    model: runtime.Model, some: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("no image")
    answers = model.predict([some[0], tmp_path / "text.png", b"", tmp_path / "absent.png", some[1]])
    assert [answer.error is None for answer in answers] == [True, False, False, False, True]
    assert "text.png" in (answers[1].error or "")
    assert answers[1].label is None
    assert answers[4].file == str(some[1])
    with pytest.raises(ImageError, match=r"text\.png"):
        model.predict_proba([tmp_path / "text.png"])
    with pytest.raises(OptionError, match="a int is no image"):
        model.predict([3])


def test_threads_do_not_mix_their_answers(model: runtime.Model, some: list[Path]) -> None:
    prepared = [model.prepare(path) for path in some]
    wanted = [model.run([image]).probabilities[0] for image in prepared]

    def ask(number: int) -> None:
        for step in range(6):
            place = (number + step) % len(prepared)
            pair = [prepared[place], prepared[-1 - place]]
            found = model.run(pair).probabilities
            np.testing.assert_allclose(found, [wanted[place], wanted[-1 - place]], atol=1e-4)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))


def test_both_formats_answer_alike(exports: Path, some: list[Path]) -> None:
    a, b = (runtime.load(exports / "export" / format) for format in FORMATS)
    np.testing.assert_allclose(a.predict_proba(some), b.predict_proba(some), atol=0.02)


def test_plain_onnxruntime_gives_the_same(exports: Path, some: list[Path]) -> None:
    """The example of the how-to."""
    import onnxruntime
    from PIL import ImageOps

    file = exports / "export" / "onnx" / "model.onnx"
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    pixels = np.asarray(ImageOps.exif_transpose(Image.open(some[0])).convert("RGB"))
    probabilities, embedding = session.run(None, {"images": pixels[None]})
    model = runtime.load(file)
    np.testing.assert_allclose(probabilities, model.predict_proba(some[:1]), atol=1e-5)
    np.testing.assert_allclose(embedding, model.embed(some[:1]), atol=1e-3)


def test_a_run_folder_gives_its_fastest_export(exports: Path) -> None:
    assert runtime.load(exports).record.format == "openvino"
    assert runtime.load(exports / "export" / "onnx" / "model.onnx").record.format == "onnx"


def test_openvino_takes_views_and_onnx_whole_images(exports: Path, some: list[Path]) -> None:
    data = some[0].read_bytes()
    onnx, openvino = (runtime.load(exports / "export" / format) for format in FORMATS)
    assert onnx.prepare(data).shape == (8, 8, 3)
    view = load_view(data, openvino.record.preprocessing, "digit")
    np.testing.assert_array_equal(openvino.prepare(data), view)


def test_what_is_no_export_is_refused(exports: Path, tmp_path: Path) -> None:
    for path, word in (
        (tmp_path / "absent", "does not exist"),
        (tmp_path, "holds no exported model"),
        (exports / "run.json", "no exported model"),
    ):
        with pytest.raises(ArtifactError, match=word):
            runtime.load(path)
    (tmp_path / "model.pt2").write_bytes(b"PK")
    with pytest.raises(ArtifactError, match=r"torch\.export\.load"):
        runtime.load(tmp_path / "model.pt2")


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.999])
def test_damaged_files_are_refused(exports: Path, tmp_path: Path, keep: float) -> None:
    for name, files in (("onnx", ("model.onnx",)), ("openvino", ("model.xml", "model.bin"))):
        for cut in files:
            for file in files:
                data = (exports / "export" / name / file).read_bytes()
                size = int(keep * len(data)) if 0 < keep < 1 else int(keep)
                (tmp_path / file).write_bytes(data[:size] if file == cut else data)
            with pytest.raises(HeadstartError, match=r"model\."):
                runtime.load(tmp_path / files[0])


def test_onnx_that_points_outside_itself_is_refused(exports: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exports / "export" / "onnx" / "model.onnx")
    tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    size = len(tensor.raw_data)
    (tmp_path / "secret").write_bytes(bytes(size))
    (tmp_path / "below").mkdir()
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "../secret"), ("offset", "0"), ("length", str(size))):
        tensor.external_data.add(key=key, value=value)
    (tmp_path / "below" / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match=r"model\.onnx"):
        runtime.load(tmp_path / "below" / "model.onnx")


def test_a_foreign_network_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    info = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    float32 = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph([node], "g", [info("x", float32, [1])], [info("y", float32, [1])])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(tmp_path / "model.onnx"))
    with pytest.raises(ArtifactError, match="was not exported by headstart"):
        runtime.load(tmp_path / "model.onnx")


def test_metadata_that_lie_are_refused(exports: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exports / "export" / "onnx" / "model.onnx")
    text = model.metadata_props[0].value
    for old, new, word in (
        ('"embedding":1280', '"embedding":12', "promise"),
        ('"classes":["0","1","8"]', '"classes":["0","1"]', "promise"),
        ('"channels":3', '"channels":1', "can't be run"),
    ):
        assert old in text
        model.metadata_props[0].value = text.replace(old, new)
        onnx.save(model, str(tmp_path / "model.onnx"))
        with pytest.raises(ArtifactError, match=word):
            runtime.load(tmp_path / "model.onnx")


def test_a_missing_runtime_is_named(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from headstart.runtime import openvino_session

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"headstart\[export\]"):
        runtime.load(exports / "export" / "onnx")

    def absent() -> None:
        raise ImportError("openvino")

    monkeypatch.setattr(openvino_session, "openvino", absent)
    with pytest.raises(EngineError, match="pip install openvino"):
        runtime.load(exports / "export" / "openvino")


def test_nothing_heavy_is_imported(exports: Path, some: list[Path]) -> None:
    heavy = ("scipy", "sklearn", "pyarrow", "typer", "rich", "safetensors", "torch", "jinja2", "onnx", "nncf")
    code = f"""
import sys
from headstart import runtime
for format in {FORMATS!r}:
    model = runtime.load({str(exports / "export")!r} + "/" + format)
    assert model.predict({str(some[0])!r})[0].label == "0"
# OpenVINO's own package brings what it likes; headstart's rooms above the runtime must not come.
rooms = {{name.split(".")[1] for name in sys.modules if name.startswith("headstart.")}}
assert rooms <= {{"runtime", "imaging", "errors", "records", "openvino_import"}}, rooms
assert not [name for name in {heavy!r} if name in sys.modules], sys.modules.keys() & set({heavy!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.soak
def test_it_runs_where_nothing_else_is_installed(exports: Path, some: list[Path], tmp_path: Path) -> None:
    """An environment with NumPy, Pillow and one runtime; headstart itself without its dependencies."""
    root = Path(__file__).parents[2]
    for format, engine in zip(FORMATS, ("onnxruntime", "openvino"), strict=True):
        python = tmp_path / engine / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "numpy", "pillow", engine], check=True)
        subprocess.run([*install, "--no-deps", root], check=True)
        code = f"""
import time
started = time.perf_counter()
from headstart import runtime
model = runtime.load({str(exports / "export" / format)!r})
loaded = time.perf_counter()
answer = model.predict({str(some[0])!r})[0]
ended = time.perf_counter()
assert answer.label == "0", answer
print(f"import and load {{loaded - started:.2f}} s, first prediction {{ended - loaded:.3f}} s")
assert ended - loaded < 1
"""
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr
        (tmp_path / engine / "seconds.txt").write_text(done.stdout)
