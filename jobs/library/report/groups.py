"""Groups of pages that are about the same, as the clusters of their texts tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import TableWriter
from jobs.library.clusters.clustering import Clustering
from jobs.library.linkgraph import Target

COLUMNS = ("group", "name", "url", "title", "words", "distance", "summary", "terms")


@dataclass(frozen=True, slots=True)
class Group:
    """Pages that belong together, the most central first, with how far each is from the centre (0 to 1)."""

    number: int
    name: str
    summary: str
    terms: tuple[str, ...]
    cohesion: float
    pages: tuple[Target, ...]
    distances: tuple[float, ...]

    def shown(self) -> dict[str, Any]:
        """As a row of the result."""
        words = [target.page.words for target in self.pages if target.page is not None]
        return {
            "group": self.number,
            "name": self.name,
            "pages": len(self.pages),
            "words": round(sum(words) / max(1, len(words))),
            "cohesion": self.cohesion,
            "terms": ", ".join(self.terms),
            "summary": self.summary,
            "central": self.pages[0].url,
        }


def gathered(clustering: Clustering, documents: Sequence[Target]) -> list[Group]:
    """The clusters of the documents' texts as groups, the largest first."""
    members: dict[int, list[tuple[float, int]]] = {cluster.number: [] for cluster in clustering.clusters}
    for place, number in enumerate(clustering.numbers.tolist()):
        if number in members:
            members[number].append((float(clustering.distances[place]), place))
    return [
        Group(
            number=cluster.number,
            name=cluster.label,
            summary="",
            terms=cluster.terms,
            cohesion=cluster.cohesion,
            pages=tuple(documents[place] for _, place in sorted(members[cluster.number])),
            distances=tuple(round(distance, 4) for distance, _ in sorted(members[cluster.number])),
        )
        for cluster in clustering.clusters
    ]


def write_groups(path: Path, groups: Sequence[Group]) -> None:
    """groups.csv: a row for each page, with its group."""
    with TableWriter(path, COLUMNS) as table:
        for group in groups:
            for target, distance in zip(group.pages, group.distances, strict=True):
                page = target.page
                assert page is not None
                shown = (group.number, group.name, target.url, page.title, page.words, distance, group.summary)
                table.row((*shown, ", ".join(group.terms)))
