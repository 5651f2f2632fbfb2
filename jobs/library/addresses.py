"""Which addresses may be connected to from here: none that is not on the public internet.

A crawled page, or a user, names hosts; a name can lead to this machine, to its neighbours or to the cloud's metadata
service. So what counts is each address that the resolver returned, never the text that it was made from.
"""

from __future__ import annotations

import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

DENIED = tuple(
    (ip_network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "this network, and this host by another name (RFC 1122)"),
        ("10.0.0.0/8", "private (RFC 1918)"),
        ("100.64.0.0/10", "behind a carrier's NAT (RFC 6598); Python does not call it private"),
        ("127.0.0.0/8", "loopback (RFC 1122)"),
        ("169.254.0.0/16", "link-local, and the metadata service of most clouds (RFC 3927)"),
        ("172.16.0.0/12", "private (RFC 1918)"),
        ("192.0.0.0/24", "protocol assignments (RFC 6890)"),
        ("192.0.2.0/24", "documentation (RFC 5737)"),
        ("192.88.99.0/24", "6to4 relays, withdrawn (RFC 7526)"),
        ("192.168.0.0/16", "private (RFC 1918)"),
        ("198.18.0.0/15", "benchmarks (RFC 2544)"),
        ("198.51.100.0/24", "documentation (RFC 5737)"),
        ("203.0.113.0/24", "documentation (RFC 5737)"),
        ("224.0.0.0/4", "multicast (RFC 5771); Python calls much of it global"),
        ("240.0.0.0/4", "reserved, and broadcast (RFC 1112)"),
        ("::/96", "IPv4-compatible, loopback and unspecified (RFC 4291)"),
        ("::ffff:0:0:0/96", "IPv4-translated: an IPv4 address inside (RFC 2765)"),
        ("64:ff9b::/96", "NAT64: an IPv4 address inside (RFC 6052)"),
        ("64:ff9b:1::/48", "NAT64 of a local network (RFC 8215)"),
        ("100::/64", "discarded (RFC 6666)"),
        ("2001::/32", "Teredo: an IPv4 address inside (RFC 4380)"),
        ("2001:db8::/32", "documentation (RFC 3849)"),
        ("2002::/16", "6to4: an IPv4 address inside (RFC 3056)"),
        ("fc00::/7", "private (RFC 4193)"),
        ("fe80::/10", "link-local (RFC 4291)"),
        ("fec0::/10", "site-local, withdrawn (RFC 3879)"),
        ("ff00::/8", "multicast (RFC 4291)"),
    )
)
"""Networks that are never connected to, each with its reason."""

MAPPED = IPv6Network("::ffff:0:0/96")
"""IPv4-mapped addresses (RFC 4291) are the one embedding that the kernel connects as the IPv4 address inside."""


@lru_cache(maxsize=4096)
def denial(address: str) -> str | None:
    """Why this address, as the resolver wrote it, is never connected to; None where it may be."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return "not an address"
    if isinstance(parsed, IPv6Address) and parsed in MAPPED:
        parsed = IPv4Address(parsed.packed[-4:])
    for network, reason in DENIED:
        if parsed in network:
            return reason
    return None if parsed.is_global else "not global in the registries of IANA"


def is_own(address: str) -> bool:
    """Whether it is an address of this machine, which may be public: what listens on it is as private as loopback.

    The kernel says so: the way to an own address starts at that very address. Connecting a UDP socket sends nothing.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))
        except OSError:
            return False  # no way there at all; connecting will say so
        return ip_address(probe.getsockname()[0].partition("%")[0]) == ip_address(address.partition("%")[0])
