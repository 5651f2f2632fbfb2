"""The clusters of a list of short texts: keywords, titles, sentences."""

from __future__ import annotations

from typing import Annotated, Any

from marshmallow.validate import Length, Range

from jobs import File, JobError, Param, Progress, TableReader, job
from jobs.library.clusters.clustering import Clustering, ClusterOptions, FeatureKind, Method, cluster_texts, plan
from jobs.library.clusters.report import cluster_row, report, write_clusters, write_members
from jobs.library.endpoint.client import SETTINGS

MAX_TEXTS = 500_000
"""What 2 GB of memory are enough for."""
MAX_K = 1000
READ, WRITE = "Reading the texts", "Writing the files"
READ_SHARE, WRITE_SHARE = 5, 5
"""Percent of the bar."""


@job(title="Cluster texts", timeout="2h", cpu_bound=True, settings=SETTINGS)
def cluster(
    progress: Progress,
    texts: Annotated[
        File,
        Param(
            "Texts",
            help="CSV, TSV, JSON lines or a text a line: keywords, titles, sentences.",
            accept=".csv, .tsv, .txt, .jsonl",
            sample="sample:keywords.csv",
        ),
    ],
    column: Annotated[
        str | None,
        Param("Column", help="The column with the texts. Empty: the first that has texts.", placeholder="keyword"),
        Length(max=200),
    ] = None,
    method: Annotated[
        Method,
        Param("Method", help="k-means puts every text into a cluster; HDBSCAN leaves out what is near to nothing."),
    ] = "k-means",
    k: Annotated[
        int | None,
        Param("Clusters", help="For k-means. Empty: up to 100 are tried, and the number that fits best is taken."),
        Range(1, MAX_K),
    ] = None,
    min_size: Annotated[
        int, Param("Smallest cluster", help="For HDBSCAN: at least so many different texts."), Range(2, 1000)
    ] = 10,
    features: Annotated[
        FeatureKind,
        Param(
            "Features",
            help="tf-idf compares words and letters, in any language. Embeddings compare meanings, by the endpoint of"
            " the server's settings.",
        ),
    ] = "tf-idf",
) -> dict[str, Any]:
    """Find what belongs together in a list of short texts: keywords, titles, sentences, in any language.

    Each cluster becomes a row with a label of its most telling words, its size, its most central texts and its cohesion
    (0: they have nothing in common, 1: they are all the same). The result draws a map of the texts, where near is what
    is alike. `clusters.csv` has the clusters; `members.csv` has every row of the input with its cluster and its
    distance to the cluster's centre.
    """
    options = ClusterOptions(method=method, features=features, k=k, min_size=min_size)
    progress.plan(READ, *plan(options), WRITE)
    table = texts.table(column)
    name = table.column(column)
    with progress.step(READ, weight=READ_SHARE):
        found = _read(progress, table, name)
    clustering = cluster_texts(
        progress,
        found,
        options,
        share=100 - READ_SHARE - WRITE_SHARE,
        on_cluster=lambda cluster: progress.row(cluster_row(cluster, len(found))),
    )
    _remark(progress, clustering, options)
    with progress.step(WRITE):
        write_clusters(progress.file("clusters.csv"), clustering)
        write_members(progress, progress.file("members.csv"), table, clustering)
    return report(clustering, found, options)


def _read(progress: Progress, table: TableReader, column: str) -> list[str]:
    """The texts of a column, blank ones included. Raises JobError where there are none, or too many."""
    rows = table.count(progress.check)
    if rows > MAX_TEXTS:
        raise JobError(f"The file has {rows:,} rows, and {MAX_TEXTS:,} is the most. Give a part of it.")
    found, problems = [], 0
    for row in progress.track(table, rows):
        value = row.values.get(column)
        found.append("" if value is None else str(value))
        problems += row.problem is not None
    if problems:
        progress.log(f"{problems:,} of {rows:,} rows are not whole; what can be read of them is used.", "warning")
    if not any(map(str.strip, found)):
        raise JobError(_no_texts(table, column, rows))
    return found


def _no_texts(table: TableReader, column: str, rows: int) -> str:
    if not rows:
        return "The file has no rows. Give it at least one text."
    others = ", ".join(f'"{one}"' for one in table.columns[:20] if one != column)
    change = f"Choose another column: {others}." if others else "Give at least one text."
    return f'All {rows:,} rows are empty in the column "{column}". {change}'


def _remark(progress: Progress, clustering: Clustering, options: ClusterOptions) -> None:
    """Say what a reader of the result should know."""
    found = len(clustering.clusters)
    if clustering.unique == 1:
        progress.log("All texts are the same, but for case and blanks.", "warning")
    elif options.method == "hdbscan" and not found:
        progress.log(
            f"No {options.min_size} texts are near to each other. Choose a smaller smallest cluster, or k-means.",
            "warning",
        )
    elif options.method == "k-means" and options.k is not None and found < options.k:
        progress.log(f"{found:,} clusters were found instead of {options.k:,}: {_why_fewer(clustering)}", "warning")
    elif options.k is None and found == 1 and options.method == "k-means":
        progress.log("No number of clusters fits better than one: the texts have too little in common.", "warning")


def _why_fewer(clustering: Clustering) -> str:
    if clustering.unique == len(clustering.clusters):
        return "there are no more different texts."
    return "some texts have the same words and letters."
