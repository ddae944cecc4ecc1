"""Under load, at the limits and at the end: what was accepted is answered, what is too much is refused with a 503."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from headstart import runtime
from headstart.errors import ArtifactError
from headstart.serving import protocol

Running = Any


def storm(service: Running, image: bytes, count: int) -> Counter[int]:
    """Many requests at once: how often each status came."""
    with ThreadPoolExecutor(count) as pool:
        return Counter(answer.status for answer in pool.map(lambda _: service.predict(image), range(count)))


def test_requests_at_once_share_batches(start: Any, session: Any, white: bytes) -> None:
    slow = session(seconds=0.05)
    service = start(session=slow)
    assert storm(service, white, 24) == {200: 24}
    assert max(slow.batches) > 4
    assert len(slow.batches) < 12
    service.stop()


def test_a_batch_is_no_larger_than_its_limit(start: Any, session: Any, white: bytes) -> None:
    slow = session(seconds=0.02)
    service = start(session=slow, batch=3)
    assert storm(service, white, 16) == {200: 16}
    assert max(slow.batches) == 3


def test_what_the_queue_has_no_place_for_is_refused_at_once(start: Any, session: Any, white: bytes) -> None:
    service = start(session=session(seconds=0.3), queue=4, images=4, batch=2)
    found = storm(service, white, 24)
    assert set(found) == {200, 503}
    assert found[200] >= 4
    assert service.predict(white).status == 200  # all places are given back
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: service.predict(white), range(8)))
    assert {answer.headers.get("retry-after") for answer in answers if answer.status == 503} == {"1"}


def test_a_slow_model_is_given_up(start: Any, session: Any, white: bytes) -> None:
    service = start(session=session(seconds=0.8), timeout=0.2)
    found = service.predict(white)
    assert (found.status, found.json["error"]["code"]) == (503, "timeout")


def test_a_failing_batch_is_the_only_one_to_fail(start: Any, session: Any, white: bytes) -> None:
    failing = session(fails=True)
    service = start(session=failing)
    found = service.predict(white)
    assert (found.status, found.json["error"]["code"]) == (500, "failed")
    assert "promises" not in found.body.decode()
    failing.fails = False
    assert service.predict(white).status == 200


def test_slow_and_endless_clients_are_ended(start: Any, white: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.2)
    service = start(timeout=0.3)
    assert b" 408 " in service.raw(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")[:20]
    assert b" 408 " in service.raw(b"POST /predict HT")[:20]
    assert service.raw(b"") == b""
    endless = b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 30_000
    assert b" 431 " in service.raw(endless)[:20]
    second = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HT"  # slow after a quick one
    assert service.raw(second).count(b"HTTP/1.1") == 2
    assert service.predict(white).status == 200


def test_requests_together_hold_no_more_memory_than_allowed(start: Any) -> None:
    service = start(body=100_000, pixels=100_000, memory=400_000)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            waiting = stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            waiting.sendall(head + bytes(99_000))
        deadline = time.monotonic() + 5
        while (found := service.predict(bytes(50_000))).status != 503:
            assert time.monotonic() < deadline
        assert found.json["error"]["code"] == "busy"
    deadline = time.monotonic() + 5
    while (found := service.predict(bytes(50_000))).status != 415:  # it is given back when the clients leave
        assert time.monotonic() < deadline


def test_a_model_is_replaced_without_a_lost_request(
    start: Any, session: Any, white: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = {"authorization": "Bearer 12345678"}
    service = start(token="12345678", session=session(seconds=0.02))
    newer = session(seconds=0.01)
    newer.record = dataclasses.replace(newer.record, classes=("a", "b", "c"))
    found: list[Any] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            found.append(service.predict(white, **token))

    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask) for _ in range(6)]
        time.sleep(0.2)
        monkeypatch.setattr(runtime, "load", lambda *_, **__: runtime.Model(newer))
        assert service("POST", "/models/first/reload", **token).json["classes"] == ["a", "b", "c"]
        time.sleep(0.2)
        over.set()
        for one in asking:
            one.result()
    assert {answer.status for answer in found} == {200}
    labels = [answer.json["predictions"][0]["label"] for answer in found]
    assert {labels[0], labels[-1]} == {"light", "c"}


def test_a_damaged_replacement_leaves_the_model_as_it_is(
    start: Any, white: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ArtifactError("model.xml is damaged")

    token = {"authorization": "Bearer 12345678"}
    service = start(token="12345678")
    monkeypatch.setattr(runtime, "load", broken)
    found = service("POST", "/models/first/reload", **token)
    assert (found.status, found.json["error"]["code"]) == (409, "not_loaded")
    assert "damaged" in found.json["error"]["message"]
    assert service.predict(white, **token).status == 200


def test_a_graceful_end_answers_what_was_accepted(start: Any, session: Any, white: bytes) -> None:
    service = start(session=session(seconds=0.2), batch=4)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(white)
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
        busy = [stack.enter_context(socket.create_connection(("127.0.0.1", service.port))) for _ in range(12)]
        for connection in busy:
            connection.sendall(head + white)
        time.sleep(0.15)
        service.server.should_exit = True
        time.sleep(0.3)
        silent.sendall(head + white)  # was under way
        for connection in (*busy, silent):
            connection.settimeout(10)
            answer = b""
            while part := connection.recv(65536):
                answer += part
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" in answer
    service.thread.join(10)
    assert not service.thread.is_alive()


@pytest.mark.soak
def test_ten_thousand_connections_bring_nothing_but_answers_and_503(start: Any, session: Any, white: bytes) -> None:
    psutil = pytest.importorskip("psutil")
    service = start(session=session(seconds=0.01), queue=64)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(white)
    before = psutil.Process().memory_info().rss
    statuses: Counter[bytes] = Counter()
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(8_000):  # with this side's own, what 20,000 descriptors allow
            connections.append(stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=60)))
        for connection in connections:
            connection.sendall(head + white)
        for connection in connections:
            answer = b""
            while part := connection.recv(65536):
                answer += part
            statuses[answer[9:12]] += 1
    assert sum(statuses.values()) == 8_000
    assert set(statuses) <= {b"200", b"503"}
    assert psutil.Process().memory_info().rss - before < 500 * 2**20
    assert service.predict(white).status == 200
