"""Jobs for the tests of results: one whose result has every figure, one that returns whatever it is told."""

import json
import math
import random
import struct
import zlib
from pathlib import Path
from typing import Annotated

from jobs import Param, Progress, chart, image, job, markdown

TOPICS = [
    "running shoes", "coffee machines", "garden tools", "mountain bikes", "cat food", "winter jackets",
    "phone cases", "board games", "yoga mats", "desk lamps",
]  # fmt: skip
FAULTS = [
    "The certificate has expired", "Connection refused", "Name not found", "Too many redirects",
    "The answer did not come within ten seconds of the request", "404 Not Found", "500 Internal Server Error",
]  # fmt: skip
TEXT = """# A report

What was found, in **bold** and *italic*, with `code`, a [link](https://example.org/) and a list:

- first
- second

| page | words |
|---|--:|
| /about | 120 |
| /contact | 45 |

![a picture from elsewhere](https://example.org/picture.png)
"""


@job(title="Figures")
def figures(
    progress: Progress,
    points: Annotated[int, Param("Points")] = 600,
    rows: Annotated[int, Param("Rows")] = 40,
) -> dict[str, object]:
    """Return one of everything that a result can show."""
    chance = random.Random(7)
    for number in range(rows):
        progress.row({"keyword": f"{TOPICS[number % 10]} {number}", "searches": number * 37 % 101, "note": None})
    _picture(progress.file("picture.png"))
    progress.file("drawing.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 99 60"><circle cx="30" cy="30" r="25" fill="teal"/></svg>'
    )
    progress.file("pages.csv").write_text('"url","status"\r\n"https://example.org/",200\r\n')
    return {
        "texts": points,
        "silhouette": 0.4182,
        "map": _map(chance, points),
        "sizes": chart(
            "bar",
            "Texts in each cluster",
            {"texts": [(topic, chance.randint(5, 1400)) for topic in TOPICS]},
            x="Cluster",
            y="Texts",
        ),
        "faults": chart(
            "bar",
            "Errors by host",
            {host: [(fault, chance.randint(0, 40)) for fault in FAULTS] for host in ("example.org", "example.com")},
            y="Pages",
        ),
        "change": chart(
            "bar",
            "Change since last week",
            {"change": [(topic, chance.uniform(-30, 30)) for topic in TOPICS[:6]]},
            y="Change",
            y_unit="%",
        ),
        "scores": chart(
            "line",
            "Silhouette by number of clusters",
            {
                "all texts": [(k, 0.62 - (k - 14) ** 2 / 900) for k in range(2, 31)],
                "sample": [(k, 0.58 - (k - 12) ** 2 / 950) for k in range(2, 31)],
            },
            x="Clusters",
            y="Silhouette",
        ),
        "latency": chart(
            "line",
            "Time to answer",
            {
                name: [
                    (second, base + 30 * abs(math.sin(second / 23 + base)) + chance.random() * 8)
                    for second in range(400)
                ]
                for name, base in (("p50", 20.0), ("p99", 90.0))
            },
            x="Time",
            x_unit="s",
            y="Latency",
            y_unit="ms",
        ),
        "clusters": [
            {
                "label": topic,
                "size": chance.randint(5, 1400),
                "cohesion": round(chance.random(), 3),
                "page": f"https://example.org/{number}",
                "terms": topic.split(),
            }
            for number, topic in enumerate(TOPICS)
        ],
        "most_common": [["shoes", 40], ["coffee", 22], ["garden", 9]],
        "summary": markdown(TEXT),
        "picture": image("picture.png", "A gradient from red to blue"),
        "long": "A sentence that goes on. " * 60,
    }


@job(title="Return")
def give(progress: Progress, value: Annotated[str, Param("Value", multiline=True)]) -> object:
    """Return a JSON value as it is."""
    return json.loads(value)


def _map(chance: random.Random, points: int) -> dict[str, object]:
    """Texts on a plane, in ten groups and some noise."""
    series: dict[str, list[tuple[float, float, str]]] = {topic: [] for topic in TOPICS}
    series["noise"] = []
    for number in range(points):
        at = number % 11
        angle, far = at * 0.628, 6.0
        x, y = (chance.gauss(far * turn(angle), 0.9) for turn in (math.cos, math.sin))
        if at == 10:
            x, y = chance.uniform(-9, 9), chance.uniform(-9, 9)
        [*series.values()][at].append(
            (round(x, 3), round(y, 3), f"{([*TOPICS, 'something else'])[at]} number {number}")
        )
    return chart("scatter", "Map of the texts", series, muted=["noise"])


def _picture(path: Path, width: int = 240, height: int = 80) -> None:
    """A PNG, by hand."""
    line = b"".join(bytes((255 * x // width, 80, 255 - 255 * x // width)) for x in range(width))
    data = zlib.compress(b"".join(b"\0" + line for _ in range(height)))
    parts = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", data), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
