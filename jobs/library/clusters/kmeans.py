"""k-means over many texts: started from the best of a few tries on a sample, gone on with in mini-batches.

And the choice of k by the silhouette, which is highest where texts are near to their own cluster and far from the next.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from jobs import Progress
from jobs.library.clusters.computing import compute
from jobs.library.clusters.features import BATCH_TEXTS, SEED, Directions, batches, drawn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Labels = NDArray[np.intp]

MAX_CHOSEN = 100
"""The highest k that is tried; whoever wants more clusters knows how many."""
TEXTS_PER_CLUSTER = 2
"""At least so many on average, where k is chosen."""
TRIED_TEXTS = 5000
"""The sample on which each k is tried."""
GROWTH = 1.35
"""From one k tried to the next; then come those around the best."""
AROUND = 6

SAMPLE_TEXTS = 10_000
STARTS = 4
FIRST_CENTRES_TEXTS = 5000
"""First centres are chosen among so many, or three for each cluster: the cost is that times k."""
SLICE = 5
"""Iterations between two looks at whether the run has to stop."""
SLICES = 8
EPOCHS = 8
ENOUGH = 0.001
"""Mini-batches end when going through all texts has brought them nearer to their centres by less than this share."""


class Tried(NamedTuple):
    """A k that was tried, with its silhouettes: -1 to 1, higher is better.

    That of the texts themselves may rise again where clusters become pairs, that of the texts in the directions in
    which ``k`` clusters are looked for where there are only few: so the best k is where both are high.
    """

    k: int
    texts: float
    directions: float

    @property
    def score(self) -> float:
        """What is to be high; 0 where either tells that there are no clusters."""
        return max(0.0, self.texts) * max(0.0, self.directions)


def choose_k(progress: Progress, rows: Any, directions: Directions) -> tuple[int, list[Tried]]:
    """The best number of clusters, and those that were tried on a sample. Takes the whole of the current step."""
    sample = drawn(rows.shape[0], TRIED_TEXTS)
    rows, directions = rows[sample], Directions(directions.matrix[sample], directions.nested)
    coarse = _growing(highest_k(len(sample)))
    tried: list[Tried] = []
    for k in coarse:
        _tell_tried(progress, k, len(tried), len(coarse) + AROUND)
        tried.append(compute(progress, partial(_tried, k, rows, directions)))
    for k in _around(_best(tried).k, coarse):
        _tell_tried(progress, k, len(tried), len(coarse) + AROUND)
        tried.append(compute(progress, partial(_tried, k, rows, directions)))
    best = _best(tried)
    return best.k if best.score > 0 else 1, sorted(tried)


def highest_k(texts: int) -> int:
    """The highest k that is tried for so many different texts; 1 where there is nothing to choose."""
    return max(1, min(MAX_CHOSEN, texts // TEXTS_PER_CLUSTER))


def silhouette(rows: Any, labels: Labels) -> float:
    """The mean silhouette of rows of length 1 by cosine distance; 0 unless there are 2 clusters or more.

    The same as scikit-learn's ``silhouette_score(metric="cosine")``, but since the mean cosine to the members of a
    cluster is the one to their mean, it needs no distances between all pairs.
    """
    import numpy as np
    import scipy.sparse as sp

    _, labels, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        return 0.0
    texts = np.arange(len(labels))
    sums = sp.csr_matrix((np.ones(len(labels), np.float32), (labels, texts))) @ rows
    alike = rows @ sums.T
    alike = alike.toarray() if sp.issparse(alike) else alike
    own = alike[texts, labels]
    inside = 1 - (own - 1) / np.maximum(sizes[labels] - 1, 1)  # without the text itself
    means = 1 - alike / sizes
    means[texts, labels] = np.inf
    outside = means.min(axis=1)
    higher = np.maximum(np.maximum(inside, outside), np.finfo(np.float32).tiny)
    return float(np.where(sizes[labels] > 1, (outside - inside) / higher, 0).mean())


def k_means(progress: Progress, points: NDArray[np.float32], weights: NDArray[np.float32], k: int) -> Labels:
    """The cluster of each point, from 0; a number may be missing. Takes the whole of the current step."""
    import numpy as np
    from sklearn.metrics import pairwise_distances_argmin

    with progress.step("first centres", weight=50):
        centres = _first_centres(progress, points, weights, k)
    if len(points) > SAMPLE_TEXTS:
        with progress.step("mini-batches", weight=40):
            centres = _refined(progress, points, weights, centres)
    labels = np.empty(len(points), np.intp)
    with progress.step("nearest centres"):
        for start in batches(progress, len(points)):
            labels[start : start + BATCH_TEXTS] = pairwise_distances_argmin(
                points[start : start + BATCH_TEXTS], centres
            )
    return labels


def _growing(most: int) -> list[int]:
    found = [1] if most < 2 else [2]
    while found[-1] < most:
        found.append(min(most, max(found[-1] + 1, round(found[-1] * GROWTH))))
    return found


def _best(tried: list[Tried]) -> Tried:
    return max(tried, key=lambda one: one.score)


def _around(best: int, tried: list[int]) -> list[int]:
    """Some numbers between the best one's neighbours that were not tried yet."""
    place = tried.index(best)
    low, high = tried[max(0, place - 1)], tried[min(len(tried) - 1, place + 1)]
    between = [k for k in range(low + 1, high) if k != best]
    return between[:: -(-len(between) // AROUND)] if between else []


def _tell_tried(progress: Progress, k: int, done: int, total: int) -> None:
    progress.update(100 * done / total, f"{k} clusters; {done} of about {total} numbers tried")


def _tried(k: int, rows: Any, directions: Directions) -> Tried:
    from sklearn.cluster import KMeans

    points = directions.for_clusters(k)
    with _quietly():
        labels = KMeans(k, n_init=STARTS // 2, max_iter=SLICE * SLICES, random_state=SEED).fit_predict(points)
    return Tried(k, silhouette(rows, labels), silhouette(points, labels))


def _first_centres(
    progress: Progress, points: NDArray[np.float32], weights: NDArray[np.float32], k: int
) -> NDArray[np.float32]:
    """Centres that fit a sample: of several starts the one that looks best soon, brought to its end."""
    sample = drawn(len(points), max(SAMPLE_TEXTS, 3 * k))
    points, weights = points[sample], weights[sample]
    models = []
    for start in range(STARTS):
        progress.update(60 * start / STARTS, f"start {start + 1} of {STARTS}")
        centres = compute(progress, partial(_far_apart, points, weights, k, start))
        models.append(compute(progress, partial(_settled, points, weights, centres)))
    best = min(models, key=lambda model: model.inertia_)
    for done in range(1, SLICES):
        if best.n_iter_ < SLICE:
            break
        progress.update(60 + 40 * done / SLICES, f"{done * SLICE} of at most {SLICES * SLICE} iterations")
        best = compute(progress, partial(_settled, points, weights, best.cluster_centers_))
    found: NDArray[np.float32] = best.cluster_centers_
    return found


def _far_apart(points: NDArray[np.float32], weights: NDArray[np.float32], k: int, start: int) -> NDArray[np.float32]:
    from sklearn.cluster import kmeans_plusplus

    few = drawn(len(points), max(FIRST_CENTRES_TEXTS, 3 * k))
    centres: NDArray[np.float32]
    centres, _ = kmeans_plusplus(points[few], k, sample_weight=weights[few], random_state=SEED + start)
    return centres


def _settled(points: NDArray[np.float32], weights: NDArray[np.float32], centres: NDArray[np.float32]) -> Any:
    from sklearn.cluster import KMeans

    with _quietly():
        return KMeans(len(centres), init=centres, n_init=1, max_iter=SLICE).fit(points, sample_weight=weights)


def _refined(
    progress: Progress, points: NDArray[np.float32], weights: NDArray[np.float32], centres: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Centres that fit all points, not only the sample."""
    from sklearn.cluster import MiniBatchKMeans

    # No centre is moved away because few texts are near it: small clusters are wanted, too.
    model = MiniBatchKMeans(len(centres), init=centres, n_init=1, reassignment_ratio=0, random_state=SEED)
    sample = drawn(len(points), SAMPLE_TEXTS)
    model.partial_fit(points[sample], sample_weight=weights[sample])
    before = float("inf")
    for epoch in range(EPOCHS):
        with progress.step(f"epoch {epoch + 1}", weight=100 / EPOCHS):
            distance = sum(_fit_batch(model, points, weights, start) for start in batches(progress, len(points)))
        if distance > before * (1 - ENOUGH):
            break
        before = distance
    found: NDArray[np.float32] = model.cluster_centers_
    return found


def _fit_batch(model: Any, points: NDArray[np.float32], weights: NDArray[np.float32], start: int) -> float:
    """How far the batch is from the centres, which it moves."""
    batch = slice(start, start + BATCH_TEXTS)
    model.partial_fit(points[batch], sample_weight=weights[batch])
    return float(model.inertia_)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the warning that there are fewer different points than clusters: then some stay empty."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
