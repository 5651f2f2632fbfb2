"""The clusters of texts, called as jobs call them; scikit-learn and the csv module say whether they are right."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import HDBSCAN
from sklearn.metrics import adjusted_rand_score, silhouette_score

from jobs import File, JobError, Progress
from jobs.errors import Cancelled, StopRun
from jobs.events import Draft, to_json
from jobs.library.cluster import MAX_TEXTS, cluster
from jobs.library.clusters import density, kmeans
from jobs.library.clusters.clustering import Clustering, ClusterOptions, cluster_texts, plan
from jobs.library.clusters.features import tf_idf, words_of
from jobs.library.clusters.labels import label
from tests.harness import ROOT
from tests.library.chat_server import ChatServer
from tests.library.topics import Topics, drawn_topics

STEPS = [
    "Reading the texts", "Weighing words › words", "Weighing words › letters", "Finding main directions",
    "Choosing the number of clusters", "Clustering › first centres", "Clustering › nearest centres",
    "Naming the clusters", "Drawing the map", "Writing the files",
]  # fmt: skip


class Run:
    """The job called with a real Progress, and all that it said."""

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.drafts: list[Draft] = []
        names = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL", "OPENAI_EMBEDDING_MODEL")
        known = {name: "" for name in names} | (settings or {})
        self.progress = Progress("r1", 1, self.hear, folder=folder / "files", settings=known)

    def hear(self, draft: Draft) -> None:
        self.drafts.append(draft)

    def cluster(self, texts: str | bytes | Sequence[str], name: str = "texts.txt", **options: Any) -> dict[str, Any]:
        if not isinstance(texts, str | bytes):
            texts = "\n".join(texts)
        path = self.folder / "input"
        path.write_bytes(texts if isinstance(texts, bytes) else texts.encode())
        result = cluster(self.progress, File(path, name, path.stat().st_size), **options)
        self.progress.finish()
        assert len(to_json(result)) < 200_000
        return result

    def said(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(draft.body) for draft in self.drafts if draft.kind == kind]

    @property
    def logged(self) -> str:
        return "\n".join(said["message"] for said in self.said("log"))

    def file(self, name: str) -> list[dict[str, str]]:
        with (self.folder / "files" / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    @property
    def members(self) -> list[dict[str, str]]:
        return self.file("members.csv")

    @property
    def found(self) -> list[str]:
        """The cluster of each row."""
        return [row["cluster"] for row in self.members]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.fixture
def progress(tmp_path: Path) -> Progress:
    return Progress("r1", 1, lambda draft: None, folder=tmp_path)


@pytest.fixture(scope="module")
def topics() -> Topics:
    """20 small topics of 25 texts each."""
    return drawn_topics(topics=20, texts=500)


# Are they right?


def test_small_topics_are_found_again(run: Run, topics: Topics) -> None:
    """With k given, the clusters are the topics: the adjusted Rand index is at least 0.8."""
    result = run.cluster(topics.texts, k=20)
    assert result["k"] == 20
    assert adjusted_rand_score(topics.labels, run.found) >= 0.8


@pytest.mark.parametrize("seed", [2, 3])
def test_the_number_of_topics_is_found(run: Run, seed: int) -> None:
    """With k chosen it is near to 20, and what was tried is drawn."""
    topics = drawn_topics(topics=20, texts=600, seed=seed)
    result = run.cluster(topics.texts)
    assert 15 <= result["k"] <= 25
    assert adjusted_rand_score(topics.labels, run.found) >= 0.8
    of_texts, _ = result["tried"]["series"]
    tried = [k for k, _ in of_texts["points"]]
    assert tried == sorted(set(tried)) and {2, result["k"], 100} <= set(tried)


def test_few_large_topics_are_not_taken_apart(run: Run) -> None:
    topics = drawn_topics(topics=4, texts=800, words=25, seed=4)
    assert run.cluster(topics.texts)["k"] in (3, 4, 5)
    assert adjusted_rand_score(topics.labels, run.found) >= 0.8


def test_mini_batches_find_what_lies_beyond_the_sample(run: Run) -> None:
    """The first centres come from a sample, the clusters from all texts."""
    topics = drawn_topics(topics=20, texts=2 * kmeans.SAMPLE_TEXTS, words=60, seed=5)
    run.cluster(topics.texts, k=20)
    assert adjusted_rand_score(topics.labels, run.found) >= 0.8
    assert any("epoch 2" in (said["step"] or "") for said in run.said("update"))


def test_hdbscan_leaves_noise_out(run: Run, topics: Topics) -> None:
    """Most texts of words that nobody else has are in no cluster; the others are in the right ones."""
    strange = drawn_topics(topics=60, texts=60, words=4, seed=77).texts
    result = run.cluster([*topics.texts, *strange], method="hdbscan")
    found = run.found
    inside = [number for number in range(500) if found[number]]
    assert len(inside) > 450
    assert adjusted_rand_score([topics.labels[one] for one in inside], [found[one] for one in inside]) >= 0.8
    assert Counter(found[500:])[""] > 30
    noise = [row for row in run.members if not row["cluster"]]
    assert result["noise"] == len(noise)
    assert {(row["label"], row["distance"]) for row in noise} == {("No cluster", "")}


def test_hdbscan_from_near_neighbours_is_hdbscan(progress: Progress) -> None:
    """scikit-learn with all distances finds the same clusters and nearly the same noise."""
    choose = np.random.default_rng(0)
    centres = choose.normal(size=(15, 30))
    points = (centres[choose.integers(0, 15, 1500)] + choose.normal(size=(1500, 30)) * 0.35).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    ours = density.hdbscan(progress, points, 12)
    whole = HDBSCAN(12, min_samples=density.CORE, copy=True).fit_predict(points)
    assert whole.max() >= 10
    assert adjusted_rand_score(whole, ours) >= 0.99


def test_beyond_the_sample_points_join_the_clusters_of_hdbscan(progress: Progress) -> None:
    """Those near to a cluster; most far ones are noise."""
    choose = np.random.default_rng(1)
    centres = choose.normal(size=(8, 30))
    labels = choose.integers(0, 8, 2000)
    points = (centres[labels] + choose.normal(size=(2000, 30)) * 0.25).astype(np.float32)
    points[1900:] = choose.normal(size=(100, 30))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    found = density.hdbscan(progress, points, 10, most=500)
    near, far = found[:1900], found[1900:]
    assert (near >= 0).mean() > 0.8 and adjusted_rand_score(labels[:1900][near >= 0], near[near >= 0]) >= 0.95
    assert (far == density.NOISE).mean() > 0.5


@pytest.mark.parametrize("dense", [False, True])
def test_the_silhouette_is_scikit_learns(progress: Progress, topics: Topics, dense: bool) -> None:
    rows = tf_idf(progress, topics.texts).rows
    rows = rows.toarray() if dense else rows
    labels = np.array(topics.labels)
    labels[:3] = [100, 101, 101]  # one alone, and two
    expected = silhouette_score(rows, labels, metric="cosine")
    assert kmeans.silhouette(rows, labels) == pytest.approx(expected, abs=1e-4)


def test_the_same_texts_give_the_same_clusters(tmp_path: Path, topics: Topics) -> None:
    """Every byte of both files is the same, and so is the map."""
    written = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run = Run(tmp_path / name)
        result = run.cluster(topics.texts, k=20)
        files = [path.read_bytes() for path in sorted((tmp_path / name / "files").iterdir())]
        written.append((to_json(result), files))
    assert written[0] == written[1]


# What is said of them.


def test_labels_are_words_of_the_topic(run: Run, topics: Topics) -> None:
    """No word that stands in every topic, no label twice; terms and central texts are the topic's own."""
    run.cluster(topics.texts, k=20)
    clusters = run.file("clusters.csv")
    assert len({row["label"] for row in clusters}) == 20
    told = 0
    for row in clusters:
        terms = row["terms"].split(", ")
        (topic,) = [words for words in topics.words if terms[0] in words]
        assert set(row["label"].split(", ")) <= set(terms)
        assert set(terms[:3]) <= topic
        told += set(" ".join(row["central"].split(" | ")).split()) & topic != set()
    assert told == 20


