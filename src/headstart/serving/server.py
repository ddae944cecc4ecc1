"""Runs the service: takes the port, starts the workers, and ends when all that was accepted is answered."""

from __future__ import annotations

import contextlib
import errno
import functools
import ipaddress
import os
import resource
import signal
import socket
import tempfile
from collections.abc import Iterator

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from headstart.errors import OptionError
from headstart.serving.app import make_app
from headstart.serving.logs import log_config
from headstart.serving.metrics import FOLDER
from headstart.serving.protocol import GuardedProtocol
from headstart.serving.settings import Settings

BACKLOG = 4096
"""Connections that wait in the kernel until they are taken."""

# A connection needs a file descriptor, and common limits of 1024 are met by one burst.
_DESCRIPTORS = 65_536
_STARTING = 60  # seconds in which a worker must have loaded its models


def take_port(host: str, port: int) -> socket.socket:
    """A socket on an address; nobody is answered on it yet.

    Raises
    ------
    OptionError
        If the port is in use, may not be taken, or the host has no such address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
            found.listen(BACKLOG)
        except BaseException:
            found.close()
            raise
    except (OSError, OverflowError) as error:
        raise OptionError(_why_not(host, port, error)) from error
    return found


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def serve(settings: Settings, listener: socket.socket) -> bool:
    """Answer requests until SIGTERM or SIGINT, then answer what was accepted.

    Returns whether it ended so; ``False`` where a model could not be loaded.
    """
    _allow_many_connections()
    config = configured(settings)
    with _ending_quietly():
        if settings.workers > 1:
            with _counting_together():
                supervisor = Multiprocess(config, sockets=[listener])
                supervisor.run()
            return all(worker.exitcode != STARTUP_FAILURE for worker in supervisor.processes)
        server = uvicorn.Server(config)
        try:
            server.run(sockets=[listener])
        except SystemExit:  # the log has the reason
            return False
        return server.started


def configured(settings: Settings) -> uvicorn.Config:
    """How uvicorn runs the service."""
    return uvicorn.Config(
        functools.partial(make_app, settings),
        factory=True,
        http=GuardedProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=log_config(),
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        workers=settings.workers,
        timeout_graceful_shutdown=int(settings.limits.timeout) + 5,
        timeout_worker_healthcheck=_STARTING,
    )


@contextlib.contextmanager
def _ending_quietly() -> Iterator[None]:
    """uvicorn raises the signal that ended it once more; a graceful end is no failure."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _counting_together() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="headstart-metrics-") as folder:
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER]


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _why_not(host: str, port: int, error: OSError | OverflowError) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return f"port {port} on {host} is in use: choose another with --port, or stop what listens there"
    if number == errno.EACCES:
        return f"port {port} may not be taken by this user: choose one above 1023 with --port"
    return f"can't listen on {host}, port {port} ({getattr(error, 'strerror', None) or error}): see --host and --port"
