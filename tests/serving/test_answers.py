"""What the service answers, and that bad requests get a clear 4xx."""

from __future__ import annotations

import base64
import gzip
import io
import json
import logging
import struct
import time
import zipfile
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart.serving.logs import JsonLines

Running = Any
CLASSES = ["dark", "middling", "light"]


def picture(level: int = 255, size: tuple[int, int] = (20, 20), kind: str = "PNG") -> bytes:
    """An image of one grey level."""
    sink = io.BytesIO()
    Image.new("RGB", size, (level,) * 3).save(sink, kind)
    return sink.getvalue()


WHITE, GREY, BLACK = picture(255), picture(128), picture(0)


def multipart(*files: bytes, boundary: str = "edge") -> dict[str, Any]:
    parts = b"".join(
        b'--%s\r\nContent-Disposition: form-data; name="image"; filename="%d.png"\r\n\r\n%s\r\n'
        % (boundary.encode(), number, data)
        for number, data in enumerate(files)
    )
    return {"body": parts + f"--{boundary}--\r\n".encode(), "content_type": f"multipart/form-data; boundary={boundary}"}


def in_json(*files: bytes) -> dict[str, Any]:
    body = json.dumps({"images": [base64.b64encode(data).decode() for data in files]}).encode()
    return {"body": body, "content_type": "application/json"}


def test_every_form_of_a_request_is_answered_alike(service: Running) -> None:
    raw = service.predict(WHITE, "?probabilities=true").json["predictions"][0]
    assert raw["label"] == "light"
    assert list(raw["probabilities"]) == CLASSES
    assert raw["top"][0] == {"label": "light", "probability": raw["confidence"]}
    for form in (multipart, in_json):
        found = service.predict(**form(WHITE, BLACK), query="?probabilities=true")
        assert found.status == 200
        first, second = found.json["predictions"]
        assert first | {"file": raw["file"]} == raw
        assert second["label"] == "dark"
    assert service("POST", "/predict", WHITE).json["predictions"][0]["label"] == "light"  # without a type


def test_as_much_is_told_as_was_wished(service: Running) -> None:
    (said,) = service.predict(GREY, "?top_k=2").json["predictions"]
    assert said["top"][0]["label"] == "middling"
    assert len(said["top"]) == 2
    assert said["probabilities"] is None
    (unsure,) = service.predict(picture(180), "?max_error=0.05&top_k=0").json["predictions"]
    assert unsure["abstained"]
    assert unsure["label"] is None
    assert unsure["top"] == []
    assert not service.predict(picture(180), "?max_error=0.2").json["predictions"][0]["abstained"]


def test_embeddings_are_the_models(service: Running) -> None:
    found = service("POST", "/embed", **multipart(WHITE, b"no image")).json
    assert found["width"] == 4
    np.testing.assert_allclose(found["embeddings"][0]["embedding"], [1, 1, 0, 1], atol=1e-6)
    assert found["embeddings"][1]["embedding"] is None
    assert found["embeddings"][1]["error"]["code"] == "unsupported_image"


def test_models_are_found_by_name(service: Running) -> None:
    assert [one["name"] for one in service("GET", "/models").json["models"]] == ["first", "second"]
    assert service("GET", "/models/second").json["classes"] == CLASSES
    assert service("POST", "/models/second/predict", WHITE).json["model"] == "second"
    assert service("POST", "/models/second/embed", WHITE).json["model"] == "second"
    missing = service("POST", "/models/third/predict", WHITE)
    assert (missing.status, missing.json["error"]["code"]) == (404, "unknown_model")


def test_a_broken_image_among_good_ones_is_named(service: Running) -> None:
    found = service.predict(**multipart(WHITE, WHITE[:50], BLACK))
    assert found.status == 200
    good, bad, last = found.json["predictions"]
    assert (good["label"], last["label"]) == ("light", "dark")
    assert bad["error"]["code"] == "broken_image"
    assert bad["file"] == "1.png"
    assert bad["label"] is None


