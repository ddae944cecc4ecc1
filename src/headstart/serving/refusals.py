"""What a service says when it does not answer: a status, a code for programs, and a sentence for people."""

from __future__ import annotations


class RefusedError(Exception):
    """A request that is not answered, and why.

    Attributes
    ----------
    status:
        Of HTTP.
    code:
        A word that stays the same between versions.
    retry_after:
        Seconds after which it may be tried again; ``None`` where trying again does not help.
    closes:
        Whether the connection ends, because the rest of the request is not read.
    """

    def __init__(
        self, status: int, code: str, message: str, *, retry_after: int | None = None, closes: bool = False
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.retry_after, self.closes = retry_after, closes


def busy(message: str) -> RefusedError:
    """The service has as much to do as it takes on."""
    return RefusedError(503, "busy", message, retry_after=1)
