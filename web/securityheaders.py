"""The headers that every answer has, whatever it is."""

from __future__ import annotations

from flask import Response

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self';"
        " img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def add(response: Response) -> Response:
    """Add those that the response does not give itself. Registered as after_request."""
    given = {name.lower() for name, _ in response.headers}  # setdefault would look at all of them for each
    for name, value in HEADERS.items():
        if name.lower() not in given:
            response.headers.add(name, value)
    return response
