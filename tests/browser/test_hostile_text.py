"""Whatever a job says, in whatever place, is text."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

PAYLOADS = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<IMG SRC=x ONERROR=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg/onload=alert`1`>",
    "<body onload=alert(1)>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>",
    "<a href=javascript:alert(1)>x</a>",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    'https://example.org/"onmouseover="alert(1)',
    "https://example.org/'><script>alert(1)</script>",
    "http://example.org/<img src=x onerror=alert(1)>",
    '"><script>alert(1)</script>',
    "'><script>alert(1)</script>",
    '" autofocus onfocus=alert(1) x="',
    "' autofocus onfocus=alert(1) x='",
    "</textarea><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</template><script>alert(1)</script>",
    "</pre><script>alert(1)</script>",
    "</td></tr></table><script>alert(1)</script>",
    "<!--<script>alert(1)</script>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "{{ 7 * 7 }}{{ config }}",
    "{% for x in (1, 2) %}alert(1){% endfor %}",
    "${alert(1)}",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)",
    "<details open ontoggle=alert(1)>",
    "<marquee onstart=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<form action=javascript:alert(1)><button>x</button></form>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<base href=https://evil.example/>",
    "__proto__",
    "constructor",
]


@pytest.mark.parametrize("fail", [False, True], ids=["completes", "fails"])
def test_every_text_of_a_job_is_shown_literally_live_and_drawn_by_the_server(visitor, fail):
    page = visitor.open("/jobs/say")
    page.get_by_label("Lines").fill("\n".join(PAYLOADS))
    page.get_by_label("Hold").fill("0.6")
    page.get_by_label("Fail").set_checked(fail)
    page.get_by_role("button", name="Start run").click()
    visitor.expect_end("Failed" if fail else "Completed")
    _expect_all_literal(visitor)
    page.reload()
    _expect_all_literal(visitor)


def _expect_all_literal(visitor):
    page = visitor.page
    expect(page.locator("run-log li p")).to_have_text(PAYLOADS)
    expect(page.locator("run-rows tbody td:first-child")).to_have_text(PAYLOADS)
    expect(page.locator("run-rows th")).to_have_text(["text", *PAYLOADS])
    expect(page.locator(".plan li")).to_have_text(PAYLOADS)
    shown = page.locator("run-output pre").text_content()
    assert shown == "".join(f"{payload}\n" for payload in PAYLOADS)
    expect(page.locator("#run-result > section").first).to_be_visible()  # drawn anew after the end was told
    result = page.locator("#run-result").text_content()
    assert [payload for payload in PAYLOADS if payload not in result] == []
    assert (
        page.locator("run-stream :is(script, iframe, object, embed, base, meta, svg:not([aria-hidden]), video)").count()
        == 0
    )
    links = page.locator("main a").evaluate_all("links => links.map((link) => link.protocol)")
    assert set(links) <= {"http:", "https:"}


def test_a_hostile_parameter_comes_back_in_the_form_as_text(visitor):
    for payload in PAYLOADS[::6]:
        page = visitor.open("/jobs/walk")
        page.get_by_label("Start").fill(payload)
        page.get_by_label("Steps").fill("0")
        page.get_by_role("button", name="Start run").click()
        expect(page.get_by_label("Steps")).to_have_attribute("aria-invalid", "true")
        expect(page.get_by_label("Start")).to_have_value(payload)


def test_a_broken_job_shows_its_traceback_as_text(visitor):
    page = visitor.open("/")
    page.get_by_text("Traceback", exact=True).click()
    expect(page.locator("details pre")).to_contain_text("RuntimeError: this file is <b>broken</b>")
