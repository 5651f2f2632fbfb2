"""Which URLs rows may be sent to: those that the setting WEBHOOK_ALLOW names, compared in their normal form.

An entry is one URL, or with a ``/`` at its end everything below it. Whatever two programs could read differently is
refused before it is compared: user information, dot segments however written, escaped slashes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from jobs.library.fetch import Origin, parse
from jobs.library.fetch_errors import BadURL

SETTING = "WEBHOOK_ALLOW"
_ESCAPED = re.compile(r"%(?:2e|2f|5c|25|00)", re.IGNORECASE)
"""Escaped dots, slashes and percent signs: some servers take them for what they stand for, once or twice."""


class NotAllowed(ValueError):
    """Raised when rows may not be sent to a URL, or the setting is wrong; says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL that rows may be sent to."""

    url: str
    origin: Origin

    @property
    def allow(self) -> tuple[str, int]:
        """Host and port, which may be private: the setting has named them."""
        return self.origin.host, self.origin.port


def allowed_webhook(url: str | None, setting: str | None) -> Webhook:
    """The webhook of that URL. Raises NotAllowed unless the setting names it."""
    entries = [_entry(one.strip()) for one in (setting or "").split(",") if one.strip()]
    if not entries:
        raise NotAllowed(
            f"Rows can only be sent where the server allows it. Set HEADWAY_{SETTING} to the webhook's URL."
        )
    if not url or not url.strip():
        raise NotAllowed("Name the webhook that the rows are to be sent to.")
    try:
        origin, asked = _normal(url.strip())
    except BadURL as error:
        raise NotAllowed(f"The webhook {url.strip()!r} cannot be used: it {error}.") from None
    for entry in entries:
        if asked == entry or entry.endswith("/") and "?" not in entry and asked.startswith(entry):
            return Webhook(asked, origin)
    raise NotAllowed(f"Rows may not be sent to {asked}. HEADWAY_{SETTING} names the URLs that are allowed.")


def _entry(text: str) -> str:
    try:
        return _normal(text)[1]
    except BadURL as error:
        raise NotAllowed(f"The server's settings are wrong: in HEADWAY_{SETTING} {text!r} {error}.") from None


def _normal(url: str) -> tuple[Origin, str]:
    """A URL's origin and its one spelling. Raises BadURL where it has others."""
    origin, target = parse(url)
    path = target.partition("?")[0]
    if _ESCAPED.search(path) or "\\" in path or "#" in url:
        raise BadURL("has escaped dots or slashes, a backslash or a fragment; write it without")
    if any(segment.partition(";")[0] in (".", "..") for segment in path.split("/")):
        raise BadURL("has dots for folders; write the path that they lead to")
    if not 0 < origin.port < 65536:
        raise BadURL("has a port that cannot be")
    return origin, f"{origin.scheme}://{origin.netloc}{target}"
