"""The way to the web is guarded: addresses, redirects, limits."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path

import brotli
import pytest
import trustme

from jobs.errors import Cancelled
from jobs.library.addresses import DENIED, denial, is_own
from jobs.library.exchange import Body, BodyPolicy, Limits
from jobs.library.fetch import Fetcher, parse, parse_allow
from jobs.library.fetch_errors import (
    BadResponse,
    BadURL,
    Closed,
    Disconnected,
    FetchError,
    Overdue,
    TooLarge,
    TooManyRedirects,
    Unreachable,
    Untrusted,
)
from tests.harness import wait_for
from tests.library.site import Handler, Site

QUICK = Limits(connect_s=1, read_s=0.2, total_s=1)
OK = Body(b"ok", 2)


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        site.html("/", "Home")
        yield site


@pytest.fixture
def sinks() -> Iterator[list[Site]]:
    """Servers that nothing may connect to, on loopback in both families."""
    with Site() as four, Site("::1") as six:
        yield [four, six]


def connections(sinks: list[Site]) -> int:
    return sum(sink.connections for sink in sinks)


def fetcher_of(site: Site, limits: Limits = QUICK) -> Fetcher:
    return Fetcher(parse_allow(site.host), limits=limits)


def guarded(sinks: list[Site], *answers: str) -> Fetcher:
    """A fetcher that the ports of the sinks would not stop, so that only their addresses do."""
    ports = frozenset({80, 443, *(sink.port for sink in sinks)})
    if answers:
        return Fetcher(limits=QUICK, ports=ports, resolve=lambda host, port: list(answers))
    return Fetcher(limits=QUICK, ports=ports)


# 1. Literals.

LITERALS = [
    "127.0.0.1", "127.1", "0", "0.0.0.0", "0177.0.0.1", "2130706433", "0x7f.1", "0x7f000001", "017700000001",
    "１２７.0.0.1", "127。0。0。1", "①②⑦.0.0.1", "127.0.0.1.", "localhost", "LOCALHOST", "localhost.",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
    "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[::ffff:0:7f00:1]", "[fd00:ec2::254]",
    "169.254.169.254", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "192.0.0.8", "192.88.99.1",
    "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "[fe80::1]", "[fec0::1]", "[ff02::1]",
]  # fmt: skip


@pytest.mark.parametrize("host", LITERALS)
def test_no_spelling_of_a_private_address_is_connected_to(sinks: list[Site], host: str) -> None:
    """Whatever the text looks like, what the resolver makes of it is judged; nothing is connected to."""
    with guarded(sinks) as fetcher:
        for sink in sinks:
            with pytest.raises((Unreachable, BadURL)):
                fetcher.get(f"http://{host}:{sink.port}/")
    assert connections(sinks) == 0


@pytest.mark.parametrize("network", [str(network) for network, _ in DENIED])
def test_each_denied_network_is_denied_from_end_to_end(network: str) -> None:
    """The first and the last address of each network of the list are refused, each with its reason."""
    for found, reason in DENIED:
        if str(found) == network:
            assert reason and denial(str(found[0])) and denial(str(found[-1]))


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("::ffff:10.0.0.1", False),
        ("::8.8.8.8", False),
        ("64:ff9b::808:808", False),
        ("2002:808:808::", False),
        ("fe80::1%eth0", False),
        ("not an address", False),
        ("", False),
    ],
)
def test_an_embedded_address_is_judged_by_what_is_inside(address: str, allowed: bool) -> None:
    """IPv4-mapped addresses count as the IPv4 address; all other embeddings are refused whole."""
    assert (denial(address) is None) == allowed


def test_addresses_of_this_machine_are_its_own() -> None:
    """A public address of this very machine leads to what listens here, so the kernel is asked."""
    assert is_own("127.0.0.1") and is_own("::1")
    assert not is_own("8.8.8.8")


# 2. Names, and what resolvers answer.


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "127.0.0.1"],
        ["8.8.8.8", "::1"],
        ["::ffff:127.0.0.1"],
        ["8.8.8.8"] * 99 + ["10.0.0.1"],
        ["169.254.169.254"],
        ["garbage"],
    ],
)
def test_one_private_answer_refuses_the_name(sinks: list[Site], answers: list[str]) -> None:
    """Every answer must pass, wherever it stands."""
    with guarded(sinks, *answers) as fetcher, pytest.raises(Unreachable):
        fetcher.get(f"http://public.example:{sinks[0].port}/")
    assert connections(sinks) == 0


def test_refused_and_unknown_read_the_same() -> None:
    """Nobody learns from the message whether a name exists in here."""

    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror("no such name")

    messages = set()
    for resolve in (unknown, lambda host, port: ["10.0.0.1"], lambda host, port: []):
        with Fetcher(resolve=resolve) as fetcher, pytest.raises(Unreachable) as caught:
            fetcher.get("http://intranet.example/")
        messages.add(str(caught.value))
    assert len(messages) == 1


# 3. Rebinding.


def test_a_name_that_changes_its_address_gains_nothing(sinks: list[Site]) -> None:
    """50 fetches by 10 threads, of a name that answers otherwise each time: none reaches the sink."""
    answers = cycle([["8.8.8.8", "127.0.0.1"], ["127.0.0.1"], ["::1", "8.8.8.8"]])
    lock = threading.Lock()

    def resolve(host: str, port: int) -> list[str]:
        with lock:
            return next(answers)

    fetcher = Fetcher(limits=QUICK, ports=frozenset({sinks[0].port}), resolve=resolve)

    def refused(_: int) -> bool:
        with pytest.raises(Unreachable):
            fetcher.get(f"http://rebinding.example:{sinks[0].port}/")
        return True

    with fetcher, ThreadPoolExecutor(10) as threads:
        assert all(threads.map(refused, range(50)))
    assert connections(sinks) == 0


def test_a_host_is_looked_up_once_and_that_answer_connected_to(site: Site) -> None:
    """Between check and connection nobody asks again; a kept connection needs no look-up at all."""
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["203.0.113.1"]

    with Fetcher(parse_allow(f"name.example:{site.port}"), limits=QUICK, resolve=resolve) as fetcher:
        for _ in range(3):
            assert fetcher.get(f"http://name.example:{site.port}/").status == 200
    assert asked == ["name.example"] and site.connections == 1
    assert site.requests[0][1]["Host"] == f"name.example:{site.port}"


# 4. Redirects.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0x7f.1"])
def test_a_redirect_is_guarded_like_the_first_request(site: Site, sinks: list[Site], status: int, host: str) -> None:
    """A page that may be fetched cannot send the fetcher where it may not go."""
    for sink in sinks:
        site.redirect("/away", f"http://{host}:{sink.port}/", status)
        fetcher = Fetcher(parse_allow(site.host), limits=QUICK, ports=frozenset({80, sink.port}))
        with fetcher, pytest.raises(Unreachable):
            fetcher.get(f"{site.url}/away")
    assert connections(sinks) == 0


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://x/", "ftp://x/", "javascript:1", "http://a@b/"])
def test_a_redirect_leads_to_the_web_only(site: Site, location: str) -> None:
    """Other schemes are refused at a redirect too."""
    site.redirect("/away", location)
    with fetcher_of(site) as fetcher, pytest.raises(BadURL):
        fetcher.get(f"{site.url}/away")


def test_a_redirect_without_scheme_stays_guarded(site: Site, sinks: list[Site]) -> None:
    """``//127.0.0.1`` names another host, not a path."""
    site.redirect("/away", f"//127.0.0.1:{sinks[0].port}/")
    fetcher = Fetcher(parse_allow(site.host), ports=frozenset({sinks[0].port}), limits=QUICK)
    with fetcher, pytest.raises(Unreachable):
        fetcher.get(f"{site.url}/away")
    assert connections(sinks) == 0


