"""The addresses of the local page: each is answered by one short function."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from headstart.errors import HeadstartError, ImageError, MissingExtraError, OptionError, RecordError, StorageError
from headstart.features.engine import Say
from headstart.records import from_plain, to_plain
from headstart.reporting.wording import shorten
from headstart.ui.guard import REPORT_POLICY
from headstart.ui.labels import SCREENFUL, Labels, corrections_of
from headstart.ui.looking import Looker
from headstart.ui.marking import Mark
from headstart.ui.pages import ASSETS, asset, render, run_rows
from headstart.ui.runs_folder import RunsFolder, UnknownRunError, refit_command

MOST_BYTES = 64 << 20
"""Of an image that is dropped on a page."""

_UPLOADS = 2  # images in memory at a time; the others wait
_MOST_SAID = 1 << 20  # bytes of a verdict; one may name thousands of classes
_LONGEST = 500
_CODES = ((UnknownRunError, 404), (ImageError, 422), (MissingExtraError, 422), (OptionError, 400), (StorageError, 500))

Answer = Callable[[Request], Awaitable[Response]]


class TooLargeError(HeadstartError):
    """More was sent than is taken."""


def application(root: Path, say: Say) -> Starlette:
    """The pages about the runs in the folder ``root``. They ask nobody who they are: see :mod:`headstart.ui.guard`.

    Parameters
    ----------
    say:
        Called with what a person at the terminal should hear, as of a model that is compiled.
    """
    pages = _Pages(RunsFolder(root), Looker(say), Labels())
    routes = [
        Route("/", _page(pages.list)),
        Route("/side-by-side", _page(pages.pair)),
        Route("/run/{name}", _page(pages.report)),
        Route("/run/{name}/report.html", _page(pages.report_file)),
        Route("/run/{name}/try", _page(pages.trial)),
        Route("/run/{name}/try", _data(pages.look), methods=["POST"]),
        Route("/run/{name}/labels", _page(pages.labels)),
        Route("/run/{name}/labels", _data(pages.mark), methods=["POST"]),
        Route("/run/{name}/picture", _page(pages.picture)),
        *(Route(address, _asset) for address in ASSETS),
    ]
    pages_served = Starlette(routes=routes, exception_handlers={HTTPException: _not_there, Exception: _broken})
    pages_served.router.redirect_slashes = False  # an address is one of these, or wrong
    return pages_served


class _Pages:
    """What the addresses answer."""

    def __init__(self, runs: RunsFolder, looker: Looker, labels: Labels) -> None:
        self._runs = runs
        self._looker = looker
        self._labels = labels
        self._uploads = asyncio.Semaphore(_UPLOADS)

    async def list(self, request: Request) -> Response:
        runs = await run_in_threadpool(self._runs.runs)
        return HTMLResponse(render("runs", folder=str(self._runs.root), runs=run_rows(runs)))

    async def pair(self, request: Request) -> Response:
        names = request.query_params.getlist("run")
        if len(names) != 2:
            raise OptionError(f"{len(names)} runs were chosen: choose two of the list, and then “Side by side”")
        for name in names:
            self._runs.find(name)
        return HTMLResponse(render("pair", names=names))

    async def report(self, request: Request) -> Response:
        name, folder = self._found(request)
        there = (folder / "report.html").is_file()
        return HTMLResponse(render("run", name=name, here="report", has_report=there))

    async def report_file(self, request: Request) -> Response:
        _, folder = self._found(request)
        content = self._runs.file(folder, "report.html")
        return HTMLResponse(content, headers={"Content-Security-Policy": REPORT_POLICY})

    async def trial(self, request: Request) -> Response:
        name, _ = self._found(request)
        return HTMLResponse(render("try", name=name, here="try", most_bytes=MOST_BYTES))

    async def look(self, request: Request) -> Any:
        _, folder = self._found(request)
        name = shorten(request.query_params.get("name", "the image"), 100)
        async with self._uploads:
            data = await _body(request, MOST_BYTES)
            return await run_in_threadpool(self._looker.look, folder, data, name)

    async def labels(self, request: Request) -> Response:
        name, folder = self._found(request)
        first = request.query_params.get("from", "0")
        judged = await run_in_threadpool(self._labels.of, folder)
        place = int(first) if first.isascii() and first.isdigit() and len(first) < 9 else 0
        sheet = await run_in_threadpool(self._labels.sheet, folder, place)
        corrections = corrections_of(folder)
        return HTMLResponse(
            render(
                "labels",
                name=name,
                here="labels",
                judged=judged,
                sheet=sheet,
                screenful=SCREENFUL,
                file=str(corrections),
                refit=refit_command(folder, corrections),
            )
        )

    async def mark(self, request: Request) -> Any:
        _, folder = self._found(request)
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise OptionError("a verdict is sent as application/json")
        try:
            plain = json.loads(await _body(request, _MOST_SAID))
            mark = from_plain(Mark, plain, where="the verdict")
        except (ValueError, RecursionError, RecordError) as error:
            raise OptionError(f"the verdict can't be read: {error}") from error
        marks = await run_in_threadpool(self._labels.mark, folder, mark)
        return {"mark": marks.get(mark.file), "marked": len(marks)}

    async def picture(self, request: Request) -> Response:
        _, folder = self._found(request)
        file = request.query_params.get("file", "")
        content = await run_in_threadpool(self._labels.picture, folder, file)
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    def _found(self, request: Request) -> tuple[str, Path]:
        name = request.path_params["name"]
        return name, self._runs.find(name)


async def _asset(request: Request) -> Response:
    content, kind = asset(request.url.path)
    return Response(content, media_type=kind)


async def _body(request: Request, most: int) -> bytes:
    """What was sent, read no further than it may be long; raises :class:`TooLargeError`."""
    refusal = TooLargeError(f"more than {most >> 20} MB were sent, which is the most that is taken: make it smaller")
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > most:
        raise refusal
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > most:
            raise refusal
    return bytes(content)


def _page(answer: Answer) -> Answer:
    """The same, but errors that a person can mend become a page."""

    async def answered(request: Request) -> Response:
        try:
            return await answer(request)
        except HeadstartError as error:
            return _message(_code(error), str(error))
        except OSError as error:  # removed or locked away a moment ago
            return _message(409, str(error))

    return answered


def _data(answer: Callable[[Request], Awaitable[Any]]) -> Answer:
    """What is answered as JSON, errors too, in the field ``error``."""

    async def answered(request: Request) -> Response:
        try:
            return JSONResponse(to_plain(await answer(request)))
        except ClientDisconnect:
            return Response(status_code=400)
        except HeadstartError as error:
            return JSONResponse({"error": shorten(str(error), _LONGEST)}, _code(error))
        except OSError as error:
            return JSONResponse({"error": shorten(str(error), _LONGEST)}, 409)

    return answered


def _code(error: HeadstartError) -> int:
    if isinstance(error, TooLargeError):
        return 413
    return next((code for kind, code in _CODES if isinstance(error, kind)), 409)


async def _not_there(request: Request, error: Exception) -> Response:
    code = error.status_code if isinstance(error, HTTPException) else 500
    said = "there is nothing at this address" if code == 404 else "this address takes no such request"
    return _message(code, said)


async def _broken(request: Request, error: Exception) -> Response:
    said = "something went wrong in headstart; the terminal says what"
    if request.method == "POST":
        return JSONResponse({"error": said}, 500)
    return _message(500, said)


def _message(code: int, said: str) -> Response:
    return HTMLResponse(render("message", said=shorten(said, _LONGEST)), code)