def test_a_label_has_no_word_in_two_forms(run: Run) -> None:
    shoes = [f"{word} {form}" for word in ("red", "blue", "trail", "kids", "cheap") for form in ("shoe", "shoes")]
    boats = [f"{form} {word}" for word in ("rent", "sail", "wood", "lake", "repair") for form in ("boat", "boats")]
    run.cluster([*shoes, *boats], k=2)
    labels = sorted(row["label"] for row in run.file("clusters.csv"))
    assert [sum(word in one for word in ("boat", "boats", "shoe", "shoes")) for one in labels] == [1, 1]
    assert labels[0].startswith("boat") and labels[1].startswith("shoe")


def test_labels_differ_and_are_never_empty() -> None:
    taken: set[str] = set()
    for _ in range(4):
        taken.add(label([("yoga", 1.0), ("mat", 0.1)], ["yoga mat"], taken))
    assert taken == {"yoga", "yoga, mat", "yoga, mat (2)", "yoga, mat (3)"}
    assert label([], ["!!!"], set()) == "!!!"
    assert label([("shoes", 1.0), ("running", 0.9)], ["best running shoes"], set()) == "running, shoes"


def test_cohesion_and_distance_say_how_near(run: Run) -> None:
    """Texts that are all alike have a higher cohesion; distances grow from the first central text on."""
    alike = [f"blue water bottle {number}" for number in range(10)]
    mixed = [f"{word} garden" for word in "rose tree fence soil spade bench hose lamp pond path".split()]
    result = run.cluster([*alike, *mixed], k=2)
    cohesion = {row["label"].split(", ")[0]: row["cohesion"] for row in result["clusters"]}
    assert 0 < cohesion["garden"] < cohesion["blue"] <= 1
    for row in run.file("clusters.csv"):
        members = [one for one in run.members if one["cluster"] == row["cluster"]]
        nearest = min(members, key=lambda one: float(one["distance"]))
        assert row["central"].split(" | ")[0] == nearest["text"]
        mean = sum(1 - float(one["distance"]) for one in members) / len(members)
        assert mean == pytest.approx(float(row["cohesion"]), abs=0.001)


