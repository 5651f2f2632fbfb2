"""The one guarded way to the web. Whatever a job fetches, it fetches here: pages, robots.txt, sitemaps, web hooks.

Only http and https, only ports 80 and 443, only addresses on the public internet (:mod:`jobs.library.addresses`). A
host is looked up once per connection, every answer must pass, and the connection goes to an answer that passed, so that
a name which changes its address in between gains nothing. Redirects are followed here, each under the same rules.
There are no proxies, no .netrc, no cookies. Exceptions are exact ``host:port`` pairs from the setting CRAWL_ALLOW.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from queue import Empty, SimpleQueue
from types import TracebackType
from urllib.parse import quote, urljoin

from urllib3.util.ssl_match_hostname import CertificateError

from jobs.library.addresses import denial, is_own
from jobs.library.exchange import (
    ACCEPT_ENCODING,
    Body,
    BodyPolicy,
    Budget,
    Connection,
    GuardedSocket,
    GuardedTLSSocket,
    Limits,
    PlainConnection,
    Reply,
    TLSConnection,
    exchange,
    failure,
)
from jobs.library.fetch_errors import BadURL, Closed, Disconnected, FetchError, Overdue, TooManyRedirects, Unreachable

USER_AGENT = "Headway/1.0"
PORTS = {"http": 80, "https": 443}
MAX_URL_CHARS = 4096
MAX_TRIED = 4
"""Addresses of one host that are tried; the time to connect is shared among them."""
MAX_IDLE = 32
"""Kept connections per origin: as many as a job may have threads."""
MAX_IDLE_ORIGINS = 64
FRESH_S = 1.0
"""A connection that was used within this time is not asked whether it still lives."""
WHOLE = BodyPolicy()
UNREAD = BodyPolicy(want=lambda status, headers: False)
REDIRECTS = frozenset({301, 302, 303, 307, 308})
FOREIGN_SAFE = frozenset({"accept", "accept-language"})
"""Headers that go along to another origin; all others may carry credentials."""

_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9a-f:.]+\]|[^][/?#@:\\%]+)"
    r"(?::(?P<port>\d{0,5}))?"
    r"(?P<target>[/?][^#]*)?"
    r"(?:#.*)?",
    re.IGNORECASE,
)
"""Everything else is refused: user information, backslashes and percent signs in the host, a missing ``//``."""
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f]")
_TARGET_SAFE = "%/:=&?~#+!$,;'@()*[]|^`{}\"<>\\"
"""Characters of a path or query that stand for themselves; only those beyond ASCII are encoded."""

Resolve = Callable[[str, int], list[str]]


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what a connection belongs to."""

    scheme: str
    host: str
    port: int

    @property
    def netloc(self) -> str:
        """Host and, where it is not the scheme's own, port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Hop:
    """A redirect that was followed."""

    url: str
    status: int


