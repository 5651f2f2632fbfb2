"""Texts as rows of numbers: what makes two of them alike.

A text's row has its words and its letters (runs of three and four, so that a plural, a compound or a slip of the pen
stays near), weighed by TF-IDF; or it is the text's embedding. Rows have the length 1, so that the product of two is
their cosine similarity. Nothing here knows a language: there are no stop words, since what stands in most texts tells
nothing about any; and runs of scripts that put no blanks between words (Chinese, Japanese, Thai, ...) are taken apart
into pieces of a few characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import regex

from jobs import JobError, Progress
from jobs.library.clusters.computing import compute
from jobs.library.endpoint.client import Endpoint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_CHARS = 5000
"""So much of a text counts."""
MAX_SPELLED_CHARS = 500
"""So much of it is looked at letter by letter: a long text has words enough, and would only cost time."""
MAX_EMBEDDED_CHARS = 2000
"""What most models for embeddings can read (512 tokens)."""
MAX_EMBEDDED = 50_000
"""Different texts that an endpoint is asked for: more would take hours, and 2 GB for the vectors of a large model."""
WORDS, LETTERS = 40_000, 30_000
"""The most words, and runs of letters, that count; those in most texts stay."""
LETTERS_WEIGHT = 0.5
"""Of letters beside words. Tried on drawn topics and on real keywords: 0.3 to 1 differ little, 0 is worse."""
COMMON_SHARE = 0.5
"""What stands in more than this share of the texts tells nothing."""
FEW, MANY = 20, 1000
"""With fewer texts nothing is too common; from so many on, what stands in only one text is left out."""
FIT_TEXTS = 20_000
"""So many texts tell the main directions of all."""
BATCH_TEXTS = 8192
SEED = 0
"""Of all that is drawn: the same texts give the same clusters."""

_WORD = regex.compile(
    r"(?P<joined>[\p{Han}\p{Hiragana}\p{Katakana}ー]+)|(?P<long>[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]+)"
    r"|[\p{L}\p{N}][\p{L}\p{M}\p{N}]*(?:['’]\p{L}{1,2}(?![\p{L}\p{M}]))?"
)
_BLANKLESS = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")


@dataclass(frozen=True, slots=True)
class Features:
    """Texts as rows of length 1, sparse or dense; which of the ``words`` each has (a sparse matrix of ones).

    ``rarity`` has a number for each column, None for embeddings.
    """

    rows: Any
    rarity: NDArray[np.float32] | None
    words: Sequence[str]
    presence: Any

    def sharpened(self, which: Any) -> Any:
        """Some of the rows, with the idf a second time: else "how to" and "best" would make clusters of their own.

        On drawn keywords with such words and 200 topics the adjusted Rand index rises from 0.78 to 0.97.
        """
        import scipy.sparse as sp
        from sklearn.preprocessing import normalize

        rows = self.rows[which]
        return rows if self.rarity is None else normalize(rows @ sp.diags_array(self.rarity), copy=False)


class Weighed(NamedTuple):
    """TF-IDF: a row for each text; how rare what each column stands for is (its idf), and its name."""

    matrix: Any
    rarity: NDArray[np.float32]
    names: Sequence[str]


def normal_form(text: str) -> str:
    """What counts of a text: its characters without case, width and kind of blanks."""
    return " ".join(unicodedata.normalize("NFKC", text[:MAX_CHARS]).casefold().split())


def words_of(text: str) -> list[str]:
    """The words of a text in its normal form."""
    if text.isascii() and "'" not in text:  # most texts, and three times as fast
        return re.findall("[a-z0-9]+", text)
    found: list[str] = []
    for match in _WORD.finditer(text):
        width = {"joined": 2, "long": 4}.get(match.lastgroup or "", 0)
        found += _pieces(match[0], width) if width else [match[0]]
    return found


def has_blanks(word: str) -> bool:
    """Whether a word's script puts blanks between words, so that it is a whole one."""
    return _BLANKLESS.search(word) is None


def tf_idf(progress: Progress, texts: Sequence[str]) -> Features:
    """The features of texts in their normal form. Takes the whole of the current step."""
    import numpy as np
    import scipy.sparse as sp
    from sklearn.preprocessing import normalize

    with progress.step("words", weight=25):
        words = _weighed(texts, progress.track(texts), WORDS, analyzer=words_of)
    with progress.step("letters"):
        options: dict[str, Any] = {"analyzer": "char_wb", "ngram_range": (3, 4), "lowercase": False}
        letters = _weighed(texts, _beginnings(progress, texts), LETTERS, **options)
        if words.matrix.shape[1] + letters.matrix.shape[1] == 0:  # no two texts have anything in common
            letters = _weighed(texts, _beginnings(progress, texts), LETTERS, pruned=False, **options)
    rows = sp.hstack([words.matrix, letters.matrix * np.float32(LETTERS_WEIGHT)], format="csr")
    rarity = np.concatenate([words.rarity, letters.rarity])
    return Features(normalize(rows, copy=False), rarity, words.names, _ones(words.matrix))


