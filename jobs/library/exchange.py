"""One request and its answer over one connection, within limits that hold for every byte.

urllib3 connects and verifies. What follows is done here, for two reasons. Every wait for bytes must know the deadline
of the whole fetch and whether the run was cancelled, also in the middle of a header line; so the sockets themselves ask
(:class:`Budget`). And headers are read without the e-mail parser of ``http.client``, which bounds a line and the number
of lines but not their sum. The whole takes a third of the time of ``pool.request()`` for a small page, which matters to
a crawl more than to others.
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
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, cast

import brotli
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import BrotliDecoder, ContentDecoder, DeflateDecoder, GzipDecoder
from urllib3.util.ssl_match_hostname import CertificateError

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


@dataclass(frozen=True, slots=True)
class BodyPolicy:
    """What of an answer's body is read, and what is kept of it. Sizes are those after unpacking."""

    want: Callable[[int, Mapping[str, str]], bool] | None = None
    """Decides from status and headers (names in lower case) whether it is read at all. Defaults to yes."""
    max_bytes: int | None = None
    """A larger one is an error. Defaults to the limit."""
    cut: bool = False
    """A larger one is no error, but read only so far."""
    keep_bytes: int | None = None
    """The rest is counted and dropped. Defaults to all."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one fetch may take."""

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

    def overdue(self, waited_s: float) -> Overdue:
        """What a wait that ended without an answer means."""
        if self._deadline - time.monotonic() < 0.001:
            return Overdue(f"took longer than {self.limits.total_s:g} s in all")
        return Overdue(f"did not answer for {waited_s:g} s")


class GuardedSocket(socket.socket):
    """A socket that asks the budget before each read."""

    budget: Budget | None = None

    def recv_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> int:
        """As socket.recv_into; raises what the budget raises."""
        _grant(self, self.budget)
        return super().recv_into(buffer, nbytes, flags)


class GuardedTLSSocket(ssl.SSLSocket):
    """The same under TLS; an SSLContext makes it through its ``sslsocket_class``."""

    budget: Budget | None = None

    def recv_into(self, buffer: Buffer, nbytes: int | None = None, flags: int = 0) -> int:
        """As socket.recv_into; raises what the budget raises."""
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
    certificate_end: datetime | None = None

    def _new_conn(self) -> socket.socket:
        return self.connect_checked(self.budget, lambda sock: setattr(self, "sock", sock))


class TLSConnection(HTTPSConnection):
    """A connection for https: name and certificate stay those of the URL, whatever the address."""

    budget: Budget
    connect_checked: Connect
    certificate_end: datetime | None = None
    """When the certificate of the host runs out."""

    def connect(self) -> None:
        """As HTTPSConnection.connect; looks at the certificate, which has been verified then."""
        super().connect()
        certificate = cast(ssl.SSLSocket, self.sock).getpeercert() or {}
        if ends := cast(str | None, certificate.get("notAfter")):
            self.certificate_end = datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)

    def _new_conn(self) -> socket.socket:
        return self.connect_checked(self.budget, lambda sock: setattr(self, "sock", sock))


Connection = PlainConnection | TLSConnection


@dataclass(frozen=True, slots=True)
class Body:
    """A body, unpacked: what was kept of it, its size as far as it was read, and whether it was read to the end."""

    kept: bytes
    size: int
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came. ``body`` is None where it was not wanted."""

    status: int
    headers: dict[str, str]
    body: Body | None
    reusable: bool
    certificate_end: datetime | None = None


class _Answer(http.client.HTTPResponse):
    """``http.client``'s response for the framing of the body; the head is read by :meth:`read_head`."""

    fields: dict[str, str]
    begun = False
    """Whether a status line has come: the request has been worked on and may not be sent again."""

    def read_head(self, most_bytes: int) -> None:
        """Read status line and headers, past interim (1xx) answers. Raises TooLarge, BadResponse, Disconnected."""
        lines = _Lines(cast(BinaryIO, self.fp), most_bytes)
        while True:
            version, self.status = _status_line(lines)
            self.begun = True
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

    def __init__(self, file: BinaryIO, most_bytes: int) -> None:
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
    """Header fields by name in lower case, repeated ones joined (RFC 9110, 5.2); lines that are none are left out."""
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


def exchange(connection: Connection, request: bytes, budget: Budget, policy: BodyPolicy, method: str = "GET") -> Reply:
    """Send a request over an open connection and read the answer; the connection is not closed. Raises FetchError."""
    sock = connection.sock
    assert isinstance(sock, GuardedSocket | GuardedTLSSocket)
    sock.budget = budget
    answer = None
    try:
        sock.settimeout(budget.wait_s(budget.limits.read_s))
        sock.sendall(request)
        answer = _Answer(sock, method=method)
        answer.read_head(budget.limits.header_bytes)
        body = None
        if policy.want is None or policy.want(answer.status, answer.fields):
            body = _read_body(answer, policy, budget.limits)
        elif answer.length is not None and answer.length <= DRAIN_BYTES:
            answer.read()
        reusable = answer.ended and not answer.will_close
        return Reply(answer.status, answer.fields, body, reusable, connection.certificate_end)
    except TimeoutError as error:
        raise budget.overdue(budget.limits.read_s) from error
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise failure(error, answered=answer is not None and answer.begun) from error
    finally:
        if answer is not None:
            answer.close()


def failure(error: Exception, *, answered: bool = False) -> FetchError:
    """What a low-level error, other than a time-out, means to the user."""
    match error:
        case ssl.SSLCertVerificationError():
            return Untrusted(f"its certificate is not trusted ({error.verify_message})")
        case CertificateError():
            return Untrusted("its certificate is for another name")
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


def _read_body(answer: _Answer, policy: BodyPolicy, limits: Limits) -> Body:
    most = limits.body_bytes if policy.max_bytes is None else policy.max_bytes
    keep = most if policy.keep_bytes is None else policy.keep_bytes
    decoder = _decoder(answer.fields.get("content-encoding", ""))
    if decoder is None and answer.length is not None and answer.length <= min(CHUNK_BYTES, most, keep):
        kept = answer.read()  # the usual page, in one piece
        return Body(kept, len(kept))
    body, size, packed = bytearray(), 0, 0
    while piece := answer.read(CHUNK_BYTES):
        packed += len(piece)
        for plain in (piece,) if decoder is None else unpacked(decoder, piece):
            size += len(plain)
            body += plain[: max(0, keep - len(body))]
            if size > most:
                if policy.cut:
                    return Body(bytes(body[:most]), most, complete=False)
                raise TooLarge(f"is larger than {_size(most)}")
            if size > max(RATIO_FROM_BYTES, limits.ratio * packed):
                raise TooLarge(f"unpacks to more than {limits.ratio} times its size")
    if answer.length:
        raise http.client.IncompleteRead(b"", answer.length)
    return Body(bytes(body), size)


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
        # Until nothing comes: brotli keeps unpacked data back although it "can accept more" (brotli 1.2.1).
        plain = decoder.decompress(piece, max_length=CHUNK_BYTES)
        while plain:
            yield plain
            plain = decoder.decompress(b"", max_length=CHUNK_BYTES)
    except (zlib.error, brotli.error) as error:
        raise BadResponse("is packed, and the packing is damaged") from error


def _size(count: int) -> str:
    return f"{count / 1_000_000:g} MB" if count >= 1_000_000 else f"{count / 1024:g} KiB"
