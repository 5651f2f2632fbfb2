"""Clusters of short texts: from a list of texts to what belongs together, how near, and what it is about.

The same code for the job ``cluster`` and for a step of other jobs. Texts that differ in case, width or blanks alone are
looked at once and count as often as they come::

    text_features.py   texts to rows of numbers; their main directions
    kmeans.py          the choice of k, and k-means in mini-batches
    density.py         HDBSCAN, with noise
    cluster_labels.py  the terms that tell what a cluster is about
    text_map.py        the map
    computing.py       long calls of libraries, which a cancelled run need not wait for
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from jobs import Progress
from jobs.library.clusters import density, kmeans
from jobs.library.clusters.computing import few_threads
from jobs.library.clusters.features import (
    FIT_TEXTS,
    Features,
    dimensions,
    drawn,
    embedded,
    main_directions,
    normal_form,
    tf_idf,
)
from jobs.library.clusters.labels import label, telling_terms
from jobs.library.clusters.map import MAX_POINTS, TextMap

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Method = Literal["k-means", "hdbscan"]
FeatureKind = Literal["tf-idf", "embeddings"]

NOISE, BLANK = 0, -1
"""Instead of a cluster's number: a text that is near to no cluster, and one without any characters."""
CENTRAL = 5
FEATURES, DIRECTIONS, CHOOSE, CLUSTER, NAME, MAP = (
    "Weighing words", "Finding main directions", "Choosing the number of clusters", "Clustering",
    "Naming the clusters", "Drawing the map",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What is wanted. ``k``: so many clusters, None to choose; ``min_size``: the smallest cluster of HDBSCAN."""

    method: Method = "k-means"
    features: FeatureKind = "tf-idf"
    k: int | None = None
    min_size: int = 10


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster. ``size`` counts all its texts, ``unique`` the different ones.

    ``cohesion`` is the mean cosine similarity of its texts to its centre: 0 (nothing in common) to 1 (all the same).
    ``central`` are the texts nearest to its centre, nearest first.
    """

    number: int
    label: str
    size: int
    unique: int
    cohesion: float
    terms: tuple[str, ...]
    central: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Clustering:
    """What became of the texts.

    ``clusters`` are numbered from 1, the largest first. ``numbers`` has the cluster of each text, or NOISE or BLANK;
    ``distances`` its cosine distance to that cluster's centre (0 to 1, NaN without a cluster). ``points`` are some of
    the texts (their indexes) with their ``places`` on the map. ``tried`` are the numbers of clusters that were tried.
    """

    clusters: tuple[Cluster, ...]
    numbers: NDArray[np.intp]
    distances: NDArray[np.float32]
    points: NDArray[np.intp]
    places: NDArray[np.float32]
    tried: tuple[kmeans.Tried, ...]
    silhouette: float | None
    unique: int


@dataclass(frozen=True, slots=True)
class Distinct:
    """Texts without repeats. ``keys`` are their normal forms, ``originals`` how each was written first.

    ``places`` has for each text that was given its place among them, BLANK where it is blank; ``counts`` how often each
    came.
    """

    keys: Sequence[str]
    originals: Sequence[str]
    places: NDArray[np.intp]
    counts: NDArray[np.float32]


def plan(options: ClusterOptions) -> list[str]:
    """The names of the steps that :func:`cluster_texts` will take."""
    return list(_costs(options, 1))


def cluster_texts(
    progress: Progress,
    texts: Sequence[str],
    options: ClusterOptions = ClusterOptions(),
    *,
    share: float = 100.0,
    on_cluster: Callable[[Cluster], None] = lambda cluster: None,
) -> Clustering:
    """Find the clusters of ``texts``, any number of them from 0 on.

    Says its steps and how far they are, taking ``share`` percent of the step that it is called in; gives each cluster
    to ``on_cluster`` as soon as it has a name. The same texts give the same clusters. Raises JobError where embeddings
    are wanted and no endpoint is configured.
    """
    with few_threads():
        return _Work(progress, distinct(texts, progress.check), options, share, on_cluster).run()


def distinct(texts: Sequence[str], check: Callable[[], None] = lambda: None) -> Distinct:
    """The texts without repeats, in their order. ``check`` is called for each, and may raise."""
    import numpy as np

    found: dict[str, int] = {}
    originals: list[str] = []
    places = np.full(len(texts), BLANK, np.intp)
    for number, text in enumerate(texts):
        check()
        key = normal_form(text)
        if key:
            places[number] = found.setdefault(key, len(found))
            if len(found) > len(originals):
                originals.append(text)
    counts = np.bincount(places[places >= 0], minlength=len(found)).astype(np.float32)
    return Distinct(list(found), originals, places, counts)


class _Work:
    """One call of :func:`cluster_texts`."""

    def __init__(
        self,
        progress: Progress,
        texts: Distinct,
        options: ClusterOptions,
        share: float,
        on_cluster: Callable[[Cluster], None],
    ) -> None:
        costs = _costs(options, len(texts.keys))
        self._progress = progress
        self._texts = texts
        self._options = options
        self._on_cluster = on_cluster
        self._shares = {name: share * cost / sum(costs.values()) for name, cost in costs.items()}

    def run(self) -> Clustering:
        """All steps in their order."""
        import numpy as np

        texts = self._texts
        if not texts.keys:
            return _nothing(len(texts.places))
        with self._step(FEATURES):
            features = self._features()
        points, k, tried = self._points(features)
        shown = drawn(len(texts.keys), MAX_POINTS)
        text_map = TextMap(self._progress, points[shown])
        with self._step(CLUSTER):
            labels = _by_size(self._labels(points, k), texts.counts)
        with self._step(NAME):
            distances = _distances(self._progress, features.rows, labels, texts.counts)
            clusters = self._named(features, labels, distances)
        with self._step(MAP):
            places = text_map.finish()
        _, firsts = np.unique(texts.places, return_index=True)
        return Clustering(
            clusters=clusters,
            numbers=np.where(texts.places < 0, BLANK, labels[texts.places] + 1),
            distances=np.where(texts.places < 0, np.nan, distances[texts.places]).astype(np.float32),
            points=firsts[texts.places[firsts] >= 0][shown],
            places=places,
            tried=tried,
            silhouette=_silhouette(features.rows, labels),
            unique=len(texts.keys),
        )

    def _step(self, name: str) -> AbstractContextManager[None]:
        return self._progress.step(name, weight=self._shares[name])

    def _features(self) -> Features:
        if self._options.features == "embeddings":
            return embedded(self._progress, self._texts.keys, self._texts.originals)
        return tf_idf(self._progress, self._texts.keys)

    def _points(self, features: Features) -> tuple[NDArray[np.float32], int | None, tuple[kmeans.Tried, ...]]:
        """The texts as points among which to look for ``k`` clusters, None for HDBSCAN; with the numbers tried."""
        count, k = len(self._texts.keys), self._options.k
        of_density = self._options.method == "hdbscan"
        wanted = density.dimensions(count) if of_density else dimensions(k or kmeans.highest_k(count))
        with self._step(DIRECTIONS):
            directions = main_directions(self._progress, features, wanted)
        if of_density:
            return directions.for_clusters(), None, ()
        tried: list[kmeans.Tried] = []
        if k is None:
            with self._step(CHOOSE):
                k, tried = kmeans.choose_k(self._progress, features.rows, directions)
        k = min(k, count)
        return directions.for_clusters(k), k, tuple(tried)

    def _labels(self, points: NDArray[np.float32], k: int | None) -> NDArray[np.intp]:
        import numpy as np

        if k == 1:
            return np.zeros(len(points), np.intp)
        if k is None:
            return density.hdbscan(self._progress, points, self._options.min_size)
        return kmeans.k_means(self._progress, points, self._texts.counts, k)

    def _named(
        self, features: Features, labels: NDArray[np.intp], distances: NDArray[np.float32]
    ) -> tuple[Cluster, ...]:
        import numpy as np

        counts, originals = self._texts.counts, self._texts.originals
        terms = telling_terms(features.presence, features.words, labels, counts)
        order = np.lexsort((distances, labels))
        starts = np.searchsorted(labels[order], np.arange(len(terms) + 1))
        taken: set[str] = set()
        found = []
        for number, told in enumerate(terms):
            members = order[starts[number] : starts[number + 1]]
            central = tuple(originals[place] for place in members[:CENTRAL])
            cluster = Cluster(
                number=number + 1,
                label=label(told, central, taken),
                size=int(counts[members].sum()),
                unique=len(members),
                cohesion=round(float(1 - np.average(distances[members], weights=counts[members])), 4),
                terms=tuple(term for term, _ in told),
                central=central,
            )
            taken.add(cluster.label)
            found.append(cluster)
            self._on_cluster(cluster)
        return tuple(found)


def _nothing(texts: int) -> Clustering:
    """What becomes of no texts, or blank ones."""
    import numpy as np

    numbers, distances = np.full(texts, BLANK, np.intp), np.full(texts, np.nan, np.float32)
    return Clustering((), numbers, distances, np.empty(0, np.intp), np.empty((0, 2), np.float32), (), None, 0)


def _costs(options: ClusterOptions, texts: int) -> dict[str, float]:
    """About how many seconds each step takes, for the bar: measured on two cores, with texts of a few words."""
    k = options.k or kmeans.MAX_CHOSEN
    costs = {
        FEATURES: 0.8 + texts * 2.3e-5,
        DIRECTIONS: 0.2 + min(texts, FIT_TEXTS) * k * 5e-7 + texts * k * 4e-8,
        CHOOSE: 0.3 + min(texts, kmeans.TRIED_TEXTS) * 4e-4,
        CLUSTER: 0.1 + min(texts, kmeans.SAMPLE_TEXTS) * k * 1e-6 + texts * k * 4e-8,
        NAME: 0.1 + texts * 3e-6,
    }
    if options.features == "embeddings":
        costs[FEATURES] = 1 + texts * 2e-3
    if options.method == "hdbscan":
        costs[CLUSTER] = 0.1 + min(texts, density.MAX_TEXTS) * texts * 6e-9
    if options.method == "hdbscan" or options.k is not None:
        del costs[CHOOSE]
    # The map is drawn from the moment on in which the clusters are looked for.
    return costs | {MAP: 0.1 + max(0.0, min(texts, MAX_POINTS) * 3.5e-3 - costs[CLUSTER] - costs[NAME])}


def _by_size(labels: NDArray[np.intp], counts: NDArray[np.float32]) -> NDArray[np.intp]:
    """Clusters numbered from 0 without a gap, the largest first."""
    import numpy as np

    inside = labels >= 0
    names, firsts, places = np.unique(labels[inside], return_index=True, return_inverse=True)
    sizes = np.bincount(places, counts[inside], len(names))
    ranks = np.empty(len(names), np.intp)
    ranks[np.lexsort((firsts, -sizes))] = np.arange(len(names))
    found = np.full(len(labels), density.NOISE, np.intp)
    found[inside] = ranks[places]
    return found


def _distances(
    progress: Progress, rows: Any, labels: NDArray[np.intp], counts: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The cosine distance of each row to its cluster's centre, NaN for noise."""
    import numpy as np

    distances = np.full(len(labels), np.nan, np.float32)
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(labels.max(initial=-1) + 2))
    for start, end in progress.track(list(zip(starts, starts[1:], strict=False))):
        members = order[start:end]
        inside = rows[members]
        centre = inside.T @ counts[members]
        length = np.linalg.norm(centre)
        distances[members] = 1 - (inside @ centre) / length if length > 0 else 1
    return distances.clip(0, 1)


def _silhouette(rows: Any, labels: NDArray[np.intp]) -> float | None:
    """Of all that are in clusters, on a sample when there are many; None unless there are two clusters."""
    import numpy as np

    if labels.max(initial=-1) < 1:
        return None
    inside = np.flatnonzero(labels >= 0)
    sample = inside[drawn(len(inside), kmeans.TRIED_TEXTS)]
    return kmeans.silhouette(rows[sample], labels[sample])
