"""How texts are clustered; :mod:`~jobs.library.clusters.clustering` is the way through it."""