@dataclass(frozen=True, slots=True)
class Response:
    """What a fetch gave. ``url`` is where the last redirect led; ``headers`` have lower case names."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: Body | None
    elapsed_s: float
    hops: tuple[Hop, ...] = ()
    certificate_end: datetime | None = None
    """When the certificate of an https URL runs out."""

    @property
    def location(self) -> str | None:
        """Where a redirect leads, absolute; None where it is none."""
        if self.status not in REDIRECTS or not (location := self.headers.get("location")):
            return None
        try:
            location = location.encode("latin-1").decode()  # what browsers take bytes beyond ASCII for
        except UnicodeDecodeError:
            pass
        try:
            return urljoin(self.url, location)
        except ValueError:  # an IPv6 address that is none
            return location

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; empty where none is given."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


def parse(url: str) -> tuple[Origin, str]:
    """The origin of a URL, and what to ask it for. Raises BadURL."""
    if len(url) > MAX_URL_CHARS:
        raise BadURL(f"is longer than {MAX_URL_CHARS} characters")
    found = _URL.fullmatch(url)
    if found is None or _FORBIDDEN.search(url):
        raise BadURL("is not a web address; one looks like https://example.com/page")
    scheme, host, port, target = found.group("scheme", "host", "port", "target")
    if target is None:
        target = "/"
    elif target[0] == "?":
        target = "/" + target
    return origin_of(scheme, host, port), target if target.isascii() else quote(target, safe=_TARGET_SAFE)


@lru_cache(maxsize=4096)
def origin_of(scheme: str, host: str, port: str | None) -> Origin:
    """An origin in its normal form: lower case, IDNA, no trailing dot. Raises BadURL."""
    scheme = scheme.lower()
    try:
        host = host.strip("[]").encode("idna").decode().lower() if not host.isascii() else host.strip("[]").lower()
        host = host.removesuffix(".")
        host.encode("idna")  # refuses empty and overlong labels
    except UnicodeError:
        raise BadURL("has a host name that cannot be") from None
    if not host:
        raise BadURL("has no host name")
    return Origin(scheme, host, int(port) if port else PORTS[scheme])


def parse_allow(setting: str | None) -> frozenset[tuple[str, int]]:
    """The setting CRAWL_ALLOW: exact ``host:port`` pairs, separated by commas. Raises ValueError naming a wrong one."""
    pairs = set()
    for one in filter(None, (part.strip() for part in (setting or "").split(","))):
        try:
            origin, target = parse(f"http://{one}")
        except BadURL:
            origin, target = None, ""
        if origin is None or target != "/" or not re.search(r":\d+$", one) or not 0 < origin.port < 65536:
            raise ValueError(f"CRAWL_ALLOW: {one!r} is not host:port, for example intranet.example:8080")
        pairs.add((origin.host, origin.port))
    return frozenset(pairs)


def system_resolve(host: str, port: int) -> list[str]:
    """All addresses that the system knows for a host. Raises OSError or UnicodeError where it knows none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(eq=False)
