"""Who may come in: addresses, the token in the link, and the cookie that takes its place."""

from __future__ import annotations

import secrets
from http.cookies import CookieError, SimpleCookie

_BYTES = 32


class Entry:
    """The keys of one server that listens on a port of this machine.

    The token opens the page again and again. A pass opens it once: it is handed to the browser on a command line, which
    other users of the machine can read. Both are exchanged for a cookie that no script can read.

    Attributes
    ----------
    hosts:
        The ``Host`` headers that are answered. Any other one comes from a page whose name was pointed here.
    token:
        The key in the link that is printed.
    cookie:
        The name of the cookie; cookies go to all ports of a machine, so it has the port in it.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
        self.token = secrets.token_urlsafe(_BYTES)
        self.cookie = f"headstart_{port}"
        self._session = secrets.token_urlsafe(_BYTES)
        self._passes: set[str] = set()

    def link(self) -> str:
        """The address that opens the page."""
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    def single_link(self) -> str:
        """An address that opens the page once."""
        fresh = secrets.token_urlsafe(_BYTES)
        self._passes.add(fresh)
        return f"http://127.0.0.1:{self.port}/?token={fresh}"

    def admits(self, token: str) -> bool:
        """Whether a token is the server's, or a pass that nobody has used."""
        if _equal(token, self.token):
            return True
        used = {one for one in self._passes if _equal(token, one)}
        self._passes -= used
        return bool(used)

    def knows(self, cookies: str) -> bool:
        """Whether a ``Cookie`` header has the server's cookie."""
        try:
            found = SimpleCookie(cookies).get(self.cookie)
        except CookieError:
            return False
        return found is not None and _equal(found.value, self._session)

    def set_cookie(self) -> str:
        """The ``Set-Cookie`` header: no script reads it, and no other site's page sends it."""
        return f"{self.cookie}={self._session}; Path=/; HttpOnly; SameSite=Strict"


def _equal(given: str, own: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "surrogateescape"), own.encode())
