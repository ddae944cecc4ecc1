"""``headstart serve`` as a process: it answers as the runtime does, takes new models at SIGHUP, and ends in order."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headstart import runtime
from headstart.cli.serving import serve
from headstart.errors import HeadstartError
from headstart.export.exporting import export

pytest.importorskip("uvicorn")
pytest.importorskip("httptools")
pytestmark = pytest.mark.real


@contextlib.contextmanager
def serving(
    *arguments: object, cache: Path, **variables: str
) -> Iterator[tuple[subprocess.Popen[str], int, list[str]]]:
    """The process, its port, and the lines that it wrote until it was ready."""
    command = [sys.executable, "-m", "headstart.cli", "serve", *map(str, arguments), "--port", "0"]
    environment = {**os.environ, "HEADSTART_CACHE": str(cache), **variables}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        lines: list[str] = []
        assert process.stderr is not None
        while not lines or '"event": "ready"' not in lines[-1]:
            lines.append(process.stderr.readline())
            assert lines[-1], "".join(lines)
        port = next(int(found[1]) for line in lines if (found := re.search(r"listening on http://\S+:(\d+)", line)))
        yield process, port, lines
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(method, path, body, headers)
        return json.loads(connection.getresponse().read())


def ends(process: subprocess.Popen[str]) -> str:
    """End it in order; what it wrote since."""
    process.send_signal(signal.SIGTERM)
    _, written = process.communicate(timeout=60)
    assert process.returncode == 0, written
    return written


@pytest.mark.parametrize("exported", [True, pytest.param(False, marks=pytest.mark.soak)])
def test_it_answers_as_the_runtime_does_and_ends_in_order(
    exported: bool, digits_run: Path, digits: Path, warm_cache: Path
) -> None:
    run = Path(shutil.copytree(digits_run, warm_cache / f"served-{exported}" / "digits"))
    if exported:
        export(run, "openvino", gate=False)
    with serving(run, "--host", "0.0.0.0", cache=warm_cache) as (process, port, lines):
        said = "".join(lines)
        assert ("no export yet" in said) != exported
        assert "warning: everybody" in said
        model = runtime.load(run)
        for image in sorted(digits.rglob("*.png"))[::120]:
            (found,) = ask(port, "POST", "/predict?probabilities=true", image.read_bytes())["predictions"]
            (wanted,) = model.predict(image)
            assert found["label"] == wanted.label
            assert found["probabilities"] == pytest.approx(wanted.probabilities, abs=1e-5)
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        assert any("model loaded" in process.stderr.readline() for _ in range(4))  # after the lines of three requests
        assert ask(port, "GET", "/ready") == {"status": "ready"}
        ends(process)


@pytest.mark.soak
def test_two_workers_count_together_and_are_replaced(digits_run: Path, digits: Path, warm_cache: Path) -> None:
    run = Path(shutil.copytree(digits_run, warm_cache / "shared" / "digits"))
    image = next(digits.rglob("*.png")).read_bytes()
    token = {"Authorization": "Bearer 12345678"}
    with serving(f"d={run}", "--workers", "2", cache=warm_cache, HEADSTART_TOKEN="12345678") as (process, port, _):
        for _ in range(20):
            assert ask(port, "POST", "/models/d/predict", image, **token)["model"] == "d"
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("GET", "/metrics", headers=token)
            text = connection.getresponse().read().decode()
        assert 'headstart_images_total{model="d"} 20.0' in text
        assert ask(port, "POST", "/models/d/reload", **token) == {"status": "replacing the workers"}
        for _ in range(50):
            assert ask(port, "POST", "/predict", image, **token)["model"] == "d"
        ends(process)


def test_what_cannot_be_served_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.xml").write_text("<net/>")
    for models, word in (
        ([tmp_path / "gone"], "does not exist"),
        ([tmp_path / "model.xml"], "missing"),
        ([f"a={tmp_path}", f"a={tmp_path}"], "two models"),
    ):
        with pytest.raises(HeadstartError, match=word):
            serve([str(model) for model in models], port=0)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(HeadstartError, match="in use"):
        serve([str(tmp_path)], port=taken.getsockname()[1])
    monkeypatch.delitem(sys.modules, "headstart.serving.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(HeadstartError, match=r"headstart\[serve\]"):
        serve([str(tmp_path)], port=0)
