"""One request and its answer over one connection, within limits that hold for every byte.

urllib3 connects and verifies. What follows is done here, for two reasons. Every wait for bytes must know the deadline of the
whole fetch and whether the run was cancelled, also in the middle of a header line; so the sockets themselves ask
(:class:`Budget`). And headers are read without the e-mail parser of ``http.client``, which bounds a line and the number of
lines but not their sum, and takes two thirds of the time of a small page.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import brotli
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import BrotliDecoder, ContentDecoder, DeflateDecoder, GzipDecoder

from jobs.library.fetch_errors import BadResponse, Disconnected, FetchError, Overdue, TooLarge, Untrusted

if TYPE_CHECKING:
    from typing_extensions import Buffer

CHUNK_BYTES = 65_536
"""Read and unpacked at a time: what a bomb can add before the limits are looked at again."""
DRAIN_BYTES = 16_384
"""An unwanted rest up to this size is read, since that is cheaper than a new connection."""
RATIO_FROM_BYTES = 65_536
"""Below this size a high ratio is harmless, and normal for a page full of spaces."""

DECODERS: dict[str, Callable[[], ContentDecoder]] = {
    "gzip": GzipDecoder,
    "x-gzip": GzipDecoder,
    "deflate": DeflateDecoder,
    "br": BrotliDecoder,
}
ACCEPT_ENCODING = "gzip, deflate, br"

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: [^\r\n]*)?\r?\n")
_NO_BODY = frozenset({204, 304})

Want = Callable[[int, Mapping[str, str]], bool]
"""Decides from status and headers (names in lower case) whether the body is read."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one fetch may take. The values are those of security.md, S11."""

    connect_s: float = 5.0
    """Looking up, connecting and shaking hands, each."""
    read_s: float = 10.0
    """Silence in the middle of an answer."""
    total_s: float = 30.0
    """The whole fetch with its redirects."""
    body_bytes: int = 10_000_000
    """After unpacking."""
    ratio: int = 100
    """Unpacked to packed size."""
    header_bytes: int = 65_536
    redirects: int = 5


class Budget:
    """What one fetch may still take. Asked before each wait for the network."""

    __slots__ = ("_check", "_deadline", "limits")

    def __init__(self, limits: Limits, check: Callable[[], None] | None = None) -> None:
        self.limits = limits
        self._check = check
        self._deadline = time.monotonic() + limits.total_s

    def wait_s(self, most: float) -> float:
        """Seconds that the next wait may last. Raises Overdue, and whatever ``check`` raises."""
        if self._check is not None:
            self._check()
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Overdue(f"took longer than {self.limits.total_s:g} s in all")
        return min(most, left)


class GuardedSocket(socket.socket):
    """A socket that asks the budget before each read."""

    budget: Budget | None = None

    def recv_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> int:
        _grant(self, self.budget)
        return super().recv_into(buffer, nbytes, flags)


class GuardedTLSSocket(ssl.SSLSocket):
    """The same under TLS; an SSLContext makes it through its ``sslsocket_class``."""

    budget: Budget | None = None

    def recv_into(self, buffer: Buffer, nbytes: int | None = None, flags: int = 0) -> int:
        _grant(self, self.budget)
        return super().recv_into(buffer, nbytes, flags)


def _grant(sock: socket.socket, budget: Budget | None) -> None:
    if budget is not None:
        wait_s = budget.wait_s(budget.limits.read_s)
        if wait_s != sock.gettimeout():
            sock.settimeout(wait_s)


Connect = Callable[[Budget, Callable[[GuardedSocket], None]], GuardedSocket]
"""Makes a socket connected to a checked address, and shows it, so that it can be shut down, before it connects."""


class PlainConnection(HTTPConnection):
    """A connection for http. ``connect_checked`` decides what it connects to."""

    budget: Budget
    connect_checked: Connect

    def _new_conn(self) -> socket.socket:
        return self.connect_checked(self.budget, lambda sock: setattr(self, "sock", sock))


