"""A service on a port of its own, over a small model that needs no engine."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart import runtime
from headstart.errors import ArtifactError
from headstart.imaging import Preprocessing
from headstart.runtime.record import Abstention, ExportRecord
from headstart.serving.settings import Limits, ServedModel, Settings

CLASSES = ("dark", "middling", "light")
RECORD = ExportRecord(
    schema=1,
    headstart="0.1.0",
    format="openvino",
    weights="f32",
    precisions=("f32",),
    batch=None,
    resizes=False,
    task="classification",
    classes=CLASSES,
    temperature=1.0,
    thresholds=None,
    abstain=(Abstention(0.05, 0.99), Abstention(0.2, 0.6)),
    embedding=4,
    backbone="none/none",
    strategy="linear_probe",
    licence="Apache-2.0",
    weights_sha256="0" * 64,
    model_sha256="1" * 64,
    preprocessing=Preprocessing(16, 1.0, "bicubic", (0.5,) * 3, (0.5,) * 3),
    warning=None,
)


@dataclass
class Brightness:
    """A session that tells how bright an image is; it can be slow, and it can fail."""

    record: ExportRecord = RECORD
    engine: str = "none 1"
    precision: str = "f32"
    seconds: float = 0.0
    fails: bool = False
    batches: list[int] = field(default_factory=list)

    def run(self, images: np.ndarray) -> runtime.Answers:
        self.batches.append(len(images))
        time.sleep(self.seconds)
        if self.fails:
            raise ArtifactError("the graph does not do what it promises")
        light = images.mean(axis=(1, 2, 3)) / 255
        logits = -30 * (light[:, None] - np.array([0.0, 0.5, 1.0])) ** 2
        chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        rows = np.stack([light, light**2, 1 - light, np.ones_like(light)], axis=1)
        return runtime.Answers(chances.astype(np.float32), rows.astype(np.float32))


@pytest.fixture(scope="session")
def session() -> type[Brightness]:
    """``session(seconds=…, fails=…)``: a model that is slow, or that fails."""
    return Brightness


@pytest.fixture(scope="session")
def white() -> bytes:
    """A white image."""
    sink = io.BytesIO()
    Image.new("RGB", (20, 20), (255, 255, 255)).save(sink, "PNG")
    return sink.getvalue()


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Running:
    """A service that runs in a thread."""

    port: int
    server: Any
    sessions: list[Brightness]
    thread: threading.Thread

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            found = connection.getresponse()
            return Answer(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())

    def predict(self, body: bytes, query: str = "", **headers: str) -> Answer:
        return self("POST", f"/predict{query}", body, **{"content_type": "image/png", **headers})

    def raw(self, data: bytes) -> bytes:
        """Send bytes as they are, and read until the service closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(data)
            found = b""
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(65536):
                    found += part
            return found

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()


Start = Callable[..., Running]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """``start(token=…, session=…, queue=…)``: a service with these settings and limits; the rest are the defaults."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(_running(**options))


@contextlib.contextmanager
def _running(
    *, token: str | None = None, session: Brightness | None = None, names: tuple[str, ...] = ("first",), **limits: Any
) -> Iterator[Running]:
    uvicorn = pytest.importorskip("uvicorn")
    pytest.importorskip("httptools")
    from headstart.serving.server import configured, take_port

    sessions: list[Brightness] = []

    def load(path: Path, **_: Any) -> runtime.Model:
        sessions.append(session or Brightness())
        return runtime.Model(sessions[-1])

    settings = Settings(tuple(ServedModel(name, Path(name)) for name in names), token, 1, Limits(**limits))
    listener = take_port("127.0.0.1", 0)
    server = uvicorn.Server(configured(settings))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "load", load)
        running = Running(listener.getsockname()[1], server, sessions, thread)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield running
        running.stop()


@pytest.fixture(scope="module")
def service(start: Start) -> Running:
    """A service with small limits."""
    return start(names=("first", "second"), body=200_000, pixels=250_000, images=4, queue=64, memory=2**23, timeout=5.0)
