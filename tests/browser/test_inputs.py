"""Files as the input of runs, as a person gives them: uploaded with a bar, pasted, chosen, by one click."""

import re
import socket
import threading

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import JOBS, Visitor
from tests.harness import Server, wait_for

pytestmark = pytest.mark.browser

MB = 1_000_000
SLOW = {"offline": False, "latency": 0, "downloadThroughput": 10 * MB, "uploadThroughput": MB}
PHONE = {"viewport": {"width": 320, "height": 640}}
NO_SCRIPTS = {"java_script_enabled": False}
FRUITS = "fruits.csv"


def _file(size, name="words.csv"):
    """A file as somebody picks it from a disk."""
    line = b"one line of a file that is somewhat long\n"
    return {"name": name, "mimeType": "text/csv", "buffer": (line * (size // len(line) + 1))[:size]}


def _upload_of(page, field="texts"):
    return page.locator(f"#p-{field}-upload")


def _pick(page, way, field="texts"):
    """Press one of the ways to give a file."""
    page.locator(f"#p-{field}").get_by_text(way, exact=True).click()


def _start(page):
    page.get_by_role("button", name="Start run").click()


def _slowly(visitor, bytes_a_second=MB):
    """A line that takes its time for an upload."""
    session = visitor.context.new_cdp_session(visitor.page)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", SLOW | {"uploadThroughput": bytes_a_second})
    return session


def _runs(visitor, words):
    """The runs whose parameters have these words."""
    return visitor.server.http.get(f"/api/v1/runs?q={words}").json()["runs"]


def _result(visitor):
    return visitor.page.get_by_role("region", name="Result")


def _earlier_run(visitor):
    """A run that has ended, and wrote lines.csv."""
    run = visitor.server.launch("measure", texts="first\nsecond")
    visitor.server.wait_ended(run)
    return run


@pytest.fixture(scope="module")
def small_server(tmp_path_factory):
    """A server that takes 1 MB."""
    settings = {"HEADWAY_JOBS": JOBS, "HEADWAY_MAX_UPLOAD": "1"}
    started = Server(tmp_path_factory.mktemp("small") / "data", workers=1, **settings).start()
    yield started
    started.stop()


@pytest.fixture
def small(chromium, small_server):
    """A visitor of that server."""
    with chromium.new_context() as context:
        someone = Visitor(context, small_server)
        yield someone
        assert someone.faults == []


class Cable:
    """A line to a server, which can be cut in the middle or swallow the answers."""

    def __init__(self, port):
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._ends = set()
        self._is_cut = False
        self.swallows_answers = False
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._threads = [self._begin(self._listen)]

    def cut(self):
        """End all that goes over it, and let nobody call again (browsers do) until it is mended."""
        self._is_cut = True
        for end in list(self._ends):
            _end(end)

    def mend(self):
        """Let calls through again."""
        self._is_cut = False

    def close(self):
        """Take it away."""
        _end(self._listening)
        self.cut()
        for thread in self._threads:
            thread.join(10)
        self._listening.close()

    def _begin(self, work, *given):
        thread = threading.Thread(target=work, args=given)
        thread.start()
        return thread

    def _listen(self):
        while True:
            try:
                here, _ = self._listening.accept()
            except OSError:
                return  # taken away
            self._threads.append(self._begin(self._carry, here))

    def _carry(self, here):
        with here, socket.create_connection(("127.0.0.1", self._port)) as there:
            self._ends |= {here, there}
            answers = self._begin(self._pass_on, there, here, True)
            self._pass_on(here, there, False)
            answers.join()
            self._ends -= {here, there}

    def _pass_on(self, source, target, answers):
        try:
            while (data := source.recv(65536)) and not (self._is_cut or answers and self.swallows_answers):
                target.sendall(data)
        except OSError:
            pass  # cut
        _end(source)
        _end(target)


def _end(end):
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it had ended by itself


@pytest.fixture
def cable(visitor):
    """A line to the visitor's server."""
    laid = Cable(visitor.server.port)
    yield laid
    laid.close()


# The bar.


def test_a_bar_shows_how_far_an_upload_is_and_then_comes_the_run(visitor):
    page = visitor.open("/jobs/measure")
    _slowly(visitor)
    _upload_of(page).set_input_files(_file(4 * MB))
    _start(page)
    bar = page.get_by_role("progressbar", name="Upload")
    expect(bar).to_be_visible()
    seen = []

    def moved():
        now = int(bar.get_attribute("aria-valuenow"))
        if not seen or now != seen[-1]:
            seen.append(now)
        return len(seen) >= 6

    wait_for(moved, what="a bar that moves")
    assert seen == sorted(seen) and 0 <= seen[0] < seen[-1] <= 100
    expect(bar).to_have_attribute("aria-valuetext", re.compile(r"^\d+ %, [\d.]+ (k|M)?B of 4\.0 MB$"))
    expect(page.get_by_text(re.compile(r"^\d+ % · [\d.]+ (k|M)?B of 4\.0 MB$"))).to_be_visible()
    assert float(bar.locator("rect").get_attribute("width").rstrip("%")) == pytest.approx(seen[-1], abs=20)
    page.wait_for_url(re.compile(r"/runs/\w+$"))
    visitor.expect_end()
    expect(_result(visitor)).to_contain_text("4000000")


def test_an_upload_is_cancelled_and_sent_again(visitor):
    page = visitor.open("/jobs/measure")
    session = _slowly(visitor, MB // 4)
    _upload_of(page).set_input_files(_file(4 * MB, "cancelled.csv"))
    _start(page)
    bar = page.get_by_role("progressbar", name="Upload")
    wait_for(lambda: int(bar.get_attribute("aria-valuenow")) > 0, what="a bar that moves")
    start = page.get_by_role("button", name="Start run")
    expect(start).to_have_attribute("aria-disabled", "true")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert").get_by_text("Cancelled. Nothing was started.")).to_be_visible()
    expect(bar).to_have_count(0)
    expect(start).to_be_focused()
    expect(start).not_to_have_attribute("aria-disabled", "true")
    assert _runs(visitor, "cancelled.csv") == []
    session.send("Network.emulateNetworkConditions", SLOW | {"uploadThroughput": -1})
    start.click()
    visitor.expect_end()
    assert len(_runs(visitor, "cancelled.csv")) == 1


def test_two_clicks_send_one_file_once(visitor):
    page = visitor.open("/jobs/measure")
    _slowly(visitor)
    _upload_of(page).set_input_files(_file(MB, "once.csv"))
    page.get_by_role("button", name="Start run").dblclick()
    expect(page.get_by_role("progressbar", name="Upload")).to_have_count(1)
    page.get_by_role("button", name="Start run").click(force=True)  # it says that it is disabled
    visitor.expect_end()
    assert len(_runs(visitor, "once.csv")) == 1


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(visitor):
    page = visitor.open("/jobs/measure")
    page.locator("upload-bar").evaluate("bar => bar.setAttribute('max-bytes', '1000000')")
    posts = []
    page.on("request", lambda request: posts.append(request) if request.method == "POST" else None)
    _upload_of(page).set_input_files(_file(MB + 1, "large.csv"))
    _start(page)
    alert = page.get_by_role("alert").get_by_text("large.csv is too large: it has 1.0 MB, and 1.0 MB is the most.")
    expect(alert).to_be_visible()
    assert posts == []
    _upload_of(page).set_input_files(_file(1000, "small.csv"))
    _start(page)
    visitor.expect_end()


def test_what_the_server_refuses_is_said_at_the_button(small):
    """A body just beyond the limit, which only the server counts."""
    page = small.open("/jobs/measure")
    _upload_of(page).set_input_files(_file(MB))
    _start(page)
    expect(page.get_by_role("alert").filter(has_text="HEADWAY_MAX_UPLOAD")).to_be_visible()
    expect(page.get_by_role("button", name="Start run")).not_to_have_attribute("aria-disabled", "true")
    assert _runs(small, "words.csv") == []


def test_a_connection_lost_on_the_way_is_said_and_the_file_can_be_sent_again(visitor, cable):
    page = visitor.page
    page.goto(f"{cable.url}/jobs/measure")
    session = _slowly(visitor, MB // 2)
    _upload_of(page).set_input_files(_file(4 * MB, "lost.csv"))
    _start(page)
    bar = page.get_by_role("progressbar", name="Upload")
    wait_for(lambda: int(bar.get_attribute("aria-valuenow")) > 0, what="a bar that moves")
    cable.cut()
    lost = "The connection was lost before everything was sent. Nothing was started: try again."
    expect(page.get_by_role("alert").get_by_text(lost)).to_be_visible(timeout=20_000)
    assert _runs(visitor, "lost.csv") == []
    cable.mend()
    session.send("Network.emulateNetworkConditions", SLOW | {"uploadThroughput": -1})
    _start(page)
    visitor.expect_end()
    assert len(_runs(visitor, "lost.csv")) == 1


def test_an_answer_that_is_lost_is_not_taken_for_nothing(visitor, cable):
    """The run may have been started: where to look for it is said."""
    page = visitor.page
    page.goto(f"{cable.url}/jobs/measure")
    _upload_of(page).set_input_files(_file(1000, "answerless.csv"))
    page.wait_for_load_state("networkidle")
    cable.swallows_answers = True
    _start(page)
    expect(page.get_by_role("alert").get_by_text("Look under Runs")).to_be_visible()
    assert len(_runs(visitor, "answerless.csv")) >= 1


def test_who_was_logged_out_meanwhile_is_told_and_keeps_the_file(visitor):
    page = visitor.open("/jobs/measure")
    _upload_of(page).set_input_files(_file(1000))
    cookies = visitor.context.cookies()
    visitor.context.clear_cookies()
    _start(page)
    expect(page.get_by_role("alert").get_by_text("You are logged out.")).to_be_visible()
    visitor.context.add_cookies(cookies)
    _start(page)
    visitor.expect_end()


def test_after_a_problem_the_chosen_file_is_still_there(visitor):
    page = visitor.open("/jobs/measure")
    _upload_of(page).set_input_files(_file(2000, "kept.csv"))
    _pick(page, "Paste", "stop_words")
    page.get_by_label("Stop words: text to paste").fill("the\nand")
    page.get_by_label("Limit").fill("0")
    _start(page)
    expect(page.get_by_role("alert").filter(has_text="Nothing was started")).to_be_focused()
    expect(page).to_have_title(re.compile("^Error: Measure"))
    assert _upload_of(page).evaluate("input => Array.from(input.files, (file) => file.name)") == ["kept.csv"]
    expect(page.get_by_text("once more")).to_have_count(0)
    expect(page.get_by_label("Stop words: text to paste")).to_have_value("the\nand")
    page.get_by_label("Limit").fill("3")
    _start(page)
    visitor.expect_end()
    expect(_result(visitor)).to_contain_text("kept.csv")
    expect(_result(visitor)).to_contain_text("pasted.txt")


# Pasting.


def test_a_text_is_pasted(visitor):
    page = visitor.open("/jobs/measure")
    _pick(page, "Paste")
    page.get_by_label("Texts: text to paste").fill("one\ntwo\nthree")
    _start(page)
    visitor.expect_end()
    expect(page.locator("run-rows tbody tr")).to_have_count(3)
    expect(page.get_by_role("region", name="Parameters")).to_contain_text("pasted.txt (")


def test_a_text_that_no_form_may_have_is_sent_as_a_file(visitor):
    """The server takes at most 500 kB of a form's text into its memory."""
    page = visitor.open("/jobs/measure")
    _pick(page, "Paste")
    page.get_by_label("Texts: text to paste").fill("ü" * 1_000_000)
    page.get_by_label("Limit").fill("0")
    _start(page)
    expect(page.get_by_role("alert").filter(has_text="Nothing was started")).to_be_visible()
    assert page.get_by_label("Texts: text to paste").evaluate("area => area.value.length") == 1_000_000
    page.get_by_label("Limit").fill("1")
    _start(page)
    visitor.expect_end()
    expect(_result(visitor)).to_contain_text("2000000")
    expect(_result(visitor)).to_contain_text("pasted.txt")


def test_only_the_way_that_is_shown_is_sent(visitor):
    page = visitor.open("/jobs/measure?example=1")
    _pick(page, "Upload")
    _upload_of(page).set_input_files(_file(1000, "not-this.csv"))
    _pick(page, "Paste")
    _start(page)
    texts = page.get_by_role("group", name="Texts")
    expect(texts.get_by_label("Texts: text to paste")).to_have_accessible_description(re.compile("Missing data"))
    page.get_by_label("Texts: text to paste").fill("this")
    _start(page)
    visitor.expect_end()
    expect(_result(visitor)).to_contain_text("pasted.txt")


# Choosing.


def test_a_file_of_an_earlier_run_is_chosen(visitor):
    run = _earlier_run(visitor)
    page = visitor.open("/jobs/measure")
    _pick(page, "Existing file")
    choice = page.get_by_label("Texts: file to choose")
    newest = choice.locator(f"option[value='run:{run}/lines.csv']")
    expect(newest).to_have_text(re.compile(r"^lines.csv · Measure, (just now|\d+ \w+ ago)$"))
    expect(choice.locator("option[value$='notes.bin']")).to_have_count(0)
    choice.select_option(f"run:{run}/lines.csv")
    _start(page)
    visitor.expect_end()
    page.get_by_role("region", name="Parameters").get_by_role("link", name="an earlier run").click()
    page.wait_for_url(f"**/runs/{run}")


def test_a_file_finds_its_way_to_a_job(visitor):
    run = _earlier_run(visitor)
    page = visitor.open(f"/?input=run:{run}/rows")
    expect(page.get_by_role("heading", level=1)).to_have_text("Pick a job for the rows of “Measure”")
    expect(page.locator(".card").get_by_text("Walk")).to_have_count(0)
    page.locator(".card").get_by_role("link", name="Measure").click()
    expect(page.get_by_label("Texts: file to choose")).to_have_value(f"run:{run}/rows")
    expect(page.get_by_role("radio", name="Existing file").first).to_be_checked()
    expect(_upload_of(page)).to_be_hidden()
    _start(page)
    visitor.expect_end()
    expect(_result(visitor)).to_contain_text("rows.jsonl")


# Samples.


def test_one_click_on_a_card_starts_a_job_with_its_sample(visitor):
    page = visitor.open("/")
    card = page.locator(".card").filter(has_text="Measure")
    card.get_by_role("button", name="Try it with a sample: Measure").click()
    page.wait_for_url(re.compile(r"/runs/\w+$"))
    visitor.expect_end()
    expect(_result(visitor)).to_contain_text(FRUITS)
    expect(page.get_by_role("region", name="Parameters")).to_contain_text(f"{FRUITS} (48 B), the job's sample")


def test_two_clicks_on_a_sample_start_one_run(visitor):
    page = visitor.open("/jobs/measure")
    before = len(_runs(visitor, "sample:fruits"))
    page.get_by_role("button", name="Try it with a sample").dblclick()
    visitor.expect_end()
    assert len(_runs(visitor, "sample:fruits")) == before + 1


def test_the_rest_of_a_card_is_still_its_link(visitor):
    page = visitor.open("/")
    card = page.locator(".card").filter(has_text="Measure")
    card.click(position={"x": 30, "y": 60})
    page.wait_for_url("**/jobs/measure")


def test_a_card_s_sample_is_reached_and_started_by_the_keyboard(visitor):
    page = visitor.open("/")
    page.locator(".card").get_by_role("link", name="Measure").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Try it with a sample: Measure")).to_be_focused()
    page.keyboard.press("Enter")
    visitor.expect_end()


def test_an_example_is_filled_in_and_can_be_changed(visitor):
    page = visitor.open("/jobs/measure")
    page.get_by_role("link", name="Fill in an example").click()
    expect(page.get_by_label("Texts: file to choose")).to_have_value(f"sample:{FRUITS}")
    page.get_by_label("Limit").fill("2")
    _start(page)
    visitor.expect_end()
    expect(page.locator("run-rows tbody tr")).to_have_count(2)


def test_change_and_run_brings_an_uploaded_file_back(visitor):
    page = visitor.open("/jobs/measure")
    _upload_of(page).set_input_files(_file(500, "again.csv"))
    _start(page)
    visitor.expect_end()
    page.get_by_role("link", name="Change and run").click()
    expect(page.get_by_label("Texts: file to choose").locator("option:checked")).to_contain_text("again.csv · Measure")
    page.get_by_label("Limit").fill("1")
    _start(page)
    visitor.expect_end()
    expect(page.locator("run-rows tbody tr")).to_have_count(1)


def test_the_javascript_sample_of_the_page_works_as_it_stands(visitor):
    page = visitor.open("/jobs/measure")
    code = page.get_by_role("group", name="JavaScript sample").text_content()
    run = page.evaluate(f"async () => {{ {code}\nreturn run.id; }}")
    assert visitor.server.wait_ended(run)["result"]["file"] == FRUITS


# Whoever it is.


@pytest.mark.parametrize("visitor", [NO_SCRIPTS], indirect=True, ids=["no JavaScript"])
def test_all_ways_work_without_scripts(visitor):
    run = _earlier_run(visitor)
    page = visitor.open("/jobs/measure")
    expect(page.get_by_label("Texts: text to paste")).to_be_hidden()
    _upload_of(page).set_input_files(_file(3000, "plain.csv"))
    _start(page)
    _ends(visitor, "plain.csv")

    visitor.open("/jobs/measure")
    _pick(page, "Paste")
    expect(_upload_of(page)).to_be_hidden()
    page.get_by_label("Texts: text to paste").fill("pasted")
    _start(page)
    _ends(visitor, "pasted.txt")

    visitor.open("/jobs/measure")
    _pick(page, "Existing file")
    page.get_by_label("Texts: file to choose").select_option(f"run:{run}/lines.csv")
    _start(page)
    _ends(visitor, "lines.csv")

    visitor.open("/")
    page.get_by_role("button", name="Try it with a sample: Measure").click()
    _ends(visitor, FRUITS)


@pytest.mark.parametrize("visitor", [NO_SCRIPTS], indirect=True, ids=["no JavaScript"])
def test_without_scripts_a_problem_brings_the_form_back_with_what_was_given(visitor):
    page = visitor.open("/jobs/measure")
    _upload_of(page).set_input_files(_file(3000, "plain.csv"))
    _pick(page, "Paste", "stop_words")
    page.get_by_label("Stop words: text to paste").fill("the\nand")
    page.get_by_label("Limit").fill("0")
    _start(page)
    expect(page.get_by_text("Choose plain.csv once more")).to_be_visible()
    expect(page.get_by_label("Stop words: text to paste")).to_have_value("the\nand")


def _ends(visitor, name):
    """Load the run's page again until it says that it has read this file."""
    page = visitor.page
    page.wait_for_url(re.compile(r"/runs/\w+$"))
    while visitor.headline.text_content() != "Completed":
        page.goto(page.url)
    expect(_result(visitor)).to_contain_text(name)


def test_a_file_is_given_by_the_keyboard_alone(visitor):
    run = _earlier_run(visitor)
    page = visitor.open("/jobs/measure")
    press = page.keyboard.press
    upload = page.get_by_role("radio", name="Upload").first
    upload.focus()
    press("Tab")
    expect(_upload_of(page)).to_be_focused()
    press("Shift+Tab")
    press("ArrowRight")
    expect(page.get_by_role("radio", name="Paste").first).to_be_checked()
    press("ArrowRight")
    press("Tab")
    choice = page.get_by_label("Texts: file to choose")
    expect(choice).to_be_focused()
    page.keyboard.type("lines.csv")
    expect(choice).to_have_value(f"run:{run}/lines.csv")
    page.get_by_role("button", name="Start run").focus()
    press("Enter")
    visitor.expect_end()


def test_a_screen_reader_hears_what_a_file_is_for(visitor):
    page = visitor.open("/jobs/measure")
    texts = page.get_by_role("group", name="Texts")
    expect(texts).to_be_visible()
    for name in ("Upload", "Paste", "Existing file"):
        expect(texts.get_by_role("radio", name=name)).to_be_visible()
    expect(_upload_of(page)).to_have_accessible_description(
        "What is measured. CSV, TSV, JSONL or text, at most 100 MB."
    )
    _start(page)
    expect(page.locator("#problems")).to_be_focused()
    expect(_upload_of(page)).to_have_attribute("aria-invalid", "true")
    expect(_upload_of(page)).to_have_accessible_description(re.compile("Missing data"))
    page.locator("#problems").get_by_role("link", name="Texts").click()
    expect(page.locator("#p-texts")).to_be_focused()


@pytest.mark.parametrize("visitor", [PHONE], indirect=True, ids=["320 px"])
def test_everything_fits_on_a_phone(visitor):
    run = _earlier_run(visitor)
    for path in (
        "/",
        f"/?input=run:{run}/lines.csv",
        "/jobs/measure",
        "/jobs/write",
        f"/jobs/measure?input=run:{run}/rows",
    ):
        page = visitor.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, path
    visitor.open("/jobs/measure")
    for way in ("Upload", "Paste", "Existing file"):
        box = page.locator("#p-texts").get_by_text(way, exact=True).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 320 and box["height"] >= 24
    _slowly(visitor, MB // 4)
    _upload_of(page).set_input_files(_file(2 * MB, "a-name-that-is-" + "quite-" * 20 + "long.csv"))
    _start(page)
    expect(page.get_by_role("button", name="Cancel")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.get_by_role("button", name="Cancel").click()


def test_a_hostile_file_name_is_text(visitor):
    name = "<img src=x onerror=alert(1)>&quot;.csv"
    page = visitor.open("/jobs/measure")
    _upload_of(page).set_input_files(_file(100, name))
    page.get_by_label("Limit").fill("0")
    _start(page)
    expect(page.get_by_role("alert").filter(has_text="Nothing was started")).to_be_visible()
    page.get_by_label("Limit").fill("1")
    _start(page)
    visitor.expect_end()
    expect(page.get_by_role("region", name="Parameters")).to_contain_text(name)
    page.get_by_role("link", name="Change and run").click()
    expect(page.get_by_label("Texts: file to choose").locator("option:checked")).to_contain_text(name)
    page.locator("upload-bar").evaluate("bar => bar.setAttribute('max-bytes', '1')")
    _pick(page, "Upload")
    _upload_of(page).set_input_files(_file(100, name))
    _start(page)
    expect(page.get_by_role("alert").filter(has_text=f"{name} is too large")).to_be_visible()


def test_a_job_that_is_not_set_up_shows_how_to_set_it_up(visitor):
    page = visitor.open("/")
    card = page.locator(".card").filter(has_text="Write by a model")
    expect(card.locator(".notice.is-warn code").first).to_have_text("HEADWAY_OPENAI_BASE_URL")
    expect(card.get_by_role("button")).to_have_count(0)
    card.get_by_role("link", name="Write by a model").click()
    expect(page.locator(".notice.is-warn")).to_contain_text("export HEADWAY_OPENAI_MODEL=llama3.2")
    expect(page.get_by_role("button", name="Start run")).to_have_count(0)
    expect(page.get_by_label("Prompt")).to_be_disabled()
