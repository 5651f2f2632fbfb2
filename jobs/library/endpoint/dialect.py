"""What an endpoint understands of the protocol: they all speak it, none all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jobs.library.endpoint.errors import names

OPTIONAL = {"stream_options": "stream_options", "temperature": "temperature", "max_tokens": "max_completion_tokens"}
"""What is left out where a refusal names it, with the word that names it: OpenAI wants max_tokens called otherwise."""


class Dialect:
    """Makes requests, and leaves out of them what the endpoint has refused before."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        """``warn`` is told what the user has asked for and does not get."""
        self._warn = warn
        self._unknown: set[str] = set()

    def request(
        self, model: str, messages: Sequence[Mapping[str, str]], temperature: float | None, max_tokens: int | None
    ) -> dict[str, Any]:
        """The body of a request for a text, which streams."""
        options = {"temperature": temperature, "max_tokens": max_tokens, "stream_options": {"include_usage": True}}
        given = {name: value for name, value in options.items() if value is not None}
        request = {"model": model, "messages": list(messages), "stream": True, **given}
        for name in self._unknown:
            _do_without(request, name)
        return request

    def adapt(self, request: dict[str, Any], error: Exception) -> bool:
        """Leave out of a refused request what the endpoint does not know; whether there was something."""
        if getattr(error, "status_code", None) not in (400, 422):
            return False
        for name, word in OPTIONAL.items():
            if name in request and names(error, word):
                self._learn(name)
                _do_without(request, name)
                return True
        # Some do not say what they do not know.
        return request.pop("stream_options", None) is not None

    def _learn(self, name: str) -> None:
        if name == "temperature" and name not in self._unknown:
            self._warn("The endpoint refuses this temperature; it is asked without one.")
        self._unknown.add(name)


def _do_without(request: dict[str, Any], name: str) -> None:
    value = request.pop(name, None)
    if name == "max_tokens" and value is not None:
        request["max_completion_tokens"] = value