def test_the_result_draws_the_map_and_the_sizes(run: Run) -> None:
    """The ten largest clusters in colours, the others in grey; each point says its text."""
    topics = drawn_topics(topics=14, texts=700, seed=6)
    result = run.cluster(topics.texts, k=14)
    drawn = result["map"]
    assert (drawn["$headway"], drawn["kind"]) == ("chart", "scatter")
    assert [one.get("muted", False) for one in drawn["series"]] == [False] * 10 + [True]
    assert drawn["series"][-1]["name"] == "Other clusters"
    points = [point for one in drawn["series"] for point in one["points"]]
    assert {point[2] for point in points} == set(topics.texts)
    assert max(abs(number) for point in points for number in point[:2]) == 50
    (sizes,) = result["sizes"]["series"]
    assert [size for _, size in sizes["points"]] == sorted(Counter(run.found).values(), reverse=True)
    assert [row["size"] for row in result["clusters"]] == [size for _, size in sizes["points"]]


def test_what_is_near_on_the_map_belongs_together(progress: Progress, topics: Topics) -> None:
    """Of nearly every text the nearest one on the map has the same topic."""
    found = cluster_texts(progress, topics.texts, ClusterOptions(k=20))
    away = np.linalg.norm(found.places[:, None] - found.places[None], axis=2)
    np.fill_diagonal(away, np.inf)
    labels = np.array(topics.labels)[found.points]
    assert (labels[away.argmin(axis=1)] == labels).mean() > 0.9