def embedded(progress: Progress, texts: Sequence[str], originals: Sequence[str]) -> Features:
    """The vectors that the configured endpoint gives for ``originals``; the words are those of ``texts``.

    Takes the whole of the current step. Raises JobError where no endpoint is configured, or there are too many texts.
    """
    from sklearn.preprocessing import normalize

    endpoint = Endpoint.from_settings(progress)
    if endpoint is None or not endpoint.embedding_model:
        raise JobError(
            "Embeddings need an endpoint: set HEADWAY_OPENAI_BASE_URL and HEADWAY_OPENAI_EMBEDDING_MODEL and restart,"
            " or choose the features tf-idf."
        )
    if len(texts) > MAX_EMBEDDED:
        raise JobError(
            f"There are {len(texts):,} different texts, and {MAX_EMBEDDED:,} is the most for embeddings."
            " Choose the features tf-idf, or give fewer texts."
        )
    with progress.step("words", weight=5):
        words = _weighed(texts, progress.track(texts), WORDS, analyzer=words_of)
    with progress.step("embeddings"):

        def tell(done: int) -> None:
            progress.update(100 * done / len(originals), f"{done} of {len(originals)}")

        asked = [text[:MAX_EMBEDDED_CHARS] for text in originals]
        vectors = endpoint.run(endpoint.embed(asked, tell))
    return Features(normalize(vectors, copy=False), None, words.names, _ones(words.matrix))


@dataclass(frozen=True, slots=True)
class Directions:
    """The rows in few dimensions, the most important first: there texts come near that share words only with others.

    Where the rows were so few that they are kept as they are, ``nested`` is false.
    """

    matrix: NDArray[np.float32]
    nested: bool

    def for_clusters(self, k: int | None = None) -> NDArray[np.float32]:
        """The rows for finding ``k`` clusters, with length 1. More dimensions than topics would only add noise."""
        from sklearn.preprocessing import normalize

        few = k is not None and self.nested
        found: NDArray[np.float32] = normalize(self.matrix[:, : dimensions(k or 1)] if few else self.matrix)
        return found


def dimensions(k: int) -> int:
    """In how many dimensions ``k`` clusters are looked for: a few more than there are, as in spectral clustering."""
    return min(250, max(8, -(-6 * k // 5)))


def main_directions(progress: Progress, features: Features, count: int) -> Directions:
    """The first ``count`` directions of the texts. Takes the whole of the current step."""
    import numpy as np
    import scipy.sparse as sp
    from sklearn.decomposition import PCA, TruncatedSVD

    texts, width = features.rows.shape
    if texts <= FEW or width <= FEW:
        all_rows = features.sharpened(slice(None))
        dense: NDArray[np.float32] = all_rows.toarray() if sp.issparse(all_rows) else all_rows
        return Directions(dense, nested=False)
    # A model's vectors all have much in common, which PCA takes away; sparse rows would no longer be sparse.
    method = PCA if features.rarity is None else TruncatedSVD
    count = min(count, texts - 1, width - 1)
    sample = features.sharpened(drawn(texts, FIT_TEXTS))
    found = compute(progress, lambda: method(count, random_state=SEED).fit(sample))
    progress.update(50)
    matrix = np.empty((texts, count), np.float32)
    for start in batches(progress, texts, since=50):
        batch = slice(start, start + BATCH_TEXTS)
        matrix[batch] = found.transform(features.sharpened(batch))
    return Directions(matrix, nested=True)


def drawn(total: int, most: int) -> NDArray[np.intp]:
    """The numbers of at most ``most`` of ``total`` things, in order; each time the same."""
    import numpy as np

    if total <= most:
        return np.arange(total)
    return np.sort(np.random.default_rng(SEED).choice(total, most, replace=False))


def batches(progress: Progress, total: int, *, since: float = 0.0, size: int = BATCH_TEXTS) -> Iterator[int]:
    """Where each batch of ``total`` texts starts, while the step goes on from ``since`` percent to its end."""
    for start in range(0, total, size):
        progress.update(since + (100 - since) * start / total, f"{start:,} of {total:,} texts")
        yield start


def _weighed(
    texts: Sequence[str], tracked: Iterator[str], most: int, *, pruned: bool = True, **options: Any
) -> Weighed:
    """TF-IDF of what an analyzer finds: no columns where nothing tells anything.

    Unless ``pruned``, what is too common or too rare counts as well.
    """
    import numpy as np
    import scipy.sparse as sp
    from sklearn.feature_extraction.text import TfidfVectorizer

    count = len(texts)
    vectorizer = TfidfVectorizer(
        max_df=COMMON_SHARE if pruned and count >= FEW else 1.0,
        min_df=2 if pruned and count >= MANY else 1,
        max_features=most,
        sublinear_tf=True,
        dtype=np.float32,
        **options,
    )
    try:
        weights = vectorizer.fit_transform(tracked)
    except ValueError:  # no text has a word, or all words were too common or too rare
        return Weighed(sp.csr_matrix((count, 0), dtype=np.float32), np.empty(0, np.float32), [])
    return Weighed(weights, vectorizer.idf_.astype(np.float32), vectorizer.get_feature_names_out())


def _beginnings(progress: Progress, texts: Sequence[str]) -> Iterator[str]:
    return (text[:MAX_SPELLED_CHARS] for text in progress.track(texts))


def _pieces(run: str, width: int) -> list[str]:
    return [run[start : start + width] for start in range(max(1, len(run) - width + 1))]


def _ones(matrix: Any) -> Any:
    """The same places, with ones."""
    import numpy as np

    ones = matrix.copy()
    ones.data = np.ones_like(ones.data)
    return ones