def test_five_redirects_are_followed_and_the_sixth_is_not(site: Site) -> None:
    """The hops are told, in order."""
    for number in range(6):
        site.redirect(f"/r{number}", f"/r{number + 1}")
    site.html("/r6", "End")
    with fetcher_of(site) as fetcher:
        response = fetcher.get(f"{site.url}/r1")
        assert response.url == f"{site.url}/r6" and response.status == 200
        assert [hop.url for hop in response.hops] == [f"{site.url}/r{number}" for number in range(1, 6)]
        with pytest.raises(TooManyRedirects):
            fetcher.get(f"{site.url}/r0")


def test_redirects_in_a_circle_are_seen_at_once(site: Site) -> None:
    """A loop costs as many requests as it has members."""
    site.redirect("/a", "/b")
    site.redirect("/b", "/a")
    with fetcher_of(site) as fetcher, pytest.raises(TooManyRedirects, match="circle"):
        fetcher.get(f"{site.url}/a")
    assert site.paths == ["/a", "/b"]


def test_redirects_are_returned_where_they_are_not_to_be_followed(site: Site) -> None:
    """A crawler makes a row of each."""
    site.redirect("/a", "b?x=ä")
    with fetcher_of(site) as fetcher:
        response = fetcher.get(f"{site.url}/a", follow=False)
    assert (response.status, response.location) == (302, f"{site.url}/b?x=ä")


