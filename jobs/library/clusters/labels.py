"""What a cluster is about: the words that many of its texts have and few others.

A word's weight in a cluster is the share of texts there that have it, times the logarithm of how much more that is than
elsewhere: TF-IDF with clusters in the place of documents. Words that stand everywhere, in any language, fall out.
"""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jobs.library.clusters.features import has_blanks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TERMS = 8
"""Kept for each cluster."""
LABEL_TERMS = 3
ENOUGH = 0.2
"""A label's further terms weigh at least this share of its first."""
SHORT = 0.5
"""The weight of a word of two letters, beside longer ones: it is "tv" now and then, but "in" mostly."""
MAX_LABEL_CHARS = 60
JOIN = ", "


def telling_terms(
    presence: Any, words: Sequence[str], labels: NDArray[np.intp], weights: NDArray[np.float32]
) -> list[list[tuple[str, float]]]:
    """For each cluster its most telling terms with their weights, best first; no two forms of one word."""
    import numpy as np
    import scipy.sparse as sp

    inside = labels >= 0
    count = int(labels.max(initial=-1)) + 1
    members = sp.csr_matrix((weights[inside], (labels[inside], np.flatnonzero(inside))), (count, len(labels)))
    having = (members @ presence).tocsr()
    sizes = np.bincount(labels[inside], weights[inside], count)
    totals = np.asarray(having.sum(axis=0)).ravel()
    found = []
    for number in range(count):
        here = slice(having.indptr[number], having.indptr[number + 1])
        columns, texts = having.indices[here], having.data[here]
        weight = _weights(texts, sizes[number], totals[columns], sizes.sum())
        order = np.lexsort((columns, -weight))[: 4 * TERMS]
        found.append(_different([(words[columns[place]], float(weight[place])) for place in order]))
    return found


def label(terms: Sequence[tuple[str, float]], central: Sequence[str], taken: set[str]) -> str:
    """A name for a cluster that is not among the ``taken``: its one to three most telling terms.

    They stand in the order in which the first of the ``central`` texts has them. A cluster without words is called as
    its most central text.
    """
    telling = [term for term, weight in terms[:LABEL_TERMS] if weight >= ENOUGH * terms[0][1]]
    for count in range(len(telling), len(terms) + 1):
        found = JOIN.join(_in_order([term for term, _ in terms[:count]], central)) or central[0]
        if (found := cut_label(found)) not in taken:
            return found
    return next(name for number in range(2, len(taken) + 3) if (name := f"{found} ({number})") not in taken)


def cut_label(text: str, most: int = MAX_LABEL_CHARS) -> str:
    """A text on one line with at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _weights(
    texts: NDArray[np.float64], size: float, totals: NDArray[np.float64], all_texts: float
) -> NDArray[np.float64]:
    """Of terms that ``texts`` of a cluster's ``size`` have, and ``totals`` of all."""
    import numpy as np

    share = texts / size
    if size >= all_texts:  # nothing else to differ from
        return share
    elsewhere = (totals - texts + 0.5) / (all_texts - size + 1)
    weights: NDArray[np.float64] = share * np.log(np.maximum(share / elsewhere, 1e-9))
    return weights


def _different(terms: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Those that tell something, best first: no second form of a word; no number or letter unless that is all."""
    telling = [
        (term, weight * (SHORT if len(term) == 2 and has_blanks(term) else 1))
        for term, weight in terms
        if weight > 0 and not (term.isdecimal() or (len(term) == 1 and has_blanks(term)))
    ]
    kept: list[tuple[str, float]] = []
    for term, weight in sorted(telling, key=lambda one: -one[1]) or terms:
        if not any(_is_form(term, other) for other, _ in kept):
            kept.append((term, weight))
    return kept[:TERMS]


def _is_form(one: str, other: str) -> bool:
    """Whether two terms are forms of one word (shoe and shoes, puppy and puppies), or pieces that overlap."""
    if not has_blanks(one) or not has_blanks(other):
        return one[-1] == other[0] or other[-1] == one[0] or one[1:] == other[:-1] or other[1:] == one[:-1]
    shorter, longer = sorted((one, other), key=len)
    same = len(os.path.commonprefix([one, other]))
    if same < 4:
        return same == 3 == len(shorter) and len(longer) == 4
    return len(shorter) - same <= 2 and len(longer) - len(shorter) <= 3


def _in_order(terms: list[str], central: Sequence[str]) -> list[str]:
    for text in central:
        folded = text.casefold()
        if all(term in folded for term in terms):
            return sorted(terms, key=folded.index)
    return terms
