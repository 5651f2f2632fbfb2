"""The texts that an endpoint sends, made fit to be passed on."""

from __future__ import annotations

MASK = "***"
MIN_KEY_CHARS = 8
"""Shorter ones are no secrets but what local servers are given for want of one ("none", "ollama"), and are words."""


class SafeText:
    """Text that comes in pieces, without the endpoint's key and without lone surrogates, wherever the pieces part.

    What might be the beginning of the key, or half a character, is held back until the next piece tells.
    """

    def __init__(self, key: str | None) -> None:
        self._key = key if key is not None and len(key) >= MIN_KEY_CHARS else None
        self._held = ""

    def add(self, piece: str) -> str:
        """What can be shown now that ``piece`` has come."""
        text = self._held + piece
        if self._key is not None:
            text = text.replace(self._key, MASK)
        held = self._open_end(text)
        self._held = text[len(text) - held :]
        return _mended(text[: len(text) - held])

    def end(self) -> str:
        """What was held back, now that nothing more comes."""
        text, self._held = self._held, ""
        return _mended(text)

    def _open_end(self, text: str) -> int:
        """How many characters at the end the next piece may still change."""
        if self._key is not None:
            for count in range(min(len(self._key) - 1, len(text)), 0, -1):
                if text.endswith(self._key[:count]):
                    return count
        return 1 if "\ud800" <= text[-1:] <= "\udbff" else 0


def safe(text: str, key: str | None) -> str:
    """A whole text without the key and without lone surrogates."""
    whole = SafeText(key)
    return whole.add(text) + whole.end()


def _mended(text: str) -> str:
    """Surrogates joined where they are pairs, U+FFFD where they are not; most texts have none and come back at once."""
    if text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
