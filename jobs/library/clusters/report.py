"""What clusters became of a list of texts: as rows, as the result with its charts, and as two files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs import Progress, TableReader, TableWriter, cell, chart
from jobs.library.clusters.clustering import BLANK, NOISE, Cluster, Clustering, ClusterOptions
from jobs.library.clusters.labels import cut_label
from jobs.library.rows.files import added_names, as_cell

MAX_COLOURED = 10
"""Clusters with a colour of their own on the map: eyes tell no more apart."""
MAX_BARS = 20
MAX_LISTED = 200
"""Clusters in the result; clusters.csv has all."""
MAX_MAP_BYTES, MAX_LIST_BYTES = 110_000, 70_000
"""Of the map and of the list in the result: a page should open at once. Texts that JSON escapes take six times more."""
MAX_LABEL_CHARS = 60
MAX_TEXT_CHARS = 80
CENTRAL = 3
COLUMNS = ("cluster", "label", "size", "share", "unique", "cohesion", "terms", "central")
ADDED = ("cluster", "label", "distance")
OTHERS, NOISE_LABEL, BLANK_LABEL = "Other clusters", "No cluster", "Empty"
JOIN = " | "


def cluster_row(cluster: Cluster, texts: int) -> dict[str, Any]:
    """A cluster as a row; ``texts`` is how many there are in all, for its share in percent."""
    return {
        "cluster": cluster.number,
        "label": cluster.label,
        "size": cluster.size,
        "share": round(100 * cluster.size / texts, 2),
        "unique": cluster.unique,
        "cohesion": cluster.cohesion,
        "terms": ", ".join(cluster.terms),
        "central": JOIN.join(cut_label(text, MAX_TEXT_CHARS) for text in cluster.central[:CENTRAL]),
    }


def report(clustering: Clustering, texts: Sequence[str], options: ClusterOptions) -> dict[str, Any]:
    """The result: figures, charts, and the largest clusters."""
    found: dict[str, Any] = {
        "texts": len(texts),
        "unique": clustering.unique,
        "empty": int((clustering.numbers == BLANK).sum()),
        "method": options.method,
        "features": options.features,
        "k": len(clustering.clusters),
        "silhouette": None if clustering.silhouette is None else round(clustering.silhouette, 4),
        "noise": int((clustering.numbers == NOISE).sum()),
        "map": _map(clustering, texts),
        "sizes": _sizes(clustering),
    }
    if len(clustering.tried) > 1:
        found["tried"] = _tried(clustering)
    return found | {"clusters": _listed(clustering, len(texts))}


def write_clusters(path: Path, clustering: Clustering) -> None:
    """clusters.csv: a row for each cluster."""
    with TableWriter(path, COLUMNS) as table:
        for cluster in clustering.clusters:
            table.row(cluster_row(cluster, len(clustering.numbers)).values())


def write_members(progress: Progress, path: Path, table: TableReader, clustering: Clustering) -> None:
    """members.csv: the rows of the input, each with its cluster and its distance to that cluster's centre."""
    ends = {cluster.number: f"{cluster.number},{cell(cluster.label)}," for cluster in clustering.clusters}
    ends |= {NOISE: f"{cell(None)},{cell(NOISE_LABEL)},", BLANK: f"{cell(None)},{cell(BLANK_LABEL)},"}
    columns = (*table.columns, *added_names(ADDED, table.columns))
    found = zip(clustering.numbers.tolist(), clustering.distances.tolist(), strict=True)
    with TableWriter(path, columns) as members:
        for row, (number, distance) in zip(progress.track(table, len(clustering.numbers)), found, strict=True):
            own = ",".join([cell(as_cell(row.values[column])) for column in table.columns])
            members.lines([f"{own},{ends[number]}{cell(None) if math.isnan(distance) else round(distance, 4)}"])


def map_chart(
    title: str, clustering: Clustering, names: Mapping[int, str], texts: Sequence[str], others: str
) -> dict[str, Any]:
    """The map of the texts, with a colour for each cluster that has a name; with shorter labels or fewer points where
    it would be too large for a page."""
    for chars, step in ((MAX_LABEL_CHARS, 1), (30, 1), (30, 2), (15, 2), (15, 4)):
        series: dict[str, list[tuple[float, float, str]]] = {name: [] for name in [*names.values(), others]}
        for place, (x, y) in list(zip(clustering.points.tolist(), clustering.places.tolist(), strict=True))[::step]:
            name = names.get(int(clustering.numbers[place]), others)
            series[name].append((round(x, 1), round(y, 1), cut_label(texts[place], chars)))
        shown = {name: points for name, points in series.items() if points}
        drawn = chart("scatter", title, shown, muted=[name for name in (NOISE_LABEL, others) if name in shown])
        if _size(drawn) <= MAX_MAP_BYTES:
            break
    return drawn


def _map(clustering: Clustering, texts: Sequence[str]) -> dict[str, Any]:
    names = {one.number: one.label for one in clustering.clusters[:MAX_COLOURED]} | {NOISE: NOISE_LABEL}
    return map_chart("Map of the texts: near is what is alike", clustering, names, texts, OTHERS)


def _sizes(clustering: Clustering) -> dict[str, Any]:
    largest = clustering.clusters[:MAX_BARS]
    title = "Sizes of the clusters" if len(largest) == len(clustering.clusters) else f"The {MAX_BARS} largest clusters"
    return chart("bar", title, {"texts": [(one.label, one.size) for one in largest]}, x="cluster", y="texts")


def _tried(clustering: Clustering) -> dict[str, Any]:
    series = {
        "of the texts": [(one.k, round(one.texts, 4)) for one in clustering.tried],
        "of their main directions": [(one.k, round(one.directions, 4)) for one in clustering.tried],
    }
    title = "Silhouettes of the numbers of clusters that were tried"
    return chart("line", title, series, x="number of clusters", y="silhouette")


def _listed(clustering: Clustering, texts: int) -> list[dict[str, Any]]:
    listed, size = [], 0
    for cluster in clustering.clusters[:MAX_LISTED]:
        row = cluster_row(cluster, texts)
        size += _size(row)
        if size > MAX_LIST_BYTES:
            break
        listed.append(row)
    return listed


def _size(value: object) -> int:
    """In bytes, as JSON in a result has it."""
    return len(json.dumps(value))
