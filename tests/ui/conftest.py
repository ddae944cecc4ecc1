"""Fixtures of the local page's tests: a server that runs, a client that speaks plain HTTP, runs without a fit."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from headstart.files import sha256
from headstart.ui.server import Site

LABELS = {"ant/1.png": "ant", "ant/2.png": "ant", "bee/3.png": "bee", "bee/4.png": "bee", "bee/5.png": "bee"}
SAID = {"ant/1.png": "bee", "bee/3.png": "bee", "bee/4.png": "ant", "bee/5.png": "ant"}
TESTS = {"bee/5.png"}


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True)
class Client:
    """Speaks to a site; ``cookie`` is what it was given on the way in."""

    site: Site
    cookie: str = ""

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.site.entry.port}"

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str | None] | None = None
    ) -> Answer:
        """One request as it is written here: nothing is normalised. A header of ``None`` is not sent."""
        usual = {"Host": self.host, "Cookie": self.cookie or None}
        if method == "POST":
            usual |= {"Origin": f"http://{self.host}", "Content-Length": str(len(body or b""))}
        connection = http.client.HTTPConnection("127.0.0.1", self.site.entry.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in {**usual, **(headers or {})}.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def post(self, path: str, body: bytes, kind: str = "application/octet-stream") -> Answer:
        return self.ask(path, "POST", body, {"Content-Type": kind})

    def entered(self) -> Client:
        """The same with the cookie that the link gives."""
        link = urlsplit(self.site.entry.link())
        given = self.ask(f"{link.path}?{link.query}").headers["set-cookie"]
        return Client(self.site, given.partition(";")[0])


Serve = Callable[[Path], Client]


@pytest.fixture(scope="session")
def serve() -> Iterator[Serve]:
    """Start a server over a runs folder, and end it with the tests."""
    started: list[tuple[Site, threading.Thread]] = []

    def start(root: Path) -> Client:
        site = Site(root, say=lambda line: None)
        thread = threading.Thread(target=site.serve, daemon=True)
        thread.start()
        started.append((site, thread))
        return Client(site)

    yield start
    for site, _ in started:
        site.stop()
    for _, thread in started:
        thread.join(5)


MakeJudged = Callable[..., Path]


@pytest.fixture(scope="session")
def make_judged(make_run: Callable[..., Path]) -> MakeJudged:
    """A run folder as a fit leaves it, with pictures and tables, but no model: ``make_judged(folder, data)``."""

    def make(folder: Path, data: Path, *, findings: object = None, command: str = "headstart fit DATA") -> Path:
        make_run(folder, data=str(data))
        rows = []
        for number, (file, label) in enumerate(LABELS.items()):
            path = data / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((30, 40, 3), 40 * number, np.uint8)).save(path)
            rows.append({"file": file, "image": str(path), "hash": sha256(path.read_bytes()), "label": label})
        pq.write_table(
            pa.Table.from_pylist([row for row in rows if row["file"] not in TESTS]), folder / "training.parquet"
        )
        judged = [
            {
                **{name: row[name] for name in ("file", "image", "hash")},
                **{"truth": row["label"], "predicted": SAID[row["file"]], "confidence": 0.6 + 0.05 * number},
                "split": "test" if row["file"] in TESTS else "val",
            }
            for number, row in enumerate(rows)
            if row["file"] in SAID
        ]
        pq.write_table(pa.Table.from_pylist(judged), folder / "predictions.parquet")
        (folder / "audit.json").write_text(json.dumps({} if findings is None else {"findings": findings}))
        record = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**record, "sha256": {}, "command": command}))
        return folder

    return make
