"""Short texts whose topics are known: words drawn for each topic, with words among them that stand in every topic."""

from __future__ import annotations

import random
from dataclasses import dataclass

CONSONANTS, VOWELS = "bcdfghjklmnprstvwz", "aeiou"
COMMON = "best cheap buy online how to for with near review price the a in of".split()


@dataclass(frozen=True, slots=True)
class Topics:
    """Different texts in no order, with the topic of each; and the words that only each topic has."""

    texts: list[str]
    labels: list[int]
    words: list[set[str]]


def drawn_topics(topics: int, texts: int, words: int = 12, seed: int = 1) -> Topics:
    """``texts`` in all, each of two to four of its topic's ``words``, half of them with a common word."""
    choose = random.Random(seed)
    taken = set(COMMON)
    own: list[list[str]] = [[_new_word(choose, taken) for _ in range(words)] for _ in range(topics)]
    found: dict[str, int] = {}
    while len(found) < texts:
        topic = len(found) % topics
        chosen = choose.sample(own[topic], choose.randint(2, 4))
        if choose.random() < 0.5:
            chosen.insert(choose.randint(0, len(chosen)), choose.choice(COMMON))
        found.setdefault(" ".join(chosen), topic)
    shuffled = choose.sample(list(found), texts)
    return Topics(shuffled, [found[text] for text in shuffled], [set(one) for one in own])


def _new_word(choose: random.Random, taken: set[str]) -> str:
    while True:
        syllables = (choose.choice(CONSONANTS) + choose.choice(VOWELS) for _ in range(choose.randint(3, 4)))
        word = "".join(syllables)
        if word not in taken:
            taken.add(word)
            return word