def test_each_cluster_is_a_row_as_soon_as_it_has_a_name(run: Run, topics: Topics) -> None:
    result = run.cluster(topics.texts, k=20)
    assert [said["row"] for said in run.said("row")] == result["clusters"]
    rows = [number for number, draft in enumerate(run.drafts) if draft.kind == "row"]
    drawing = next(number for number, draft in enumerate(run.drafts) if '"Drawing the map"' in draft.body)
    assert rows[-1] < max(drawing, rows[-1] + 1)
    assert [row["cluster"] for row in run.file("clusters.csv")] == [str(number) for number in range(1, 21)]


def test_every_step_that_was_announced_is_taken(run: Run, topics: Topics) -> None:
    run.cluster(topics.texts)
    (announced,) = run.said("plan")
    updates = run.said("update")
    taken = dict.fromkeys(said["step"].split(" › ")[0] for said in updates if said["step"])
    assert list(taken) == announced["steps"]
    percents = [said["progress"] for said in updates]
    assert percents == sorted(percents) and percents[-1] == 99.9


# What comes in.


def test_members_has_the_columns_of_the_input_first(run: Run) -> None:
    """Also where those have the names of our own; every row is there, in its order."""
    table = 'cluster;keyword;volume\nx;red shoes;10\ny;"blue; shoes";20\nz;big boat;30\n;small boat;\n'
    run.cluster(table, name="k.csv", column="keyword", k=2)
    assert list(run.members[0]) == ["cluster", "keyword", "volume", "cluster_2", "label", "distance"]
    shown = [(row["cluster"], row["keyword"], row["volume"]) for row in run.members]
    assert shown == [("x", "red shoes", "10"), ("y", "blue; shoes", "20"), ("z", "big boat", "30"),
                     ("", "small boat", "")]  # fmt: skip
    first, second, third, fourth = (row["cluster_2"] for row in run.members)
    assert first == second != third == fourth


def test_json_lines_keep_what_is_no_text(run: Run) -> None:
    lines = [{"id": 1, "title": "red shoes", "tags": ["a", "b"]}, {"title": "blue shoes", "id": 2}, {"title": 17}]
    run.cluster("\n".join(map(json.dumps, lines)), column="title")
    assert [(row["id"], row["title"]) for row in run.members] == [("1", "red shoes"), ("2", "blue shoes"), ("", "17")]
    assert json.loads(run.members[0]["tags"]) == ["a", "b"]


def test_formulas_are_disarmed_in_both_files(run: Run) -> None:
    """In texts, labels, central texts and other columns alike."""
    formulas = ["=1+1", "+1", "-2+3", "@SUM(A1)", '=HYPERLINK("http://x.example","y")', "\t=1", "＝1"]
    rows = [f'{json.dumps(one).replace(chr(92) + chr(34), chr(34) * 2)},"=note"' for one in formulas]
    run.cluster("text,note\n" + "\n".join(rows), name="f.csv", column="text", k=7)
    cells = [cell for name in ("members.csv", "clusters.csv") for row in run.file(name) for cell in row.values()]
    assert len(cells) > 60
    armed = [cell for cell in cells if cell.lstrip()[:1] in ("=", "+", "-", "@", "＝")]
    assert armed == []


def test_repeated_texts_are_one_text_that_counts_more(run: Run) -> None:
    """Case, width and blanks make no difference; sizes and shares count rows."""
    texts = ["Red  Shoes", "red shoes", "ＲＥＤ shoes", "blue shoes", "big boat", "small boat", "boat"]
    result = run.cluster(texts, k=2)
    assert (result["texts"], result["unique"]) == (7, 5)
    assert [(row["size"], row["unique"], row["share"]) for row in result["clusters"]] == [
        (4, 2, 57.14), (3, 3, 42.86)
    ]  # fmt: skip
    assert len({row["cluster"] for row in run.members[:3]}) == 1