def test_no_credentials_go_along_to_another_host(site: Site) -> None:
    """Headers of the caller stay with the origin that they were meant for."""
    with Site() as other:
        other.html("/", "Other")
        site.redirect("/away", f"{other.url}/")
        site.redirect("/here", "/")
        with Fetcher(parse_allow(f"{site.host}, {other.host}"), limits=QUICK) as fetcher:
            headers = {"Authorization": "Bearer x", "Cookie": "a=b", "X-Key": "k", "Accept": "text/html"}
            fetcher.get(f"{site.url}/away", headers=headers)
            fetcher.get(f"{site.url}/here", headers=headers)
        assert not {"Authorization", "Cookie", "X-Key"} & set(other.requests[0][1])
        assert other.requests[0][1]["Accept"] == "text/html"
        assert site.requests[-1][1]["Authorization"] == "Bearer x"


# 5. URLs.


@pytest.mark.parametrize(
    "url",
    [
        "http://user@example.com/", "http://user:pass@example.com/", "http://example.com#@127.0.0.1/x:1",
        "http://example.com\\@127.0.0.1/", "http:example.com", "http:/example.com", "http:///x", "//example.com/",
        "http://exa\tmple.com/", "http://example.com/a b", "http://example.com/\n", "\thttp://example.com/",
        "http://127%2e0%2e0%2e1/", "http://[fe80::1%25eth0]/", "http://[::1", "http://::1/", "http://a..b/",
        "http://" + "a" * 64 + ".example/", "http://example.com:x/", "http://example.com:123456/", "http://./",
        "http://example.com/" + "a" * 8192, "file:///etc/passwd", "ftp://example.com/", "example.com", "", "http://",
    ],
)  # fmt: skip
def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    """Anything on whose meaning two programs could differ is not fetched."""
    if url == "http://example.com#@127.0.0.1/x:1":  # the fragment is not part of the request, whatever it contains
        assert parse(url)[0].host == "example.com"
        return
    with pytest.raises(BadURL):
        parse(url)


@pytest.mark.parametrize("port", [0, 1, 22, 25, 6379, 8080, 65535, 65536, 99999])
def test_other_ports_are_refused(port: int) -> None:
    """Only 80 and 443, before anything is looked up."""

    def resolve(host: str, port: int) -> list[str]:
        raise AssertionError("looked up")

    with Fetcher(resolve=resolve) as fetcher, pytest.raises(BadURL, match="port"):
        fetcher.get(f"http://example.com:{port}/")


