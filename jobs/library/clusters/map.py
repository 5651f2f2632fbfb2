"""A map of texts in two dimensions: near on it is what is near in many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs import Progress
from jobs.library.clusters.computing import begun, finished
from jobs.library.clusters.features import SEED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_POINTS = 1500
"""On the map: more would lie on each other, and their cost grows."""
FEW = 10
"""From so many points on t-SNE makes sense."""
PERPLEXITY = 30.0
"""About how many neighbours of each point count."""
SLICES = 3
"""t-SNE is done in so many parts, so that it can be seen how far it is, and stopped; each goes on from the last."""
SLICE_ITERATIONS = 250
"""The fewest that scikit-learn does."""
NOTHING = 1e-6
"""Points that differ by no more lie on one place."""
WIDTH = 100.0
"""Of the finished map, from -50 to 50: its units mean nothing."""


class TextMap:
    """A map that is being drawn, in a thread of its own: other things may be done on the other core meanwhile."""

    def __init__(self, progress: Progress, points: NDArray[np.float32]) -> None:
        """Begin to draw the map of ``points``."""
        self._progress = progress
        self._slices_done = 0
        self._places = begun(lambda: self._draw(points))

    def finish(self) -> NDArray[np.float32]:
        """The place of each point, as ``(x, y)``. Takes the whole of the current step."""
        begin = self._slices_done

        def tell() -> None:
            done, total = self._slices_done * SLICE_ITERATIONS, SLICES * SLICE_ITERATIONS
            self._progress.update(100 * (self._slices_done - begin) / (SLICES - begin), f"{done} of {total} iterations")

        return finished(self._progress, self._places, tell)

    def _draw(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        import numpy as np
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE

        places = np.zeros((len(points), 2), np.float32)
        if len(points) > 2 and points.std(axis=0).max() > NOTHING:
            places = PCA(2, random_state=SEED).fit_transform(points).astype(np.float32)
        if len(points) >= FEW and (spread := places[:, 0].std()) > NOTHING:
            places /= spread * 1e4  # t-SNE begins near the middle
            for self._slices_done in range(SLICES):
                self._progress.check()
                method = TSNE(
                    perplexity=min(PERPLEXITY, (len(points) - 1) / 3),
                    init=places,
                    max_iter=SLICE_ITERATIONS,
                    early_exaggeration=1.0 if self._slices_done else 12.0,
                    random_state=SEED,
                )
                places = method.fit_transform(points)
        return _fitted(places)


def _fitted(places: NDArray[np.float32]) -> NDArray[np.float32]:
    """The map moved to the middle, and as large as WIDTH."""
    import numpy as np

    centred = places - (places.max(axis=0) + places.min(axis=0)) / 2
    largest = np.abs(centred).max()
    scaled: NDArray[np.float32] = centred if largest == 0 else centred * (WIDTH / 2 / largest)
    return scaled.round(2)
