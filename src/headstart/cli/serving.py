"""The command that answers over HTTP: ``serve``."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Annotated

import typer

from headstart.cli.output import say

_MEGABYTE = 2**20


def serve(
    models: Annotated[
        list[str],
        typer.Argument(metavar="[NAME=]RUN_OR_EXPORT…", help="Runs, or exported files or their folders."),
    ],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes; each has all models.")] = 1,
    max_body: Annotated[int, typer.Option(min=1, help="Megabytes that a request may have.")] = 32,
    max_pixels: Annotated[int, typer.Option(min=1, help="Pixels that an image may claim.")] = 50_000_000,
    max_images: Annotated[int, typer.Option(min=1, help="Images that a request may have.")] = 64,
    queue: Annotated[int, typer.Option(min=1, help="Images that may wait for their answers.")] = 256,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a request may take.")] = 30.0,
) -> None:
    """Answer over HTTP, without PyTorch; HEADSTART_TOKEN in the environment asks for that bearer token.

    A run without an export is exported to OpenVINO first. SIGHUP loads the models anew; SIGTERM answers what was
    accepted, and ends.
    """
    from headstart.errors import EngineError
    from headstart.serving.settings import TOKEN, Settings, limits_of, read_models, read_token
    from headstart.serving.sources import ready_to_serve

    limits = limits_of(max_body * _MEGABYTE, max_pixels, max_images, queue, timeout)
    settings = Settings(read_models(models), read_token(os.environ.get(TOKEN)), workers, limits)
    server = _server()
    with server.take_port(host, port) as listener:
        for model in settings.models:
            ready_to_serve(model, say)
        taken = listener.getsockname()[1]
        if settings.token is None and not server.is_loopback(host):
            say(f"warning: everybody who reaches {host} may use this service; set {TOKEN} to ask for a token")
        say(f"listening on http://{host if ':' not in host else f'[{host}]'}:{taken}")
        if not server.serve(settings, listener):
            raise EngineError("the service did not start; the line above says why")


def _server() -> ModuleType:
    """The module that listens; raises :class:`MissingExtraError` where its libraries are not installed."""
    from headstart.errors import MissingExtraError

    try:
        return importlib.import_module("headstart.serving.server")
    except ModuleNotFoundError as error:
        raise MissingExtraError("headstart serve", "serve") from error
