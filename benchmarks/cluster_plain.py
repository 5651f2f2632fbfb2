"""What cluster is measured against: the same scikit-learn calls in a plain script; and the keywords for both.

Run as a program it reads a file of keywords, writes their clusters, and prints nothing.
"""

from __future__ import annotations

import csv
import random
import sys
from typing import Any

from jobs.library.clusters.features import (
    BATCH_TEXTS,
    COMMON_SHARE,
    FIT_TEXTS,
    LETTERS,
    LETTERS_WEIGHT,
    SEED,
    WORDS,
    dimensions,
)
from jobs.library.clusters.kmeans import ENOUGH, EPOCHS, FIRST_CENTRES_TEXTS, SAMPLE_TEXTS, SLICE, SLICES, STARTS
from jobs.library.clusters.map import MAX_POINTS, PERPLEXITY, SLICE_ITERATIONS
from jobs.library.clusters.map import SLICES as MAP_SLICES

TOPICS, TOPIC_WORDS = 200, 40
COMMON = "best cheap buy online how to for with near me review price vs the a in of small large".split()
SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnprstvwz" for vowel in "aeiou"]


def keywords(count: int) -> list[str]:
    """So many different keywords of two to five words, of 200 topics."""
    choose = random.Random(count)
    topics = [
        ["".join(choose.choices(SYLLABLES, k=choose.randint(2, 4))) for _ in range(TOPIC_WORDS)] for _ in range(TOPICS)
    ]
    found: dict[str, None] = {}
    while len(found) < count:
        words = choose.sample(choose.choice(topics), choose.randint(2, 4))
        if choose.random() < 0.5:
            words.insert(choose.randint(0, len(words)), choose.choice(COMMON))
        found[" ".join(words)] = None
    return list(found)


def main(source: str, k: int, target: str) -> None:
    """Cluster the keywords of a file as somebody would without Headway: nothing is told, named or stopped."""
    import numpy as np
    import scipy.sparse as sp
    from sklearn.cluster import KMeans, MiniBatchKMeans, kmeans_plusplus
    from sklearn.decomposition import PCA, TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import normalize

    with open(source, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [row["keyword"] for row in rows]

    options: dict[str, Any] = {
        "max_df": COMMON_SHARE, "min_df": 2, "sublinear_tf": True, "dtype": np.float32
    }  # fmt: skip
    words = TfidfVectorizer(token_pattern="[a-z0-9]+", max_features=WORDS, **options)
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), max_features=LETTERS, **options)
    features = sp.hstack([words.fit_transform(texts), LETTERS_WEIGHT * letters.fit_transform(texts)], format="csr")
    features = normalize(features, copy=False)

    rarity = sp.diags_array(np.concatenate([words.idf_, letters.idf_]).astype(np.float32))
    sharp = normalize(features @ rarity, copy=False)
    choose = np.random.default_rng(SEED)
    svd = TruncatedSVD(dimensions(k), random_state=SEED).fit(sharp[choose.choice(len(texts), FIT_TEXTS, replace=False)])
    points = normalize(svd.transform(sharp), copy=False)

    sample = points[choose.choice(len(texts), SAMPLE_TEXTS, replace=False)]
    models = []
    for start in range(STARTS):
        centres, _ = kmeans_plusplus(sample[:FIRST_CENTRES_TEXTS], k, random_state=start)
        models.append(KMeans(k, init=centres, n_init=1, max_iter=SLICE).fit(sample))
    best = min(models, key=lambda model: model.inertia_)
    best = KMeans(k, init=best.cluster_centers_, n_init=1, max_iter=SLICE * (SLICES - 1)).fit(sample)
    model = MiniBatchKMeans(k, init=best.cluster_centers_, n_init=1, reassignment_ratio=0, random_state=SEED)
    model.partial_fit(sample)
    before = float("inf")
    for _ in range(EPOCHS):
        distance = 0.0
        for start in range(0, len(points), BATCH_TEXTS):
            distance += model.partial_fit(points[start : start + BATCH_TEXTS]).inertia_
        if distance > before * (1 - ENOUGH):
            break
        before = distance
    labels = model.predict(points)

    shown = points[choose.choice(len(texts), MAX_POINTS, replace=False)]
    init = PCA(2, random_state=SEED).fit_transform(shown).astype(np.float32)
    iterations = MAP_SLICES * SLICE_ITERATIONS
    TSNE(perplexity=PERPLEXITY, init=init / init[:, 0].std() * 1e-4, max_iter=iterations, random_state=SEED).fit(shown)

    distances = np.empty(len(texts))
    for label in range(k):
        members = np.flatnonzero(labels == label)
        centre = np.asarray(features[members].sum(axis=0)).ravel()
        distances[members] = 1 - features[members] @ (centre / (np.linalg.norm(centre) or 1))
    with open(target, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow([*rows[0], "cluster", "distance"])
        table.writerows(
            [*row.values(), label, round(distance, 4)]
            for row, label, distance in zip(rows, labels.tolist(), distances.tolist(), strict=True)
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