def test_blank_texts_are_in_no_cluster(run: Run) -> None:
    result = run.cluster('n,text\n1,red shoes\n2,\n3,"  "\n4,blue shoes\n', name="b.csv", column="text", k=1)
    assert result["empty"] == 2 and result["clusters"][0]["size"] == 2
    assert [row["label"] == "Empty" for row in run.members] == [False, True, True, False]


@pytest.mark.parametrize(
    ("content", "column", "sentence"),
    [
        ("", None, "is empty"),
        ("keyword,volume\n", None, "no rows"),
        ("keyword,note\n,x\n,y\n", "keyword", 'empty in the column "keyword". Choose another column: "note".'),
        ("keyword,volume\na,1\n", "title", '"keyword", "volume"'),
    ],
)
def test_an_input_without_texts_ends_with_what_to_change(
    run: Run, content: str, column: str | None, sentence: str
) -> None:
    with pytest.raises(JobError, match=sentence.replace(".", r"\.")):
        run.cluster(content, name="k.csv", column=column)


def test_too_many_rows_are_refused_before_they_are_read(run: Run) -> None:
    with pytest.raises(JobError, match="has 500,001 rows, and 500,000 is the most"):
        run.cluster(b"x\n" * (MAX_TEXTS + 1))


@pytest.mark.parametrize("method", ["k-means", "hdbscan"])
@pytest.mark.parametrize("count", range(1, 8))
def test_very_few_texts_end_well(run: Run, count: int, method: str) -> None:
    texts = ["red shoes", "blue shoes", "small boat", "big boat", "yoga", "yoga mat", "a"][:count]
    result = run.cluster(texts, method=method)
    assert [row["text"] for row in run.members] == texts
    assert sum(row["size"] for row in result["clusters"]) + result["noise"] == count
    assert method == "hdbscan" or 1 <= result["k"] <= count


def test_texts_that_are_all_equal_are_one_cluster(run: Run) -> None:
    result = run.cluster(["same text"] * 1000)
    (only,) = result["clusters"]
    assert (only["size"], only["unique"], only["cohesion"]) == (1000, 1, 1.0)
    assert set(run.found) == {"1"} and "All texts are the same" in run.logged


def test_more_clusters_than_texts_are_as_many_as_there_are(run: Run) -> None:
    result = run.cluster(["red shoes", "blue boat", "red shoes", "yoga"], k=50)
    assert result["k"] == 3
    assert "3 clusters were found instead of 50: there are no more different texts" in run.logged


def test_texts_with_the_same_words_are_no_trouble(run: Run) -> None:
    """Different texts with equal features: fewer clusters than wanted, and HDBSCAN with distances of nothing."""
    texts = [" ".join(words) for words in (("a b", "c"), ("c", "a b"), ("b", "c a"), ("c", "b", "a"))] * 2
    run.cluster(texts, k=3)
    Run(run.folder).cluster([f"{one} {text}" for one in range(30) for text in texts], method="hdbscan", min_size=3)


@pytest.mark.parametrize("texts", [["!!!", "???", "...", "---", "#", "*** ***"], ["🙂", "🙂🙂", "🚀", "❤️"]])
def test_texts_without_words_are_called_by_themselves(run: Run, texts: list[str]) -> None:
    result = run.cluster(texts, k=2)
    assert len(result["clusters"]) == 2
    labels = {row["label"] for row in result["clusters"]}
    assert labels <= set(texts)


def test_every_text_may_differ_from_every_other(run: Run) -> None:
    """Thousands of texts without anything in common: no word and no run of letters comes twice."""
    result = run.cluster([chr(0x4E00 + number) for number in range(1500)], k=5)
    assert sum(row["size"] for row in result["clusters"]) == 1500


