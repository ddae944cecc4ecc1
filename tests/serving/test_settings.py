"""What a service is started with is checked before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from headstart.errors import OptionError
from headstart.serving.settings import Limits, read_models, read_token


def test_models_are_named_after_their_run_or_as_wished(tmp_path: Path) -> None:
    run = tmp_path / "my plants-1"
    (run / "export" / "onnx").mkdir(parents=True)
    (run / "export" / "onnx" / "model.onnx").touch()
    for below in ("", "export", "export/onnx", "export/onnx/model.onnx"):
        assert read_models([str(run / below)])[0].name == "my-plants-1"
    (named,) = read_models([f"best={run}"])
    assert (named.name, named.path) == ("best", run)
    (tmp_path / "a=b").mkdir()
    assert read_models([str(tmp_path / "a=b")])[0].path == tmp_path / "a=b"


@pytest.mark.parametrize("texts", [[], ["a=x", "a=y"], ["run", "other/run"], ["a/b=x"], ["=x"], [f"{'n' * 65}=x"]])
def test_wrong_names_are_refused(texts: list[str]) -> None:
    with pytest.raises(OptionError):
        read_models(texts)


def test_a_token_that_no_header_can_hold_is_refused() -> None:
    assert read_token(None) is None
    assert read_token("") is None
    assert read_token("long-enough") == "long-enough"
    for text in ("short", "with a space", "ümlaut-token", "line\nbreak-x"):
        with pytest.raises(OptionError):
            read_token(text)


@pytest.mark.parametrize("limits", [{"body": 0}, {"pixels": 10**9}, {"queue": 8}, {"memory": 2**20}, {"timeout": -1.0}])
def test_limits_that_contradict_each_other_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(OptionError):
        Limits(**limits)


def test_a_port_in_use_is_named() -> None:
    pytest.importorskip("uvicorn")
    from headstart.serving.server import is_loopback, take_port

    with take_port("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(OptionError, match=rf"port {port} on 127\.0\.0\.1 is in use"):
            take_port("127.0.0.1", port)
    with pytest.raises(OptionError, match="--host"):
        take_port("192.0.2.1", 0)
    assert is_loopback("127.3.2.1")
    assert is_loopback("::1")
    assert is_loopback("localhost")
    assert not is_loopback("0.0.0.0")
