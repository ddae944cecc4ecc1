"""The command itself: it prints a link that works, ends by Ctrl-C, and costs other commands nothing."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.cli import browser, process
from headstart.ui import server
from headstart.ui.entry import Entry


def test_the_link_works_until_ctrl_c(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    make_run(tmp_path / "runs" / "ants")
    command = [sys.executable, "-m", "headstart.cli", "ui", "--folder", str(tmp_path / "runs"), "--no-browser"]
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background lets its children ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert running.stdout is not None
        link = running.stdout.readline().split()[-1]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor())
        with opener.open(link, timeout=30) as answer:
            assert b"url=/" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            opener.open(link[:-3], timeout=30)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
    finally:
        running.kill()
    assert running.returncode == 0
    assert "ended; verdicts on labels are kept" in said
    assert "Traceback" not in said


def test_without_the_server_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(browser.importlib.util, "find_spec", lambda name: None if name == "uvicorn" else found(name))
    monkeypatch.setattr(sys, "argv", ["headstart", "ui", "--no-browser"])
    assert process.run() == 2
    assert 'pip install "headstart[ui]"' in capsys.readouterr().err


def test_a_taken_port_ends_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    taken = server._bound(0)
    with taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(sys, "argv", ["headstart", "ui", "--no-browser", "--port", str(port)])
        assert process.run() == 2
    assert "choose another with --port" in capsys.readouterr().err


def test_other_commands_do_not_import_the_server() -> None:
    script = (
        "import sys, headstart.workflow, headstart.cli\n"
        "names = {'starlette', 'uvicorn', 'anyio', 'asyncio.streams', 'headstart.ui'}\n"
        "assert not names & set(sys.modules), names & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_browser_gets_a_pass_and_only_where_there_is_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    links: list[str] = []
    monkeypatch.setattr(server.webbrowser, "open", links.append)
    entry = Entry(1)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(server.sys, "platform", "linux")
    assert server.open_browser(entry) is None
    monkeypatch.setitem(os.environ, "DISPLAY", ":0")
    opening = server.open_browser(entry)
    assert opening is not None
    opening.join(5)
    assert entry.token not in links[0]
    assert entry.admits(links[0].partition("token=")[2])
