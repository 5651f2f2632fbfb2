"""A completion as it comes: texts and counts out of the chunks of a stream."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from jobs.library.endpoint.safe_text import SafeText, safe

MOST_TOKENS = 100_000
"""The longest text that may be asked for."""
SPARE_TOKENS = 64
"""So many chunks more than tokens asked for are let pass; then the stream is cut: it would not end."""
TOKEN_CHARS = 20
SPARE_CHARS = 10_000
"""Tokens have 4 characters on average; text of more than 20 for each that was asked for is cut as well."""
MAX_NAME_CHARS = 200
MANY_CHUNKS = 5
"""From so many on, a speed is that of the chunks; below, it is that of the whole answer."""
CUT = "cut"
"""The finish reason of a text that was cut here, since the endpoint sent more than it was asked for."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the endpoint counted them, or ``estimated``: one for each chunk."""

    prompt_tokens: int | None
    completion_tokens: int
    reasoning_tokens: int = 0
    estimated: bool = False

    def shown(self) -> dict[str, Any]:
        """As a part of a result."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "estimated": self.estimated,
        }


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole text. ``seconds`` are those of the request that gave it; ``retries`` counts those that failed before."""

    text: str
    model: str
    finish_reason: str
    usage: Usage
    seconds: float
    first_token_ms: int | None
    tokens_per_second: float
    retries: int


class Tally:
    """What has come of a completion; :meth:`take` each chunk."""

    def __init__(self, key: str | None, model: str, max_tokens: int | None) -> None:
        self.tokens = 0
        """Chunks with text or thought in them: a token each, with most servers."""
        self.finish_reason: str | None = None
        self._key = key
        self._safe = SafeText(key)
        self._model = model
        self._most = max_tokens or MOST_TOKENS
        self._pieces: list[str] = []
        self._chars = 0
        self._thoughts = 0
        self._usage: Any = None
        self._began = time.monotonic()
        self._first: float | None = None
        self._newest = self._began

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._pieces)

    @property
    def tokens_per_second(self) -> float | None:
        """How fast it comes, without the time until it began; None while that cannot be told."""
        if self._first is None or self.tokens < MANY_CHUNKS or self._newest <= self._first:
            return None
        return (self.tokens - 1) / (self._newest - self._first)

    @property
    def thinking(self) -> bool:
        """Whether all that has come is thoughts."""
        return self._thoughts > 0 and not self._pieces

    def take(self, chunk: object) -> str:
        """Count a chunk; gives the text that can be shown now."""
        if not isinstance(chunk, dict):
            return ""
        self._usage = chunk.get("usage") or self._usage
        model = chunk.get("model")
        if isinstance(model, str) and model:
            self._model = model
        choices = chunk.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(first, dict):
            return ""
        reason, delta = first.get("finish_reason"), first.get("delta")
        if isinstance(reason, str) and reason:
            self.finish_reason = safe(reason[:MAX_NAME_CHARS], self._key)
        return self._read(delta) if isinstance(delta, dict) else ""

    def end(self) -> str:
        """The text that was held back until the end."""
        return self._keep(self._safe.end())

    def completion(self, retries: int) -> Completion:
        """The whole, once it has come."""
        usage = self._counted() or Usage(None, self.tokens, self._thoughts, estimated=True)
        seconds = self._newest - self._began
        speed = self.tokens_per_second
        if speed is not None:
            speed *= usage.completion_tokens / self.tokens  # the chunks' speed, in the endpoint's tokens
        else:
            speed = usage.completion_tokens / seconds if seconds else 0.0
        return Completion(
            text=self.text,
            model=safe(self._model[:MAX_NAME_CHARS], self._key),
            finish_reason=self.finish_reason or "",
            usage=usage,
            seconds=round(seconds, 3),
            first_token_ms=None if self._first is None else round(1000 * (self._first - self._began)),
            tokens_per_second=round(speed, 1),
            retries=retries,
        )

    def _read(self, delta: dict[str, Any]) -> str:
        content = delta.get("content")
        # Thoughts are no part of the text. vLLM, llama.cpp and DeepSeek call them so, Ollama and OpenRouter the other.
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if not content and not thought:
            return ""
        self._newest = time.monotonic()
        self._first = self._first or self._newest
        self.tokens += 1
        if thought:
            self._thoughts += 1
        shown = self._keep(self._safe.add(content)) if isinstance(content, str) else ""
        if self.tokens > self._most * 1.1 + SPARE_TOKENS:
            self.finish_reason = CUT
        return shown

    def _keep(self, text: str) -> str:
        room = TOKEN_CHARS * self._most + SPARE_CHARS - self._chars
        if len(text) > room:
            text, self.finish_reason = text[:room], CUT
        if text:
            self._pieces.append(text)
            self._chars += len(text)
        return text

    def _counted(self) -> Usage | None:
        """The usage that the endpoint says, as far as it makes sense."""
        completion = _count(self._usage, "completion_tokens")
        if completion is None:
            return None
        reasoning = _count(self._usage.get("completion_tokens_details"), "reasoning_tokens") or 0
        return Usage(_count(self._usage, "prompt_tokens"), completion, reasoning)


def _count(holder: Any, name: str) -> int | None:
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None