@pytest.mark.parametrize(
    ("url", "host", "netloc", "target"),
    [
        ("HTTP://EXAMPLE.com:80/A?b#c", "example.com", "example.com", "/A?b"),
        ("http://example.com.", "example.com", "example.com", "/"),
        ("http://example.com:443?x", "example.com", "example.com:443", "/?x"),
        ("https://example.com:443/", "example.com", "example.com", "/"),
        ("http://bücher.example/ä?ö", "xn--bcher-kva.example", "xn--bcher-kva.example", "/%C3%A4?%C3%B6"),
        ("http://ＥＸＡＭＰＬＥ。com/", "example.com", "example.com", "/"),
        ("http://[::1]:80/", "::1", "[::1]", "/"),
    ],
)
def test_hosts_have_one_form(url: str, host: str, netloc: str, target: str) -> None:
    """Case, IDNA, full-width letters, the final dot and the usual port make no other host."""
    origin, asked = parse(url)
    assert (origin.host, origin.netloc, asked) == (host, netloc, target)


# 6. Proxies, .netrc, and the exceptions.


def test_neither_proxies_nor_netrc_are_used(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment cannot lead a fetch elsewhere, or add a password to it."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with fetcher_of(site) as fetcher:
        assert fetcher.get(f"{site.url}/").status == 200
    assert "Authorization" not in site.requests[0][1]


def test_an_allowed_port_works_and_the_next_does_not(site: Site, sinks: list[Site]) -> None:
    """An exception is exact: this name and this port."""
    with fetcher_of(site) as fetcher:
        assert fetcher.get(f"{site.url}/").status == 200
        for url in (f"http://127.0.0.1:{sinks[0].port}/", f"http://localhost:{site.port}/", "http://127.0.0.1/"):
            with pytest.raises(FetchError):
                fetcher.get(url)
    assert connections(sinks) == 0


def test_exceptions_are_read_from_a_setting() -> None:
    """Host and port, with the host in its usual form; anything else is named in the error."""
    assert parse_allow(" Example.COM.:8080, [::1]:80,") == {("example.com", 8080), ("::1", 80)}
    assert parse_allow(None) == parse_allow("") == frozenset()
    for wrong in ("example.com", "http://example.com:80", "example.com:80/x", "a:0", "a:70000", "10.0.0.0/8", "::1"):
        with pytest.raises(ValueError, match="CRAWL_ALLOW"):
            parse_allow(f"ok.example:1,{wrong}")


# Limits.


def bomb(encoding: str, size: int) -> bytes:
    zeros = bytes(size)
    return gzip.compress(zeros) if encoding == "gzip" else brotli.compress(zeros, quality=5)


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_a_bomb_is_stopped_while_it_unpacks(site: Site, encoding: str) -> None:
    """What unpacks to more than 100 times its size is refused long before it is whole."""
    site.add("/bomb", bomb(encoding, 50_000_000), content_encoding=encoding)
    with fetcher_of(site) as fetcher, pytest.raises(TooLarge, match="100 times"):
        fetcher.get(f"{site.url}/bomb")


def test_a_bomb_in_a_redirect_is_not_even_read(site: Site) -> None:
    """The body of a redirect is nobody's business."""
    site.add("/r", bomb("gzip", 50_000_000), 302, location="/", content_encoding="gzip")
    with fetcher_of(site) as fetcher:
        assert fetcher.get(f"{site.url}/r", body=BodyPolicy(lambda status, headers: status == 200)).status == 200


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br, gzip", "gzip,deflate", "zstd", "compress", "x"])
def test_only_one_known_packing_is_undone(site: Site, encoding: str) -> None:
    """A packing in a packing, or an unknown one, is refused unread."""
    site.add("/x", gzip.compress(gzip.compress(b"x" * 1000)), content_encoding=encoding)
    with fetcher_of(site) as fetcher, pytest.raises(BadResponse, match="packed"):
        fetcher.get(f"{site.url}/x")


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("br", brotli.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data, wbits=-15)),
        ("gzip", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:])),
        ("identity", bytes),
        ("", bytes),
    ],
)
def test_packed_pages_are_unpacked(site: Site, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """Gzip, brotli, and deflate in both its forms."""
    text = b"".join(b"line %d of %x\n" % (number, number**9) for number in range(20_000))
    site.add("/x", pack(text), content_encoding=encoding)
    with fetcher_of(site) as fetcher:
        assert fetcher.get(f"{site.url}/x").body == Body(text, len(text))


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate"])
def test_damaged_packing_is_said(site: Site, encoding: str) -> None:
    """Not an exception of zlib."""
    site.add("/x", b"\xff\xfe no such packing" * 100, content_encoding=encoding)
    with fetcher_of(site) as fetcher, pytest.raises(BadResponse, match="damaged"):
        fetcher.get(f"{site.url}/x")


def test_large_bodies_are_refused_or_cut(site: Site) -> None:
    """10 MB are the end, also of a body that tells no length; a caller may want less, and the beginning only."""
    site.endless("/endless", b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536)
    site.add("/large", b"x" * 10_000_001)
    site.add("/fits", b"x" * 10_000_000)
    with fetcher_of(site, Limits()) as fetcher:
        for path in ("/endless", "/large"):
            with pytest.raises(TooLarge, match="10 MB"):
                fetcher.get(f"{site.url}{path}")
        assert fetcher.get(f"{site.url}/fits").body == Body(b"x" * 10_000_000, 10_000_000)
        part = fetcher.get(f"{site.url}/fits", body=BodyPolicy(keep_bytes=100_000)).body
        assert part == Body(b"x" * 100_000, 10_000_000)
        for path in ("/endless", "/large"):
            cut = fetcher.get(f"{site.url}{path}", body=BodyPolicy(max_bytes=512 * 1024, cut=True)).body
            assert cut == Body(b"x" * 512 * 1024, 512 * 1024, complete=False)


@pytest.mark.parametrize(
    ("head", "error"),
    [
        (b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 70_000 + b"\r\n\r\n", TooLarge),
        (b"HTTP/1.1 200 OK\r\n" + b"X-A: aaaaaaaaaaaaaaaaaaaaa\r\n" * 3000 + b"\r\n", TooLarge),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 5000, TooLarge),
        (b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 200 + b"Content-Length: 2\r\n\r\nok", None),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", None),
        (b"HTTP/1.1 200 OK\r\nno colon here\r\n\tfolded: x\r\nContent-Length: 2\r\n\r\nok", None),
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", None),
        (b"HTTP/1.0 200 OK\r\n\r\nok", None),
        (b"HTTP/1.1 200 OK\nContent-Length: 2, 2\n\nok", None),
        (b"HTTP/1.1 101 Switching\r\n\r\n", BadResponse),
        (b"HTTP/2 200 OK\r\n\r\n", BadResponse),
        (b"SSH-2.0-OpenSSH_9.2\r\n", BadResponse),
        (b"HTTP/1.1 abc\r\n\r\n", BadResponse),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok", BadResponse),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok", BadResponse),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok", BadResponse),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", BadResponse),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n2\r\nok\r\n0\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n", BadResponse),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok", BadResponse),
        (b"HTTP/1.1 200 OK\r\n", Disconnected),
        (b"", Disconnected),
    ],
)
def test_answers_are_http_or_refused(site: Site, head: bytes, error: type[FetchError] | None) -> None:
    """Headers up to 64 kB in all, however cut up; one clear length; nothing missing."""
    site.raw("/x", head)
    with fetcher_of(site) as fetcher:
        if error is None:
            assert fetcher.get(f"{site.url}/x").body == OK
        else:
            with pytest.raises(error):
                fetcher.get(f"{site.url}/x")


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-A: ",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ],
)
def test_a_byte_now_and_then_does_not_stretch_a_fetch(site: Site, start: bytes) -> None:
    """Whether in the status line, a header, the body, a chunk's size or a trailer: the total time counts."""
    site.endless("/drip", start, b"1", pause_s=0.05)
    started = time.monotonic()
    with fetcher_of(site, Limits(read_s=0.5, total_s=0.4)) as fetcher, pytest.raises(Overdue, match="in all"):
        fetcher.get(f"{site.url}/drip")
    assert time.monotonic() - started < 1.5