def bomb_of_pixels() -> bytes:
    """A PNG of a few bytes that claims 90,000 x 90,000 pixels."""
    header = struct.pack(">IIBBBBB", 90_000, 90_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    body = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def zip_bomb() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.png", bytes(20_000_000))
    return sink.getvalue()


BAD = {
    "empty": ({"body": b""}, 400, "no_image"),
    "no image": ({"body": b"plain text"}, 415, "unsupported_image"),
    "zip bomb": ({"body": zip_bomb()}, 415, "unsupported_image"),
    "truncated": ({"body": picture(9, (60, 60), "JPEG")[:400]}, 422, "broken_image"),
    "pixels": ({"body": picture(1, (600, 600))}, 413, "too_many_pixels"),
    "bomb": ({"body": bomb_of_pixels()}, 413, "too_many_pixels"),
    "many images": (multipart(*[WHITE] * 5), 413, "too_many_images"),
    "many in json": (in_json(*[WHITE] * 5), 413, "too_many_images"),
    "large": ({"body": bytes(300_000)}, 413, "body_too_large"),
    "no parts": (multipart(), 400, "no_image"),
    "cut multipart": ({**multipart(WHITE), "body": multipart(WHITE)["body"][:-20]}, 400, "malformed_multipart"),
    "other boundary": ({**multipart(WHITE), "content_type": "multipart/form-data; boundary=x"}, 400, None),
    "no boundary": ({**multipart(WHITE), "content_type": "multipart/form-data"}, 400, "malformed_multipart"),
    "no disposition": (
        {"body": b"--a\r\n\r\nx\r\n--a--\r\n", "content_type": "multipart/form-data; boundary=a"},
        *(400, "malformed_multipart"),
    ),
    "endless part header": (
        {"body": b"--a\r\nA: " + b"b" * 150_000, "content_type": "multipart/form-data; boundary=a"},
        *(400, "malformed_multipart"),
    ),
    "no json": ({"body": b"{", "content_type": "application/json"}, 400, "malformed_json"),
    "deep json": ({"body": b"[" * 150_000, "content_type": "application/json"}, 400, "malformed_json"),
    "other json": ({"body": b'{"image": ""}', "content_type": "application/json"}, 400, "malformed_json"),
    "json of no text": ({"body": b'{"images": [1]}', "content_type": "application/json"}, 400, "malformed_json"),
    "no base64": ({"body": b'{"images": ["%"]}', "content_type": "application/json"}, 400, "malformed_base64"),
    "form": ({"body": WHITE, "content_type": "application/x-www-form-urlencoded"}, 415, "unsupported_type"),
    "odd type": ({"body": WHITE, "content_type": "\xff;;;=\"; x*=''"}, 415, "unsupported_type"),
    "compressed": ({"body": gzip.compress(WHITE), "content_encoding": "gzip"}, 415, "unsupported_encoding"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_body_is_refused_clearly(service: Running, name: str) -> None:
    sent, status, code = BAD[name]
    found = service.predict(**sent)
    assert (found.status, found.json["error"]["code"]) == (status, code or found.json["error"]["code"])
    assert len(found.json["error"]["message"]) > 20
    assert service.predict(WHITE).status == 200


@pytest.mark.parametrize(
    "query",
    ["?top_k=-1", "?top_k=x", "?top_k=1&top_k=2", "?topk=1", "?max_error=2", "?max_error=nan", "?probabilities=1"],
)
def test_a_wrong_query_is_refused(service: Running, query: str) -> None:
    found = service.predict(WHITE, query)
    assert (found.status, found.json["error"]["code"]) == (400, "wrong_query")


def test_an_error_rate_that_cannot_be_met_is_refused(service: Running) -> None:
    found = service.predict(WHITE, "?max_error=0.001")
    assert found.status == 400
    assert "0.05" in found.json["error"]["message"]


def test_a_body_in_chunks_is_counted(service: Running) -> None:
    found = service("POST", "/predict", iter([WHITE[:30], WHITE[30:]]), content_type="image/png")
    assert found.status == 200
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    assert b" 413 " in service.raw(head + chunk * 3 + chunk)[:20]


def test_a_length_that_lies_is_no_way_around(service: Running) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n%s\r\n"
    for length in (b"-1", b"1e9", b"18446744073709551616", b"5\r\nContent-Length: 6"):
        assert b" 400 " in service.raw(head % (length, b"") + b"hello")[:20]
    assert b" 400 " in service.raw(head % (b"5", b"Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n")[:20]
    assert b" 413 " in service.raw(head % (b"999999999999", b""))[:20]


def test_a_token_is_asked_for(start: Any) -> None:
    service = start(token="very-secret-token")
    good = {"authorization": "Bearer very-secret-token"}
    assert service.predict(WHITE, **good).status == 200
    for wrong in ({}, {"authorization": "Bearer other"}, {"authorization": "Basic very-secret-token"}):
        found = service.predict(WHITE, **wrong)
        assert found.status == 401
        assert found.headers["www-authenticate"] == "Bearer"
    for path in ("/models", "/metrics", "/models/first"):
        assert service("GET", path).status == 401
        assert service("GET", path, **good).status == 200
    for path in ("/health", "/ready", "/openapi.json", "/"):
        assert service("GET", path).status == 200
    twice = (
        b"GET /models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + b"Authorization: Bearer very-secret-token\r\n" * 2
    )
    assert b" 401 " in service.raw(twice + b"\r\n")[:20]
    assert service("POST", "/models/first/reload", **good).json["name"] == "first"


def test_reloading_without_a_token_is_refused(service: Running) -> None:
    found = service("POST", "/models/first/reload")
    assert found.status == 403
    assert "HEADSTART_TOKEN" in found.json["error"]["message"]


def test_request_ids_are_kept_where_they_are_harmless(service: Running) -> None:
    assert service("GET", "/health", x_request_id="job-7.a_b").headers["x-request-id"] == "job-7.a_b"
    for odd in ("a b", "x" * 65, '"}{"', "é"):
        made = service("GET", "/health", x_request_id=odd).headers["x-request-id"]
        assert len(made) == 32
    refused = service.predict(b"x", x_request_id="mine")
    assert refused.json["request_id"] == refused.headers["x-request-id"] == "mine"


def test_unknown_addresses_and_methods_are_answered_in_json(service: Running) -> None:
    assert service("GET", "/nothing").json["error"]["code"] == "unknown_address"
    found = service("GET", "/predict")
    assert (found.status, found.headers["allow"]) == (405, "POST")
    assert service("GET", "/models/..%2f..%2fetc%2fpasswd").status == 404


def test_what_happens_is_counted(service: Running) -> None:
    service.predict(WHITE)
    service.predict(WHITE[:50])
    text = service("GET", "/metrics").body.decode()
    assert 'headstart_requests_total{operation="predict",status="200"}' in text
    assert 'headstart_refused_total{code="broken_image"}' in text
    assert 'headstart_waiting_images{model="first"} 0.0' in text
    assert "headstart_batch_images_bucket" in text


def test_the_log_is_json_and_has_nothing_of_the_image(service: Running) -> None:
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonLines().format(record))

    log, kept = logging.getLogger("headstart.serving"), Kept()
    log.addHandler(kept)
    service.predict(**multipart(WHITE), query="?top_k=1", x_request_id="seen")
    service("GET", '/no"where%0a')
    end = time.monotonic() + 10  # a line is written once its answer is sent, and the client may be quicker
    while not any('"status": 404' in line for line in lines) and time.monotonic() < end:
        time.sleep(0.01)
    log.removeHandler(kept)
    found = [json.loads(line) for line in lines]  # an earlier request may end up here
    asked = next(line for line in found if line["request_id"] == "seen")
    lost = next(line for line in found if line["status"] == 404)
    assert (asked["request_id"], asked["status"], asked["images"]) == ("seen", 200, 1)
    assert asked["milliseconds"] > 0
    assert not {"body", "file", "label"} & set(asked)
    assert not any("0.png" in line for line in lines)
    assert lost["code"] == "unknown_address"