class TLSConnection(HTTPSConnection):
    """A connection for https: name and certificate stay those of the URL, whatever the address."""

    budget: Budget
    connect_checked: Connect

    def _new_conn(self) -> socket.socket:
        return self.connect_checked(self.budget, lambda sock: setattr(self, "sock", sock))


Connection = PlainConnection | TLSConnection


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came. ``body`` is unpacked, or None where it was not wanted."""

    status: int
    headers: dict[str, str]
    body: bytes | None
    complete: bool
    reusable: bool


class _Answer(http.client.HTTPResponse):
    """``http.client``'s response for the framing of the body; the head is read by :meth:`read_head`."""

    fields: dict[str, str]

    def read_head(self, most_bytes: int) -> None:
        """Read status line and headers, past interim (1xx) answers. Raises TooLarge, BadResponse, Disconnected."""
        lines = _Lines(self.fp, most_bytes)
        while True:
            version, self.status = _status_line(lines)
            self.fields = fields = _headers(lines)
            if self.status >= 200:
                break
        self._frame(version, fields)

    def _frame(self, version: int, fields: Mapping[str, str]) -> None:
        """How the body ends (RFC 9112, 6.3)."""
        coding = fields.get("transfer-encoding")
        length = fields.get("content-length")
        self.chunked = coding is not None
        self.chunk_left = None
        if coding is not None and coding.lower() != "chunked":
            raise BadResponse("its transfer encoding is not known")
        self.length = None if self.chunked or length is None else _length(length)
        if self.status in _NO_BODY or self._method == "HEAD":  # type: ignore[attr-defined]  # typeshed omits it
            self.chunked, self.length = False, 0
        connection = fields.get("connection", "").lower()
        keeps = "close" not in connection and (version == 1 or "keep-alive" in connection)
        # Both lengths at once is how requests are smuggled: such a connection is not used again.
        unclear = self.length is None and not self.chunked or (coding is not None and length is not None)
        self.will_close = unclear or not keeps

    @property
    def ended(self) -> bool:
        """Whether the body has been read to its end."""
        return self.isclosed() or (self.length == 0 and not self.chunked)


class _Lines:
    """The lines of a head, of limited size in all."""

    __slots__ = ("_left", "_readline", "any")

    def __init__(self, file: http.client._BufferedReaderStream, most_bytes: int) -> None:
        self._readline = file.readline
        self._left = most_bytes
        self.any = False

    def next(self) -> bytes:
        line = self._readline(self._left + 1)
        self._left -= len(line)
        if self._left < 0:
            raise TooLarge("its headers are larger than allowed")
        if not line.endswith(b"\n"):
            raise Disconnected("the connection was closed before the answer", answered=self.any or bool(line))
        self.any = True
        return line


def _status_line(lines: _Lines) -> tuple[int, int]:
    found = _STATUS_LINE.fullmatch(lines.next())
    if found is None or found[2] == b"101":
        raise BadResponse("the answer is not HTTP")
    return int(found[1]), int(found[2])


def _headers(lines: _Lines) -> dict[str, str]:
    """Header fields by name in lower case; repeated ones are joined (RFC 9110, 5.2). Lines that are none are left out."""
    fields: dict[str, str] = {}
    while (line := lines.next()) not in (b"\r\n", b"\n"):
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or name[0].isspace():
            continue
        name = name.strip().lower()
        fields[name] = f"{fields[name]}, {value.strip()}" if name in fields else value.strip()
    return fields


def _length(text: str) -> int:
    lengths = {one.strip() for one in text.split(",")}
    length = lengths.pop()
    if lengths or not (length.isascii() and length.isdigit()) or len(length) > 18:
        raise BadResponse("its length is not a number")
    return int(length)


