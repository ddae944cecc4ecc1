"""What every request passes and every answer carries: host, key and origin; and headers that bind the page."""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headstart.ui.entry import Entry

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; font-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
"""A report is a file that anybody may have written: it runs in an origin of its own and reaches nothing."""

_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_READING = {"GET", "HEAD"}
# The page goes on by itself: a redirect would still count as coming from where the link was, and send no cookie.
_WELCOME = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><link rel="icon" href="data:,">'
    '<meta http-equiv="refresh" content="0;url=/"><title>headstart</title><p><a href="/">Go on</a></p></html>'
)
_NO_KEY = (
    "This page opens with the link that headstart ui has printed in its terminal. A link from before a restart, or one "
    "that was opened by itself already, is no longer good.\n"
)


class Guard:
    """Lets through to an application what :class:`Entry` admits; everything else is refused here.

    A request has one ``Host`` header of this server, and the cookie, or on the way in the token. What changes something
    also has this server as its ``Origin``, so that no other page can ask for it.
    """

    def __init__(self, application: ASGIApp, entry: Entry) -> None:
        self._application = application
        self._entry = entry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] != "http":  # there are no sockets here, and nothing to start
            return
        answer = self._answer(scope)

        async def send_bound(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (answer or self._application)(scope, receive, send_bound)

    def _answer(self, scope: Scope) -> Response | None:
        """The refusal or the welcome of a request; ``None`` for one that goes on."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0] not in self._entry.hosts:
            return PlainTextResponse("This server answers only as 127.0.0.1 or localhost, on its port.\n", 421)
        reading = scope["method"] in _READING
        token = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        if reading and scope["path"] == "/" and token is not None:
            if not self._entry.admits(token[0]):
                return PlainTextResponse(_NO_KEY, 403)
            return HTMLResponse(_WELCOME, headers={"Set-Cookie": self._entry.set_cookie()})
        if not self._entry.knows(headers.get("cookie", "")):
            return PlainTextResponse(_NO_KEY, 403)
        if not reading and headers.getlist("origin") != [f"http://{hosts[0]}"]:
            return PlainTextResponse("Changes are taken from this server's own pages only.\n", 403)
        return None