class Fetcher:
    """Fetches, over kept connections, from any number of threads. Use it as a context manager, or call ``close``.

    ``allow`` is exempt from the rules on ports and addresses (:func:`parse_allow`). ``check`` is called before every
    wait and may raise to stop the fetch: ``progress.check``, say. ``ports``, ``resolve`` and ``tls`` are for tests.
    """

    allow: Collection[tuple[str, int]] = frozenset()
    limits: Limits = Limits()
    check: Callable[[], None] | None = None
    ports: Collection[int] = frozenset({80, 443})
    resolve: Resolve = system_resolve
    user_agent: str = USER_AGENT
    tls: ssl.SSLContext | None = None
    _idle: defaultdict[Origin, list[tuple[Connection, float]]] = field(
        default_factory=lambda: defaultdict(list), init=False
    )
    _idle_lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _busy: set[Connection] = field(default_factory=set, init=False)
    _closed: bool = field(default=False, init=False)

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(
        self, url: str, *, headers: Mapping[str, str] | None = None, follow: bool = True, body: BodyPolicy = WHOLE
    ) -> Response:
        """Fetch a URL, through redirects unless ``follow`` is False. ``body`` says how much of the body is read.

        Raises FetchError.
        """
        return self._through("GET", url, headers, follow, body)

    def head(self, url: str, *, headers: Mapping[str, str] | None = None, follow: bool = True) -> Response:
        """As :meth:`get`, but ask for status and headers only. Some servers answer it otherwise than a GET."""
        return self._through("HEAD", url, headers, follow, UNREAD)

    def post(
        self, url: str, content: bytes, headers: Mapping[str, str] | None = None, *, body: BodyPolicy = WHOLE
    ) -> Response:
        """Send ``content``, once: no redirect is followed, and nothing is sent again where a connection breaks.

        Raises FetchError; its ``sent`` tells whether the server may have worked on it all the same (RFC 9110, 9.2.2).
        """
        budget = Budget(self.limits, self.check)
        started = time.perf_counter()
        try:
            origin, target = parse(url)
            request = self._request("POST", origin, target, {**(headers or {}), "Content-Length": str(len(content))})
            reply = self._fetch("POST", origin, request + content, budget, body)
        except FetchError as error:
            raise self._closed_instead(error) from error.__cause__
        elapsed_s = time.perf_counter() - started
        return Response(url, reply.status, reply.headers, reply.body, elapsed_s, (), reply.certificate_end)

    def close(self) -> None:
        """Close all connections. Fetches of other threads end at once, with Closed."""
        self._closed = True
        for connection in list(self._busy):
            _shut(connection)
        with self._idle_lock:
            idle = [connection for kept in self._idle.values() for connection, _ in kept]
            self._idle.clear()
        for connection in idle:
            connection.close()

    def _through(
        self, method: str, url: str, headers: Mapping[str, str] | None, follow: bool, body: BodyPolicy
    ) -> Response:
        budget = Budget(self.limits, self.check)
        hops: list[Hop] = []
        started = time.perf_counter()
        try:
            while True:
                origin, target = parse(url)
                reply = self._fetch(method, origin, self._request(method, origin, target, headers), budget, body)
                elapsed_s = time.perf_counter() - started
                response = Response(
                    url, reply.status, reply.headers, reply.body, elapsed_s, tuple(hops), reply.certificate_end
                )
                if not follow or (location := response.location) is None:
                    return response
                hops.append(Hop(url, reply.status))
                self._check_hops(location, hops)
                headers = _portable(headers, origin, location)
                url = location
        except FetchError as error:
            raise self._closed_instead(error) from error.__cause__

    def _closed_instead(self, error: FetchError) -> FetchError:
        """What an error is once the fetcher was closed: its consequence."""
        if not self._closed:
            return error
        closed = Closed()
        closed.sent = error.sent
        return closed

    def _request(self, method: str, origin: Origin, target: str, headers: Mapping[str, str] | None) -> bytes:
        lines = f"{method} {target} HTTP/1.1\r\nHost: {origin.netloc}\r\n{self._fixed_lines}"
        if headers:
            lines += "".join(f"{_clean(name)}: {_clean(value)}\r\n" for name, value in headers.items())
        return f"{lines}\r\n".encode("latin-1")

    @cached_property
    def _fixed_lines(self) -> str:
        return f"User-Agent: {_clean(self.user_agent)}\r\nAccept-Encoding: {ACCEPT_ENCODING}\r\n"

    def _check_hops(self, location: str, hops: list[Hop]) -> None:
        if any(hop.url == location for hop in hops):
            raise TooManyRedirects("redirects in a circle")
        if len(hops) > self.limits.redirects:
            raise TooManyRedirects(f"redirects more than {self.limits.redirects} times")

    def _fetch(self, method: str, origin: Origin, request: bytes, budget: Budget, body: BodyPolicy) -> Reply:
        """Over a kept connection if there is one, else over a new one."""
        once = method == "POST"
        connection = self._kept(origin, fresh=once)
        if connection is not None:
            try:
                return self._over(connection, method, origin, request, budget, body)
            except Disconnected as error:
                if error.answered or self._closed or once:
                    raise
                # The server had closed the idle connection; a GET may be repeated (RFC 9112, 9.3.1).
        return self._over(self._new(origin), method, origin, request, budget, body)

    def _over(
        self, connection: Connection, method: str, origin: Origin, request: bytes, budget: Budget, body: BodyPolicy
    ) -> Reply:
        reusable = False
        self._busy.add(connection)
        try:
            if self._closed:
                raise Closed
            if connection.sock is None:
                self._open(connection, budget)
            try:
                reply = exchange(connection, request, budget, body, method)
            except FetchError as error:
                error.sent = True
                raise
            reusable = reply.reusable
            return reply
        finally:
            self._busy.discard(connection)
            if reusable and not self._closed:
                self._keep(origin, connection)
            else:
                connection.close()

    def _kept(self, origin: Origin, fresh: bool = False) -> Connection | None:
        """A kept connection; with ``fresh`` only one that is least likely to be closed by the server just now."""
        while True:
            with self._idle_lock:
                kept = self._idle.get(origin)
                if not kept:
                    return None
                connection, since = kept.pop()
            used_now = time.monotonic() - since < FRESH_S
            # Some servers send a 408 before they close an idle connection: it must not be taken for the answer.
            if (used_now and connection.is_connected) if fresh else (used_now or connection.is_connected):
                return connection
            connection.close()

    def _keep(self, origin: Origin, connection: Connection) -> None:
        crowded_out: list[tuple[Connection, float]] = []
        with self._idle_lock:
            kept = self._idle[origin]
            if len(kept) < MAX_IDLE:
                kept.append((connection, time.monotonic()))
            else:
                crowded_out.append((connection, 0.0))
            if len(self._idle) > MAX_IDLE_ORIGINS:
                crowded_out += self._idle.pop(next(iter(self._idle)))
        for one, _ in crowded_out:
            one.close()

    def _new(self, origin: Origin) -> Connection:
        if origin.scheme == "https":
            connection: Connection = TLSConnection(origin.host, origin.port, ssl_context=self._tls_context)
        else:
            connection = PlainConnection(origin.host, origin.port)
        connection.connect_checked = lambda budget, show: self._connect(origin, budget, show)
        return connection

    @cached_property
    def _tls_context(self) -> ssl.SSLContext:
        context = self.tls or ssl.create_default_context()
        context.sslsocket_class = GuardedTLSSocket
        return context

    def _open(self, connection: Connection, budget: Budget) -> None:
        connection.budget = budget
        try:
            connection.connect()
        except TimeoutError as error:
            raise budget.overdue(budget.limits.connect_s) from error
        except (OSError, CertificateError) as error:
            raise failure(error) from error

    def _connect(self, origin: Origin, budget: Budget, show: Callable[[GuardedSocket], None]) -> GuardedSocket:
        """Connect to the first address that answers, all of which were checked before the first is tried."""
        addresses = self._checked_addresses(origin, budget)[:MAX_TRIED]
        deadline = time.monotonic() + budget.limits.connect_s
        for number, address in enumerate(addresses):
            share_s = (deadline - time.monotonic()) / (len(addresses) - number)
            sock = GuardedSocket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
            show(sock)
            try:
                sock.settimeout(budget.wait_s(max(share_s, 0.1)))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect((address, origin.port))
            except OSError:
                sock.close()
                if number == len(addresses) - 1:
                    raise
            except BaseException:
                sock.close()
                raise
            else:
                sock.settimeout(budget.wait_s(budget.limits.connect_s))  # for the TLS handshake
                return sock
        raise Unreachable

    def _checked_addresses(self, origin: Origin, budget: Budget) -> list[str]:
        """Look the host up, once. Raises Unreachable unless every answer may be connected to."""
        allowed = (origin.host, origin.port) in self.allow
        if not allowed and origin.port not in self.ports:
            raise BadURL("has a port that is not allowed; only 80 and 443 are")
        addresses = self._look_up(origin, budget.wait_s(budget.limits.connect_s))
        if not addresses or not allowed and any(denial(one) or is_own(one) for one in addresses):
            raise Unreachable
        return addresses

    def _look_up(self, origin: Origin, wait_s: float) -> list[str]:
        """Ask the resolver, in a thread since nothing else can put a limit to its time."""
        answers: SimpleQueue[list[str]] = SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self.resolve(origin.host, origin.port))
            except (OSError, UnicodeError):
                answers.put([])

        threading.Thread(target=ask, name="look-up", daemon=True).start()
        try:
            return answers.get(timeout=wait_s)
        except Empty:
            raise Overdue(f"looking up the host name took longer than {wait_s:.0f} s") from None


def _portable(headers: Mapping[str, str] | None, origin: Origin, location: str) -> Mapping[str, str] | None:
    """The headers that may go along with a redirect: to another origin, none that may be a credential."""
    if not headers or parse(location)[0] == origin:
        return headers
    return {name: value for name, value in headers.items() if name.lower() in FOREIGN_SAFE}


def _clean(text: str) -> str:
    if "\r" in text or "\n" in text or "\0" in text:
        raise ValueError("a header must be one line")
    return text


def _shut(connection: Connection) -> None:
    """Wake whoever waits on it; that thread closes it."""
    sock = connection.sock
    if sock is not None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # not yet connected, or already gone