def exchange(
    connection: Connection,
    request: bytes,
    budget: Budget,
    *,
    method: str = "GET",
    want: Want | None = None,
    max_bytes: int | None = None,
    cut: bool = False,
) -> Reply:
    """Send a request over an open connection and read the answer; the connection is not closed.

    ``max_bytes`` (default: the limit) bounds the unpacked body; a larger one raises TooLarge, or is returned as far as
    that where ``cut``. Raises FetchError.
    """
    sock = connection.sock
    assert isinstance(sock, GuardedSocket | GuardedTLSSocket)
    sock.budget = budget
    answer = None
    try:
        sock.settimeout(budget.wait_s(budget.limits.read_s))
        sock.sendall(request)
        answer = _Answer(sock, method=method)
        answer.read_head(budget.limits.header_bytes)
        body, complete = None, True
        if want is None or want(answer.status, answer.fields):
            most = budget.limits.body_bytes if max_bytes is None else max_bytes
            body, complete = _read_body(answer, budget.limits.ratio, most, cut)
        elif answer.length is not None and answer.length <= DRAIN_BYTES:
            answer.read()
        return Reply(answer.status, answer.fields, body, complete, answer.ended and not answer.will_close)
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise failure(error, budget.limits, answered=answer is not None and answer.status != http.client._UNKNOWN) from error
    finally:
        if answer is not None:
            answer.close()


def failure(error: Exception, limits: Limits, *, answered: bool = False) -> FetchError:
    """What a low-level error means to the user."""
    match error:
        case TimeoutError():
            return Overdue(f"did not answer for {limits.read_s:g} s")
        case ssl.SSLCertVerificationError():
            return Untrusted(f"its certificate is not trusted ({error.verify_message})")
        case ssl.SSLError():
            return Untrusted(f"no secure connection ({error.reason or 'TLS error'})")
        case ConnectionRefusedError():
            return Disconnected("refused the connection")
        case OSError():
            return Disconnected(f"the connection failed ({error.strerror or type(error).__name__})", answered=answered)
        case http.client.IncompleteRead():
            return BadResponse("stopped in the middle of the answer")
        case _:
            return BadResponse("the answer is not HTTP")


def _read_body(answer: _Answer, ratio: int, most: int, cut: bool) -> tuple[bytes, bool]:
    """The unpacked body and whether that is all of it."""
    decoder = _decoder(answer.fields.get("content-encoding", ""))
    if decoder is None and answer.length is not None and answer.length <= min(CHUNK_BYTES, most):
        return answer.read(), True
    body, packed = bytearray(), 0
    while piece := answer.read(CHUNK_BYTES):
        packed += len(piece)
        for plain in (piece,) if decoder is None else unpacked(decoder, piece):
            body += plain
            if len(body) > most:
                if cut:
                    return bytes(body[:most]), False
                raise TooLarge(f"is larger than {_size(most)}")
            if len(body) > max(RATIO_FROM_BYTES, ratio * packed):
                raise TooLarge(f"unpacks to more than {ratio} times its size")
    if answer.length:
        raise http.client.IncompleteRead(b"", answer.length)
    return bytes(body), True


def _decoder(encoding: str) -> ContentDecoder | None:
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding not in DECODERS:
        # Layers multiply what a small answer can unpack to, and no honest server needs two.
        raise BadResponse("is packed more than once" if "," in encoding else "is packed in an unknown way")
    return DECODERS[encoding]()


def unpacked(decoder: ContentDecoder, piece: bytes) -> Iterator[bytes]:
    """What ``piece`` unpacks to, at most CHUNK_BYTES at a time. Raises BadResponse."""
    try:
        yield decoder.decompress(piece, max_length=CHUNK_BYTES)
        while decoder.has_unconsumed_tail:
            yield decoder.decompress(b"", max_length=CHUNK_BYTES)
    except (zlib.error, brotli.error) as error:
        raise BadResponse("is packed, and the packing is damaged") from error


def _size(count: int) -> str:
    return f"{count / 1_000_000:g} MB" if count >= 1_000_000 else f"{count / 1024:g} KiB"
