"""Clustering as a user has it: launched over HTTP, computed in a child process."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from sklearn.metrics import adjusted_rand_score

from tests.harness import Server, numbered, updates
from tests.library.topics import Topics, drawn_topics

STEPS = [
    "Reading the texts", "Weighing words", "Finding main directions", "Choosing the number of clusters", "Clustering",
    "Naming the clusters", "Drawing the map", "Writing the files",
]  # fmt: skip


@pytest.fixture(scope="module")
def many() -> Topics:
    """Enough for every step to take a while."""
    return drawn_topics(topics=30, texts=40_000, words=60, seed=9)


def launch(server: Server, texts: list[str], **parameters: Any) -> str:
    """Launch it with an upload; gives the run's id."""
    table = "keyword,rank\n" + "".join(f"{text},{number}\n" for number, text in enumerate(texts))
    answer = server.http.post(
        "/api/v1/jobs/cluster/runs",
        data={name: str(value) for name, value in parameters.items()},
        files={"texts": ("keywords.csv", table)},
    )
    assert answer.status_code == 202, answer.text
    run: str = answer.json()["id"]
    return run


def file_of(server: Server, run: str, name: str) -> list[dict[str, str]]:
    answer = server.http.get(f"/api/v1/runs/{run}/files/{name}")
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_the_sample_becomes_clusters_step_by_step(server: Server) -> None:
    """Every step of the plan is said, the bar never goes back, clusters are rows, and both files hold everything."""
    run = server.launch("cluster", texts="sample:keywords.csv")
    events = server.events(run)
    said = updates(events)
    assert said[-1]["status"] == "completed", said[-1]
    steps = list(dict.fromkeys(one["step"].split(" › ")[0] for one in said if one["step"]))
    (announced,) = [data["steps"] for data in numbered(events) if "steps" in data]
    assert steps == announced == STEPS
    percents = [one["progress"] for one in said]
    assert percents == sorted(percents) and percents[-1] == 100
    rows = [data["row"] for data in numbered(events) if "row" in data]
    clusters, members = file_of(server, run, "clusters.csv"), file_of(server, run, "members.csv")
    assert [row["label"] for row in rows] == [row["label"] for row in clusters]
    assert len(members) == 300 and list(members[0]) == ["keyword", "volume", "cluster", "label", "distance"]
    assert {row["cluster"] for row in members} == {row["cluster"] for row in clusters}
    result = server.http.get(f"/api/v1/runs/{run}/result").json()
    assert result["k"] == len(clusters) and result["map"]["$headway"] == "chart"


def test_topics_are_found_again_in_an_upload(server: Server) -> None:
    """With k given and with k chosen; twice the same file gives the same bytes."""
    topics = drawn_topics(topics=20, texts=500)
    runs = [launch(server, topics.texts, k=20), launch(server, topics.texts), launch(server, topics.texts)]
    for run in runs:
        assert server.wait_ended(run, 60)["status"] == "completed"
        found = [row["cluster"] for row in file_of(server, run, "members.csv")]
        assert 15 <= len(set(found)) <= 25
        assert adjusted_rand_score(topics.labels, found) >= 0.8
    _, first, second = [server.http.get(f"/api/v1/runs/{run}/files/members.csv").content for run in runs]
    assert first == second


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"texts": "keyword,volume\nred shoes,1\n", "column": "title"}, 'no column "title". It has the columns'),
        ({"texts": "\n\n"}, "is empty"),
        ({"texts": "a text", "features": "embeddings"}, "HEADWAY_OPENAI_EMBEDDING_MODEL"),
    ],
)  # fmt: skip
def test_what_cannot_be_clustered_ends_with_what_to_change(
    server: Server, parameters: dict[str, str], sentence: str
) -> None:
    end = server.wait_ended(server.launch("cluster", **parameters))
    assert end["error"]["code"] == "failed" and sentence in end["error"]["message"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("step", "method"),
    [
        ("Weighing words › letters", "k-means"),
        ("Finding main directions", "k-means"),
        ("Choosing the number of clusters", "k-means"),
        ("Clustering › first centres", "k-means"),
        ("Clustering › neighbours", "hdbscan"),
        ("Drawing the map", "k-means"),
    ],
)
def test_a_cancelled_run_stops_by_itself(server: Server, many: Topics, step: str, method: str) -> None:
    """In the midst of each step, long calls of a library too: it is not killed for being slow to stop."""
    run = launch(server, many.texts, method=method)
    with server.stream(run) as events:
        for event in events:
            if updates([event]) and updates([event])[0]["step"] == step:
                break
        server.cancel(run)
        last = updates(list(events))[-1]
    assert last["error"] == {"code": "cancelled", "message": "The run was cancelled."}
    assert last["step"] == step
