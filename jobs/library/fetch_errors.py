"""Why something could not be fetched, as one small tree. Each message is a sentence part fit for the user's eyes."""

from __future__ import annotations


class FetchError(Exception):
    """The root: catching it means "this URL gave nothing, and here is why".

    ``sent`` is whether the request had been sent, at least in part: the server may have worked on it.
    """

    sent = False


class BadURL(FetchError):
    """Raised when the text is no http(s) URL that may be asked for: scheme, port, user information, odd characters."""


class Unreachable(FetchError):
    """Raised when a host has no address that may be connected to.

    An unknown name and a refused address read the same: whoever asks learns nothing about the network in here.
    """

    def __init__(self) -> None:
        super().__init__("the host name is unknown, or its address is not public")


class Disconnected(FetchError):
    """Raised when no connection came about or it broke. ``answered`` is whether any byte of an answer had come."""

    def __init__(self, message: str, *, answered: bool = False) -> None:
        super().__init__(message)
        self.answered = answered


class Untrusted(FetchError):
    """Raised when TLS fails: a certificate of another name, expired, or signed by nobody known."""


class Overdue(FetchError):
    """Raised when connecting, an answer, or all of it took too long."""


class TooLarge(FetchError):
    """Raised when an answer is larger than allowed: its headers, its body, or what its body unpacks to."""


class BadResponse(FetchError):
    """Raised when an answer is not HTTP, stops too early, or is packed in a way that is not accepted."""


class TooManyRedirects(FetchError):
    """Raised when redirects lead in a circle or on and on."""


class Closed(FetchError):
    """Raised when the fetcher was closed, before the fetch or in the midst of it."""

    def __init__(self) -> None:
        super().__init__("stopped")
