"""From a job's form to the end of its run, as a person does it."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def test_a_person_fills_the_form_and_watches_the_run_to_its_end(visitor):
    page = visitor.open("/")
    page.locator(".card").get_by_role("link", name="Walk").click()
    page.get_by_label("Start").fill("https://example.org/")
    page.get_by_label("Steps").fill("40")
    page.get_by_label("Careful").uncheck()
    page.get_by_label("fast").check()
    page.get_by_label("Skip").fill("one\ntwo")
    page.get_by_role("button", name="Start run").click()
    expect(visitor.headline).to_have_text("Walking")
    expect(page.locator(".plan [aria-current=step]")).to_have_text("Walking")
    first = visitor.percent
    visitor.expect_beyond(first + 5)
    visitor.expect_end()
    expect(visitor.bar).to_have_attribute("aria-valuenow", "100")
    result = page.get_by_role("region", name="Result")
    for words in ("fast", "no", "one", "two"):
        expect(result.get_by_text(words, exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="steps.csv", exact=True)).to_be_visible()
    expect(page.locator("run-rows tbody tr")).to_have_count(40)
    expect(page.get_by_text("40 rows", exact=True)).to_be_visible()
    expect(page).to_have_title(re.compile("completed"))


def test_a_reload_in_mid_run_shows_the_same_run_and_loses_nothing(visitor):
    visitor.launch("walk", start="https://example.org/", steps="60")
    page = visitor.page
    expect(page.locator("run-rows tbody tr").nth(5)).to_be_visible()
    before, url = visitor.percent, page.url
    page.reload()
    assert page.url == url
    assert visitor.percent >= before
    visitor.expect_end()
    expect(page.locator("run-rows tbody td:first-child")).to_have_text([str(number) for number in range(60)])


def test_another_browser_sees_the_same_run(visitor, chromium):
    run = visitor.launch("walk", start="https://example.org/", steps="60")
    with chromium.new_context(storage_state=visitor.context.storage_state()) as elsewhere:
        page = elsewhere.new_page()
        page.goto(f"{visitor.server.url}/runs/{run}")
        expect(page.locator("[data-part=step]")).to_have_text("Completed", timeout=20_000)
        expect(page.locator("run-rows tbody tr")).to_have_count(60)
    visitor.expect_end()


def test_a_bad_parameter_shows_its_message_at_its_field_and_starts_nothing(visitor):
    page = visitor.open("/jobs/walk")
    page.get_by_label("Start").fill("https://example.org/kept")
    steps = page.get_by_label("Steps")
    steps.fill("0")
    with page.expect_response(lambda answer: answer.request.method == "POST") as answer:
        page.get_by_role("button", name="Start run").click()
    assert answer.value.status == 422
    expect(steps).to_have_attribute("aria-invalid", "true")
    expect(steps).to_have_accessible_description(re.compile("Must be greater than or equal to 1"))
    expect(page.get_by_label("Start")).to_have_value("https://example.org/kept")
    expect(page.get_by_role("alert")).to_be_focused()
    page.get_by_role("alert").get_by_role("link", name="Steps").click()
    expect(steps).to_be_focused()
    assert page.url.endswith("/jobs/walk#p-steps")


def test_a_run_is_launched_and_cancelled_with_the_keyboard_alone(visitor):
    page = visitor.open("/")
    press = page.keyboard.press
    press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    press("Enter")
    link = page.locator(".card").get_by_role("link", name="Walk")
    for _ in range(20):
        press("Tab")
        if link.evaluate("link => link === document.activeElement"):
            break
    press("Enter")
    page.wait_for_url("**/jobs/walk")
    page.get_by_label("Start").focus()
    page.keyboard.type("https://example.org/")
    press("Tab")
    press("Control+A")
    page.keyboard.type("500")
    press("Enter")
    expect(visitor.headline).to_have_text("Walking")
    page.wait_for_function("() => customElements.get('run-cancel')")  # before it, the form is sent as any other
    cancel = page.get_by_role("button", name="Cancel")
    cancel.focus()
    press("Enter")
    visitor.expect_end("Cancelled")
    expect(page.get_by_role("link", name="Change and run")).to_be_focused()


def test_two_clicks_launch_one_run(visitor):
    page = visitor.open("/jobs/walk")
    page.get_by_label("Start").fill("https://example.org/twice")
    page.get_by_role("button", name="Start run").dblclick()
    page.wait_for_url("**/runs/*")
    runs = visitor.context.request.get(f"{visitor.server.url}/api/v1/runs?q=twice").json()["runs"]
    assert len(runs) == 1


def test_change_and_run_brings_the_form_back_as_it_was(visitor):
    visitor.launch("walk", start="https://example.org/again", steps="3")
    visitor.expect_end()
    visitor.page.get_by_role("link", name="Change and run").click()
    expect(visitor.page.get_by_label("Start")).to_have_value("https://example.org/again")
    expect(visitor.page.get_by_label("Steps")).to_have_value("3")


def test_run_again_makes_a_new_run_of_the_same(visitor):
    first = visitor.launch("walk", start="https://example.org/", steps="3")
    visitor.expect_end()
    visitor.page.get_by_role("button", name="Run again").click()
    visitor.page.wait_for_url(lambda url: "/runs/" in url and first not in url)
    visitor.expect_end()
    expect(visitor.page.get_by_role("link", name="an earlier run")).to_have_attribute("href", f"/runs/{first}")


def test_an_upload_reaches_its_job_and_a_secret_is_not_shown(visitor):
    page = visitor.open("/jobs/count")
    upload = page.get_by_label("File: file to upload")
    upload.set_input_files({"name": "x.txt", "mimeType": "text/plain", "buffer": b"12345"})
    page.get_by_label("Password").fill("hunter2-canary")
    page.get_by_role("button", name="Start run").click()
    visitor.expect_end()
    expect(page.get_by_role("region", name="Result")).to_contain_text(re.compile(r"Characters\s*5"))
    expect(page.get_by_role("region", name="Parameters")).to_contain_text("x.txt (5 B)")
    assert "hunter2-canary" not in page.content()


def test_a_double_click_on_cancel_does_not_run_it_again(visitor):
    visitor.launch("walk", start="https://example.org/cancelled-twice", steps="400")
    url = visitor.page.url
    visitor.page.get_by_role("button", name="Cancel").dblclick(delay=80)
    visitor.expect_end("Cancelled")
    assert visitor.page.url == url
    runs = visitor.server.http.get("/api/v1/runs?q=cancelled-twice").json()["runs"]
    assert len(runs) == 1