SCRIPTS = {
    "han": "手机壳 手机膜 手机充电器 二手手机 手机电池 智能手机 手机支架 防水手机壳 手机维修 便宜手机".split(),
    "arabic": [f"وصفة {one}" for one in "كعكة حساء خبز دجاج سمك أرز سلطة عصير حلوى بيتزا".split()],
    "russian": [f"купить {one}" for one in "диван стол стул шкаф кровать лампу ковёр зеркало кресло полку".split()],
    "thai": [f"เที่ยวเชียงใหม่{one}" for one in "วันเดียว หน้าหนาว กับเด็ก ราคาถูก สามวัน ด้วยรถไฟ เดือนมกราคม คนเดียว".split()],
    "hindi": [f"योग आसन {one}" for one in "सुबह पीठ बच्चे नींद साँस शुरुआत घर महिला".split()],
}  # fmt: skip


def test_texts_in_any_script_are_told_apart(run: Run) -> None:
    """Without blanks between words, from right to left, with marks that belong to letters; labels are whole words."""
    texts = [text for group in SCRIPTS.values() for text in group]
    truth = [name for name, group in SCRIPTS.items() for _ in group]
    result = run.cluster(texts, k=5)
    assert adjusted_rand_score(truth, run.found) == 1.0
    labels = {row["label"].split(", ")[0] for row in result["clusters"]}
    assert {"手机", "وصفة", "купить"} <= labels
    assert any("योग" in one or "आसन" in one for one in labels)


def test_words_are_those_of_the_script() -> None:
    assert words_of("手机壳 防水") == ["手机", "机壳", "防水"]
    assert words_of("men's 2nd c++ l’eau naïve") == ["men's", "2nd", "c", "l", "eau", "naïve"]
    assert words_of("योग आसन") == ["योग", "आसन"]
    assert words_of("a_b-c 3") == ["a", "b", "c", "3"]


def test_encodings_and_broken_rows_are_read(run: Run) -> None:
    rows = "\n".join(f"schöne Schuhe Größe {number};{number};x" for number in range(30, 50))
    table = f"Stichwort;Zahl;Notiz\n{rows}\nrote Schuhe\nkleines Boot;3;y;4\n".encode("cp1252")
    result = run.cluster(table, name="k.csv", column="stichwort", k=2)
    assert [row["Stichwort"] for row in run.members][-3:] == ["schöne Schuhe Größe 49", "rote Schuhe", "kleines Boot"]
    assert result["texts"] == 22 and "2 of 22 rows are not whole" in run.logged


@pytest.mark.timeout(600)
def test_two_hundred_thousand_lines_end_well(run: Run) -> None:
    """All of them different; each is there afterwards, and the clusters are the topics."""
    topics = drawn_topics(topics=10, texts=200_000, words=60, seed=8)
    result = run.cluster(topics.texts, k=10)
    assert (result["texts"], result["unique"], result["k"]) == (200_000, 200_000, 10)
    members = run.members
    assert [row["text"] for row in members] == topics.texts
    assert adjusted_rand_score(topics.labels, [row["cluster"] for row in members]) >= 0.8


# How it runs.


class Stopper(Run):
    """A run that is cancelled at the moment in which it says that it has come to a step."""

    def __init__(self, folder: Path, step: str) -> None:
        super().__init__(folder)
        self.step = step

    def hear(self, draft: Draft) -> None:
        super().hear(draft)
        if draft.kind == "update" and json.loads(draft.body)["step"] == self.step:
            self.progress.stop(Cancelled)


@pytest.mark.parametrize("step", STEPS)
def test_a_run_stops_in_every_step(tmp_path: Path, topics: Topics, step: str) -> None:
    stopper = Stopper(tmp_path, step)
    with pytest.raises(StopRun):
        stopper.cluster(topics.texts)
    assert [said["step"] for said in stopper.said("update")][-1] == step