def test_silence_is_given_up(site: Site) -> None:
    """A server that says nothing is left after the time to read."""
    site.stuck("/stuck")
    with fetcher_of(site) as fetcher, pytest.raises(Overdue, match="did not answer"):
        fetcher.get(f"{site.url}/stuck")


def test_a_look_up_that_hangs_is_given_up() -> None:
    """The resolver has as long as a connection."""
    hanging = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        hanging.wait(10)
        return []

    with Fetcher(limits=Limits(connect_s=0.1), resolve=resolve) as fetcher, pytest.raises(Overdue, match="looking up"):
        fetcher.get("http://example.com/")
    hanging.set()


def test_a_dead_port_is_said_to_refuse() -> None:
    """Nobody listens: no traceback, one sentence."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Fetcher(parse_allow(f"127.0.0.1:{port}")) as fetcher, pytest.raises(Disconnected, match="refused"):
        fetcher.get(f"http://127.0.0.1:{port}/")


def test_the_next_address_is_tried_when_one_refuses(site: Site) -> None:
    """A host with IPv6 and IPv4 works where only one of them is served."""
    allow = parse_allow(f"name.example:{site.port}")
    with Fetcher(allow, limits=QUICK, resolve=lambda host, port: ["::1", "127.0.0.1"]) as fetcher:
        assert fetcher.get(f"http://name.example:{site.port}/").status == 200


def test_plain_http_is_no_tls(site: Site) -> None:
    """A server without TLS is not trusted under https, and not asked in the clear instead."""
    with fetcher_of(site) as fetcher, pytest.raises((Untrusted, Disconnected)):
        fetcher.get(f"https://{site.host}/")
    assert site.requests == []


# TLS.


def tls_for_name_example() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate for name.example, and a client's that trusts who signed it."""
    authority = trustme.CA()
    served, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("name.example").configure_cert(served)
    authority.configure_trust(trusting)
    return served, trusting


