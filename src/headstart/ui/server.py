"""The server of the local page: on this machine's own address, until Ctrl-C."""

from __future__ import annotations

import os
import socket
import sys
import threading
import webbrowser
from pathlib import Path

import uvicorn

from headstart.errors import OptionError
from headstart.features.engine import Say
from headstart.ui.application import application
from headstart.ui.entry import Entry
from headstart.ui.guard import Guard

_HOST = "127.0.0.1"
_AT_ONCE = 64  # connections; a browser keeps six


class Site:
    """A server that has its port and answers once :meth:`serve` is called.

    Parameters
    ----------
    root:
        The folder that holds the run folders.
    port:
        The port on 127.0.0.1, 0 for any free one.
    say:
        Called with what a person at the terminal should hear.

    Attributes
    ----------
    entry:
        The keys: :meth:`Entry.link` is what a person opens.

    Raises
    ------
    OptionError
        If the port can't be had.
    """

    def __init__(self, root: Path, *, port: int = 0, say: Say = print) -> None:
        self._socket = _bound(port)
        self.entry = Entry(self._socket.getsockname()[1])
        config = uvicorn.Config(
            Guard(application(root, say), self.entry),
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # there is no proxy whose word on who is asking could be taken
            limit_concurrency=_AT_ONCE,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)

    def serve(self) -> None:
        """Answer until Ctrl-C, which comes out as :class:`KeyboardInterrupt`, or :meth:`stop`."""
        with self._socket:
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Let :meth:`serve` end, from another thread."""
        self._server.should_exit = True


def open_browser(entry: Entry) -> threading.Thread | None:
    """Open the page in the person's browser, where there is a screen; in a thread, which is given back."""
    if sys.platform.startswith("linux") and not ({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ)):
        return None
    thread = threading.Thread(target=webbrowser.open, args=(entry.single_link(),), daemon=True)
    thread.start()
    return thread


def _bound(port: int) -> socket.socket:
    try:
        return socket.create_server((_HOST, port))
    except (OSError, OverflowError) as error:
        raise OptionError(f"port {port} can't be had on {_HOST} ({error}): choose another with --port") from error