@pytest.mark.parametrize("part", ["neighbours", "dense places", "the other texts"])
def test_hdbscan_stops_in_every_step(tmp_path: Path, part: str) -> None:
    stopper = Stopper(tmp_path, part)
    points = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
    with pytest.raises(StopRun):
        density.hdbscan(stopper.progress, points, 10, most=900)
    assert stopper.said("update")[-1]["step"] == part


def test_mini_batches_stop(tmp_path: Path) -> None:
    stopper = Stopper(tmp_path, "mini-batches › epoch 1")
    points = np.random.default_rng(0).normal(size=(kmeans.SAMPLE_TEXTS + 1, 8)).astype(np.float32)
    with pytest.raises(StopRun):
        kmeans.k_means(stopper.progress, points, np.ones(len(points), np.float32), 3)
    assert stopper.said("update")[-1]["step"] == "mini-batches › epoch 1"


@pytest.mark.parametrize("count", range(6))
def test_clusters_are_a_part_of_another_jobs_step(tmp_path: Path, count: int) -> None:
    """Any number of texts, long ones too; it takes the share that it is given, and says no rows."""
    run = Run(tmp_path)
    texts = [f"{word} and the news of the week " * 100 for word in ("tea", "tea and milk", "ships", "boats", "rain")]
    heard = []
    with run.progress.step("Grouping pages", weight=50):
        found: Clustering = cluster_texts(run.progress, texts[:count], share=80, on_cluster=heard.append)
        run.progress.update(90)
    run.progress.finish()
    assert len(found.numbers) == len(found.distances) == count
    assert heard == list(found.clusters) and sum(one.size for one in heard) == count
    assert {draft.kind for draft in run.drafts} == {"update"}
    updates = run.said("update")
    inside = [said["progress"] for said in updates if (said["step"] or "").endswith("Drawing the map")]
    assert (max(inside) <= 40) if count else inside == []


def test_the_plan_is_what_the_options_need() -> None:
    assert len(plan(ClusterOptions())) == 6
    assert "Choosing the number of clusters" not in plan(ClusterOptions(k=3))
    assert "Choosing the number of clusters" not in plan(ClusterOptions(method="hdbscan"))


# Embeddings.


@pytest.fixture
def embedding_run(tmp_path: Path) -> Callable[[ChatServer], Run]:
    return lambda chat: Run(tmp_path, {"OPENAI_BASE_URL": chat.url, "OPENAI_EMBEDDING_MODEL": "letters"})


def test_embeddings_come_from_the_endpoint(embedding_run: Callable[[ChatServer], Run]) -> None:
    """Each different text is asked for once; the clusters are those of its vectors, the labels of its words."""
    texts = [letter * count for letter in "abcd" for count in (3, 4, 5, 6, 7)]
    with ChatServer() as chat:
        run = embedding_run(chat)
        result = run.cluster([*texts, *texts], features="embeddings", k=4)
        asked = [text for one in chat.asked for text in one.body["input"]]
    assert sorted(asked) == sorted(texts)
    assert adjusted_rand_score([text[0] for text in texts * 2], run.found) == 1.0
    assert result["features"] == "embeddings" and {row["size"] for row in result["clusters"]} == {10}


def test_embeddings_without_an_endpoint_say_what_to_set(run: Run) -> None:
    with pytest.raises(JobError, match="HEADWAY_OPENAI_BASE_URL and HEADWAY_OPENAI_EMBEDDING_MODEL"):
        run.cluster(["one", "two"], features="embeddings")


def test_the_sample_has_topics(run: Run) -> None:
    """What a newcomer starts with shows what the job is good for."""
    sample = (ROOT / "jobs" / "library" / "samples" / "keywords.csv").read_text()
    result = run.cluster(sample, name="keywords.csv")
    assert result["texts"] == 300 and 9 <= result["k"] <= 16
    labels = " ".join(row["label"] for row in result["clusters"])
    assert all(word in labels for word in ("running", "lisbon", "yoga", "laptop", "guitar", "mortgage"))