def test_the_certificate_must_be_trusted_and_for_the_name() -> None:
    """The connection goes to an address, but name and certificate stay those of the URL."""
    served, trusting = tls_for_name_example()
    with Site(tls=served) as site:
        site.html("/", "Secret")
        allow = parse_allow(f"name.example:{site.port},other.example:{site.port}")

        def fetch(host: str, tls: ssl.SSLContext | None) -> int:
            with Fetcher(allow, limits=QUICK, tls=tls, resolve=lambda host, port: ["127.0.0.1"]) as fetcher:
                for _ in range(2):
                    status = fetcher.get(f"https://{host}:{site.port}/").status
                return status

        assert fetch("name.example", trusting) == 200 and site.connections == 1
        for host, tls in (("other.example", trusting), ("name.example", None)):
            with pytest.raises(Untrusted, match="certificate"):
                fetch(host, tls)
        assert len(site.requests) == 2


def test_limits_hold_under_tls() -> None:
    """Drip by drip, and cancelled in the middle."""
    served, trusting = tls_for_name_example()
    with Site(tls=served) as site:
        site.endless("/drip", b"HTTP/1.1 200 OK\r\n\r\n", b"1", pause_s=0.05)
        allow = parse_allow(f"name.example:{site.port}")
        limits = Limits(read_s=0.5, total_s=0.4)
        with Fetcher(allow, limits=limits, tls=trusting, resolve=lambda host, port: ["127.0.0.1"]) as fetcher:
            with pytest.raises(Overdue, match="in all"):
                fetcher.get(f"https://name.example:{site.port}/drip")


def test_the_end_of_the_certificate_is_told() -> None:
    """On a kept connection too, where no handshake shows it again; a plain one has none."""
    authority, end = trustme.CA(), datetime(2031, 5, 17, 12, 30, tzinfo=UTC)
    served, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("name.example", not_after=end.replace(tzinfo=None)).configure_cert(served)
    authority.configure_trust(trusting)
    with Site(tls=served) as site, Site() as plain:
        site.html("/", "Home")
        allow = parse_allow(f"name.example:{site.port},{plain.host}")
        with Fetcher(allow, limits=QUICK, tls=trusting, resolve=lambda host, port: ["127.0.0.1"]) as fetcher:
            ends = [fetcher.get(f"https://name.example:{site.port}/").certificate_end for _ in range(2)]
            assert ends == [end, end] and site.connections == 1
            assert fetcher.get(f"{plain.url}/").certificate_end is None


