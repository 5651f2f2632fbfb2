"""The words of web/wording.py and static/js/words.js are the same."""

import datetime

import pytest

from web import wording

pytestmark = pytest.mark.browser

ENDS = [("queued", None), ("processing", None), ("completed", None)]
ENDS += [("error", {"code": code}) for code in wording.ERROR_WORDS]
RUNS = [
    {
        "status": status,
        "error": error,
        "step": step,
        "progress": 42.9,
        "cancelling": cancelling,
        "indeterminate": vague,
    }
    for status, error in ENDS
    for step in (None, "Walking › Resting")
    for cancelling in (False, True)
    for vague in (False, True)
]
CALL = """
async ([name, all]) => {
  const words = await import("/static/js/words.js");
  return all.map((one) => words[name](...one));
}
"""


@pytest.fixture
def words(visitor):
    """Calls a function of words.js in the browser for each list of arguments."""
    page = visitor.open("/login")

    def call(name, arguments):
        return page.evaluate(CALL, [name, arguments])

    return call


def test_durations(words):
    seconds = [0, 0.9, 1, 59, 60, 61, 125, 3599, 3600, 3660, 7325, 90_000]
    assert words("duration", [[one] for one in seconds]) == [wording.duration(one) for one in seconds]


def test_times_ago(words):
    now = datetime.datetime.now(datetime.UTC)
    seconds = [0, 4, 5.5, 59.5, 60.5, 3599.5, 3601, 86_401, 9_000_000]
    stamps = [(now - datetime.timedelta(seconds=one)).isoformat() for one in seconds]
    assert words("ago", [[one] for one in seconds]) == [wording.ago(stamp) for stamp in stamps]


def test_how_many_are_shown(words):
    cases = [[1, 1, "row"], [2, 2, "row"], [500, 12_345, "row"], [500, None, "line"]]
    assert words("shownOf", cases) == [wording.shown_of(*case) for case in cases]


def test_sizes(words):
    sizes = [
        0,
        1,
        999,
        1000,
        1250,
        1350,
        9949,
        9999,
        10_499,
        12_500,
        13_500,
        999_499,
        999_999,
        12_345_678,
        10**9,
        25 * 10**11,
    ]
    assert words("filesize", [[one] for one in sizes]) == [wording.filesize(one) for one in sizes]


@pytest.mark.parametrize(
    ("script", "python"),
    [
        ("statusWord", wording.status_word),
        ("tone", wording.tone),
        ("headline", wording.headline),
        ("valueText", wording.value_text),
    ],
)
def test_what_is_said_of_a_run(words, script, python):
    assert words(script, [[run] for run in RUNS]) == [python(run) for run in RUNS]
