"""Takes the secrets of a run out of whatever is about to be shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MASK = "***"
MIN_SETTING_CHARS = 8
"""A shorter key in the settings is a dummy ("ollama", "none"), whose word a run may want to say."""
SECRET_NAMES = ("KEY", "TOKEN", "SECRET", "PASSWORD")
MIN_LINE_CHARS = 6
"""A secret of several lines (a key file) is masked line by line too, but not by lines like ``{`` or ``END``."""


def is_secret(setting: str) -> bool:
    """Whether a setting's name speaks of a secret: its value is shown nowhere."""
    return any(word in setting for word in SECRET_NAMES)


def secrets_of(settings: Mapping[str, str]) -> list[str]:
    """The values of those settings that are secrets."""
    return [value for name, value in settings.items() if is_secret(name) and len(value) >= MIN_SETTING_CHARS]


class Mask:
    """Replaces a run's secrets by ``***``, in texts and in everything that holds texts."""

    def __init__(self, secrets: Iterable[object]) -> None:
        texts = {str(secret) for secret in secrets} - {""}
        lines = {line.strip() for text in texts for line in text.splitlines()}
        found = texts | {line for line in lines if len(line) >= MIN_LINE_CHARS}
        # The longest first: where one secret is part of another, no rest of the other may stay.
        self._secrets = sorted(found, key=len, reverse=True)

    def __call__(self, value: Any) -> Any:
        """``value`` with every secret in it masked; without secrets it comes back as it is."""
        if not self._secrets:
            return value
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, MASK)
            return value
        if isinstance(value, Mapping):
            return {self(key): self(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self(one) for one in value]
        return value

    def cut_off(self, text: str) -> str:
        """``text``, whose end was thrown away, masked; what may be the beginning of a secret at its end is left out."""
        if not self._secrets:
            return text
        masked, mask, rest = self(text).rpartition(MASK)
        longest = len(self._secrets[0])
        return f"{masked}{mask}{rest[: max(0, len(rest) - longest + 1)]}"