# HEAD and POST.


def cut(handler: Handler) -> None:
    """Read the request and close without a word."""
    handler.close_connection = True


def test_head_asks_for_no_body(site: Site) -> None:
    """Whatever length the answer speaks of; and redirects are followed, or not, as with GET."""
    site.add("/large", b"x" * 1_000_000)
    site.redirect("/moved", "/large")
    with fetcher_of(site) as fetcher:
        found = fetcher.head(f"{site.url}/moved")
        assert (found.status, found.url, found.body) == (200, f"{site.url}/large", None)
        assert found.headers["content-length"] == "1000000"
        assert fetcher.head(f"{site.url}/moved", follow=False).status == 302
    assert {one.method for one in site.seen} == {"HEAD"} and site.connections == 1


def test_post_sends_content_and_headers(site: Site) -> None:
    """Once, as they are, with their length; connections are kept."""
    site.add("/hook", b"ok", 201)
    with fetcher_of(site) as fetcher:
        for content in (b'{"a": 1}', b"", bytes(range(256)) * 1000):
            found = fetcher.post(f"{site.url}/hook", content, {"Content-Type": "application/json", "X-Key": "k"})
            assert (found.status, found.body) == (201, OK)
            assert (site.seen[-1].method, site.seen[-1].body) == ("POST", content)
            assert site.seen[-1].headers["X-Key"] == "k" and site.seen[-1].headers["Content-Type"] == "application/json"
    assert len(site.seen) == 3 and site.connections == 1


def test_post_is_guarded_like_get(site: Site, sinks: list[Site]) -> None:
    """Addresses, ports and spellings: nothing is connected to."""
    with guarded(sinks) as fetcher:
        for sink in sinks:
            for host in ("127.0.0.1", "localhost", "[::1]", "0x7f.1"):
                with pytest.raises((Unreachable, BadURL)):
                    fetcher.post(f"http://{host}:{sink.port}/", b"x")
    with fetcher_of(site) as fetcher:
        for url in (f"http://user@{site.host}/", f"http://127.0.0.1:{sinks[0].port}/", "ftp://example.com/"):
            with pytest.raises(FetchError):
                fetcher.post(url, b"x")
        with pytest.raises(ValueError, match="one line"):
            fetcher.post(f"{site.url}/", b"x", {"X": "a\r\nB: c"})
    assert connections(sinks) == 0


def test_post_follows_no_redirect(site: Site, sinks: list[Site]) -> None:
    """Neither by sending the content elsewhere, nor by a GET in its place."""
    for status in (301, 302, 303, 307, 308):
        site.redirect("/moved", f"{sinks[0].url}/", status)
        with fetcher_of(site) as fetcher:
            found = fetcher.post(f"{site.url}/moved", b"x")
        assert (found.status, found.location) == (status, f"{sinks[0].url}/")
    assert len(site.seen) == 5 and connections(sinks) == 0


def test_post_is_not_sent_again_where_a_get_is(site: Site) -> None:
    """When a kept connection breaks after the request: it may have been worked on (RFC 9110, 9.2.2)."""
    site.answers["/cut"] = cut
    with fetcher_of(site) as fetcher:
        for send in (fetcher.get, lambda url: fetcher.post(url, b"x")):
            send(f"{site.url}/")
            with pytest.raises(Disconnected) as caught:
                send(f"{site.url}/cut")
            assert caught.value.sent
    assert [one.method for one in site.seen if one.path == "/cut"] == ["GET", "GET", "POST"]


