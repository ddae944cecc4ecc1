"""The code on docs/deploy.md is run as it stands there, and answers as the runtime does."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart import runtime

pytestmark = pytest.mark.real
PAGE = Path(__file__).parents[2] / "docs" / "deploy.md"


def block(heading: str, language: str) -> str:
    """The first block of code below a heading."""
    text = PAGE.read_text().split(f"## {heading}\n")[1]
    return re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)[1]  # type: ignore[index]


@pytest.fixture
def photograph(exports: Path, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A photograph beside both exported files, where the page's code looks for them."""
    monkeypatch.chdir(tmp_path)
    for file in ("onnx/model.onnx", "openvino/model.xml", "openvino/model.bin"):
        (tmp_path / Path(file).name).symlink_to(exports / "export" / file)
    image = next((shared / "data" / "flowers5").rglob("*.jpg"))
    Image.open(image).convert("RGB").resize((320, 257)).save("photo.jpg", quality=95)
    return tmp_path / "photo.jpg"


@pytest.mark.parametrize(("heading", "file"), [("Plain onnxruntime", "model.onnx"), ("Plain OpenVINO", "model.xml")])
def test_plain_runtimes_answer_as_headstarts(heading: str, file: str, photograph: Path, tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(block(heading, "python"), names)
    model = runtime.load(tmp_path / file)
    np.testing.assert_allclose(names["probabilities"][0], model.predict_proba(photograph)[0], atol=0.03)


def test_the_configuration_for_triton_fits_the_file(exports: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(exports / "export" / "onnx" / "model.onnx"))
    text = PAGE.read_text().split("`config.pbtxt`, with")[1]
    ports = dict(re.findall(r'name: "(\w+)", data_type: (\w+)', text))
    types = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}
    found = [*session.get_inputs(), *session.get_outputs()]
    assert ports == {port.name: types[port.type] for port in found}
    assert len(session.get_inputs()[0].shape) == 4


def test_the_client_speaks_the_protocol(photograph: Path, tmp_path: Path) -> None:
    model = runtime.load(tmp_path / "model.onnx")

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            length = int(self.headers["Inference-Header-Content-Length"])
            (sent,) = json.loads(body[:length])["inputs"]
            assert self.path == "/v2/models/plants/infer"
            assert sent["datatype"] == "UINT8"
            assert sent["parameters"]["binary_data_size"] == len(body) - length
            pixels = np.frombuffer(body[length:], np.uint8).reshape(sent["shape"])
            row = model.run(list(pixels)).probabilities
            output = {"name": "probabilities", "datatype": "FP32", "shape": row.shape, "data": row.ravel().tolist()}
            answer = json.dumps({"outputs": [output]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        names: dict[str, Any] = {}
        exec(block("A client of both", "python"), names)
        pixels = np.asarray(Image.open(photograph).convert("RGB"))[None]
        found = names["infer"](f"http://127.0.0.1:{server.server_port}", "plants", pixels)
        server.shutdown()
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(pixels), atol=1e-5)
