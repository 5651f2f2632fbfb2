"""robots.txt: what a site lets a crawler fetch, and how fast (RFC 9309)."""

from __future__ import annotations

from dataclasses import dataclass, field

from protego import Protego

from jobs.library.exchange import BodyPolicy
from jobs.library.fetch import Fetcher
from jobs.library.fetch_errors import BadURL, FetchError, Unreachable

AGENT = "Headway"
"""The name by which rules address this crawler."""
MAX_BYTES = 512 * 1024
"""What is read of it; RFC 9309 (2.5) asks for at least 500 KiB."""
_BODY = BodyPolicy(want=lambda status, _: status == 200, max_bytes=MAX_BYTES, cut=True)


@dataclass(frozen=True, slots=True)
class Robots:
    """The rules of one origin. ``problem`` says why there are none to go by, and then nothing may be fetched."""

    rules: Protego | None = None
    problem: str | None = None
    refused: bool = False
    """Whether the host itself is one that is never connected to."""
    delay_s: float = 0.0
    sitemaps: list[str] = field(default_factory=list)

    def allow(self, url: str) -> bool:
        """Whether the URL may be fetched."""
        if self.rules is None:
            return self.problem is None
        return self.rules.can_fetch(url, AGENT)


def read_robots(fetcher: Fetcher, root: str) -> Robots:
    """Fetch and read the robots.txt of an origin.

    Where there is none (4xx) all is allowed; while it cannot be had (5xx, no connection) nothing is (RFC 9309, 2.3.1).
    """
    try:
        response = fetcher.get(f"{root}/robots.txt", body=_BODY)
    except FetchError as error:
        return Robots(problem=str(error), refused=isinstance(error, BadURL | Unreachable))
    if response.status >= 500:
        return Robots(problem=f"robots.txt answered {response.status}, so nothing may be fetched until it is back")
    if response.body is None:
        return Robots()
    rules = Protego.parse(response.body.kept.decode("utf-8-sig", "replace"))
    return Robots(rules, delay_s=float(rules.crawl_delay(AGENT) or 0), sitemaps=list(rules.sitemaps))