def test_an_error_tells_whether_the_request_was_sent(site: Site) -> None:
    """A refused connection, an unknown name: not. Silence, nonsense: it was."""
    site.stuck("/stuck")
    site.raw("/nonsense", b"SSH-2.0-x\r\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        dead = f"127.0.0.1:{free.getsockname()[1]}"
    with Fetcher(parse_allow(f"{site.host},{dead}"), limits=QUICK) as fetcher:
        for url, sent in (
            (f"http://{dead}/", False),
            ("http://127.0.0.1/", False),
            (f"{site.url}/stuck", True),
            (f"{site.url}/nonsense", True),
        ):
            with pytest.raises(FetchError) as caught:
                fetcher.post(url, b"x")
            assert caught.value.sent is sent, url


def test_a_connection_that_the_server_has_closed_meanwhile_takes_no_post(site: Site) -> None:
    """It is seen before anything is sent, so the content goes over a new one and arrives once."""
    site.add("/hook", b"ok")
    site.answers["/last"] = lambda handler: (handler.answer(200, b"ok", {}), cut(handler))[0]
    with fetcher_of(site) as fetcher:
        assert fetcher.get(f"{site.url}/last").status == 200
        (origin,) = fetcher._idle
        wait_for(lambda: not fetcher._idle[origin][0][0].is_connected, 5, "the server to close")
        assert fetcher.post(f"{site.url}/hook", b"x").status == 200
    assert [one.path for one in site.seen] == ["/last", "/hook"] and site.connections == 2


# Connections.


def test_hosts_that_do_not_answer_leave_nothing_behind() -> None:
    """A million dead hosts in a table must not become a million entries."""
    with Fetcher(resolve=lambda host, port: []) as fetcher:
        for number in range(100):
            with pytest.raises(Unreachable):
                fetcher.get(f"http://host{number}.example/")
        assert not fetcher._idle


def test_connections_are_kept_and_shared_by_threads(site: Site) -> None:
    """Two hundred fetches by eight threads need eight connections."""
    with fetcher_of(site, Limits()) as fetcher, ThreadPoolExecutor(8) as threads:
        assert all(r.status == 200 for r in threads.map(lambda _: fetcher.get(f"{site.url}/"), range(200)))
    assert site.connections <= 8


def test_an_unwanted_body_is_left(site: Site) -> None:
    """A short rest is read for the sake of the connection, a long one is not worth it."""
    site.add("/short", b"x" * 1000, content_type="image/png")
    site.add("/long", b"x" * 1_000_000, content_type="image/png")
    no_images = BodyPolicy(want=lambda status, headers: headers["content-type"] != "image/png")
    with fetcher_of(site) as fetcher:
        for path in ("/short", "/short", "/long", "/long"):
            response = fetcher.get(f"{site.url}{path}", body=no_images)
            assert (response.status, response.body, response.content_type) == (200, None, "image/png")
    assert site.connections == 2


def test_a_connection_that_the_server_closed_is_replaced(site: Site) -> None:
    """A kept connection may be dead by the next fetch; that is no error of the page."""
    site.answers["/last"] = lambda handler: (
        handler.answer(200, b"ok", {}),
        setattr(handler, "close_connection", True),
    )[0]
    with fetcher_of(site) as fetcher:
        for _ in range(5):
            assert fetcher.get(f"{site.url}/last").body == OK
    assert len(site.requests) == 5


# Stopping.


def test_closing_ends_fetches_in_other_threads_at_once(site: Site) -> None:
    """Threads that wait for a server that says nothing are woken."""
    site.stuck("/stuck")
    fetcher = fetcher_of(site, Limits())
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(fetcher.get, f"{site.url}/stuck") for _ in range(8)]
        while len(site.requests) < 8:
            time.sleep(0.001)
        started = time.monotonic()
        fetcher.close()
        for one in waiting:
            with pytest.raises(Closed):
                one.result(timeout=5)
        assert time.monotonic() - started < 1
    with pytest.raises(Closed):
        fetcher.get(f"{site.url}/")


def test_a_cancelled_run_stops_between_two_reads(site: Site) -> None:
    """What ``check`` raises comes through as it is, in the midst of an endless page."""
    calls = iter(range(5))

    def check() -> None:
        if next(calls, None) is None:
            raise Cancelled(Cancelled.message)

    site.endless("/endless", b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 100, pause_s=0.001)
    with Fetcher(parse_allow(site.host), check=check) as fetcher, pytest.raises(Cancelled):
        fetcher.get(f"{site.url}/endless")
