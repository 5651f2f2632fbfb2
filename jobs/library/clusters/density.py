"""HDBSCAN over texts: clusters wherever texts lie densely, as many as there are; the rest is noise.

Only the distances to the nearest neighbours are computed, in batches. HDBSCAN joins texts through near ones, so that it
finds the same as with all distances, which would take as many passes over the data as there are texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs import Progress
from jobs.library.clusters.computing import compute
from jobs.library.clusters.features import batches, drawn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Labels = NDArray[np.intp]

NOISE = -1
MAX_TEXTS = 30_000
"""Among so many the clusters are looked for: the cost grows with the square. The others join them."""
NEIGHBOURS = 30
CORE = 5
"""A text is in a dense place when so many, itself included, are near."""
NEAREST = 1e-6
"""Two different texts may have the same features; a sparse graph takes a distance of 0 for none."""
FARTHEST = 2.0
"""Between two points of length 1."""
BATCH_TEXTS = 512


def dimensions(texts: int) -> int:
    """In how many dimensions to look: in many, few texts are dense anywhere; in few, many topics lie on each other."""
    return min(200, max(24, int(0.9 * texts**0.5)))


def hdbscan(progress: Progress, points: NDArray[np.float32], smallest: int, most: int = MAX_TEXTS) -> Labels:
    """The cluster of each point, from 0, or NOISE; clusters have at least ``smallest`` of the points looked at.

    Points have length 1, or 0: those are noise. Of more than ``most`` points a sample is looked at, and the others join
    what was found. Takes the whole of the current step.
    """
    import numpy as np

    labels = np.full(len(points), NOISE, np.intp)
    dense = np.flatnonzero(np.linalg.norm(points, axis=1) > 0.5)
    sample = dense[drawn(len(dense), most)]
    if len(sample) <= max(CORE, smallest):
        return labels
    with progress.step("neighbours", weight=60):
        graph = _neighbours(progress, points[sample])
    with progress.step("dense places", weight=10):
        labels[sample], reaches = compute(progress, lambda: _dense_places(graph, smallest))
    others = np.setdiff1d(dense, sample, assume_unique=True)
    with progress.step("the other texts"):
        for start in batches(progress, len(others), size=BATCH_TEXTS):
            batch = others[start : start + BATCH_TEXTS]
            labels[batch] = _joined(points[batch], points[sample], labels[sample], reaches)
    return labels


def _neighbours(progress: Progress, points: NDArray[np.float32]) -> Any:
    """The distances to the nearest neighbours, both ways, as a sparse matrix whose parts hang together."""
    import numpy as np
    import scipy.sparse as sp

    count = min(NEIGHBOURS, len(points) - 1)
    places, distances = [], []
    for start in batches(progress, len(points), size=BATCH_TEXTS):
        alike = points[start : start + BATCH_TEXTS] @ points.T
        nearest = np.argpartition(-alike, count, axis=1)[:, : count + 1].copy()  # or all of the columns stay
        places.append(nearest)
        distances.append(_distance(np.take_along_axis(alike, nearest, axis=1)))
    nearest = np.concatenate(places)
    texts = np.repeat(np.arange(len(points)), nearest.shape[1])
    graph = sp.csr_matrix((np.concatenate(distances).ravel(), (texts, nearest.ravel())), (len(points), len(points)))
    return _connected(graph.maximum(graph.T))


def _connected(graph: Any) -> Any:
    """The graph with its parts joined at the farthest distance, as scikit-learn wants it."""
    import numpy as np
    import scipy.sparse as sp
    from scipy.sparse.csgraph import connected_components

    _, parts = connected_components(graph, directed=False)
    _, firsts = np.unique(parts, return_index=True)
    hub = np.full(len(firsts) - 1, firsts[0])
    bridges = sp.csr_matrix((np.full(len(hub), FARTHEST), (hub, firsts[1:])), graph.shape)
    return graph.maximum(bridges + bridges.T).tocsr()


def _dense_places(graph: Any, smallest: int) -> tuple[Labels, NDArray[np.float64]]:
    """The cluster of each point of the graph, and how far each cluster reaches around a point of it."""
    import numpy as np
    from sklearn.cluster import HDBSCAN

    cores = np.array([_core(graph.data[start:end]) for start, end in zip(graph.indptr, graph.indptr[1:], strict=False)])
    model = HDBSCAN(smallest, min_samples=CORE, metric="precomputed", copy=True)
    labels: Labels = model.fit_predict(graph).astype(np.intp)
    reaches = np.array([cores[labels == number].max() for number in range(labels.max() + 1)])
    return labels, reaches


def _core(distances: NDArray[np.float64]) -> float:
    import numpy as np

    return float(np.partition(distances, CORE - 1)[CORE - 1])


def _joined(
    others: NDArray[np.float32], points: NDArray[np.float32], labels: Labels, reaches: NDArray[np.float64]
) -> Labels:
    """The clusters of points that were not looked at: that of the nearest one, if it reaches so far."""
    import numpy as np

    alike = others @ points.T
    nearest = alike.argmax(axis=1)
    found = labels[nearest]
    near = _distance(alike[np.arange(len(others)), nearest]) <= np.append(reaches, 0.0)[found]
    return np.where(near & (found != NOISE), found, NOISE)


def _distance(alike: NDArray[np.float32]) -> NDArray[np.float64]:
    import numpy as np

    distances: NDArray[np.float64] = np.sqrt(np.maximum(2 - 2 * alike.astype(np.float64), NEAREST**2))
    return distances
