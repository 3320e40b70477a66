"""The page in a real browser: for everybody, on every screen and on paper, and harmless whatever it quotes.

Source of the rules of accessibility: axe-core.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hostile_report import HOSTILE, full_of
from report_builder import blocked, every_kind, of_layers, report

from aiverify.report import Report
from aiverify.reporters.html import HtmlReporter

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = os.environ.get("CHROMIUM")
REASON = "needs Chromium, which is on no index of Python packages: make browser"
pytestmark = pytest.mark.skipif(not CHROMIUM, reason=REASON)
playwright = pytest.importorskip("playwright.sync_api", reason=REASON)
axe_folder = pytest.importorskip("axe_playwright_python", reason=REASON)

AXE = Path(axe_folder.__file__).with_name("axe.min.js").read_text("utf-8")
SCREENS = {
    "desktop": {"viewport": {"width": 1200, "height": 900}},
    "phone": {"viewport": {"width": 360, "height": 740}, "has_touch": True},
    "dark": {"viewport": {"width": 1200, "height": 900}, "color_scheme": "dark"},
    "contrast": {"viewport": {"width": 1200, "height": 900}, "forced_colors": "active"},
}
REPORTS = {
    **{one.verdict.outcome.value: (one,) for one in every_kind()},
    "layers": (of_layers(),),
    "hostile": (full_of(HOSTILE[0]),),
    "several": (*every_kind(), of_layers(), report()),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with playwright.sync_playwright() as engines:
        browser = engines.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, folder: Path, html: str, **screen: object) -> Iterator[Page]:
    """The page in a window; anything that it asks for or complains about is an error."""
    file = folder / "report.html"
    file.write_text(html, "utf-8")
    with browser.new_context(**screen) as context:
        said: list[str] = []
        context.on("request", lambda request: said.append(request.url) if request.url != file.as_uri() else None)
        context.on("console", lambda message: said.append(message.text))
        context.on("weberror", lambda error: said.append(str(error.error)))
        context.on("dialog", lambda dialog: said.append(dialog.message))
        page = context.new_page()
        page.goto(file.as_uri())
        yield page
        assert said == []


def rendered(*reports: Report) -> str:
    return HtmlReporter().render(reports)


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", REPORTS)
def test_everybody_can_read_it(browser: Browser, tmp_path: Path, name: str, screen: str) -> None:
    with opened(browser, tmp_path, rendered(*REPORTS[name]), **SCREENS[screen]) as page:
        page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
        found = page.evaluate(f"{AXE}; axe.run()")

        assert [(rule["id"], node["html"]) for rule in found["violations"] for node in rule["nodes"]] == []
        assert len(found["passes"]) > 15


@pytest.mark.parametrize("name", REPORTS)
def test_a_phone_needs_no_scrolling_sideways(browser: Browser, tmp_path: Path, name: str) -> None:
    with opened(browser, tmp_path, rendered(*REPORTS[name]), **SCREENS["phone"]) as page:
        page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")

        assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_does_nothing(browser: Browser, tmp_path: Path, text: str) -> None:
    with opened(browser, tmp_path, rendered(full_of(text))) as page:
        assert page.locator("script, img, iframe, object, embed, link, base").count() == 1


INJECTED = {
    "script": "<script>globalThis.ran = true</script>",
    "handler": "<img src=x onerror='globalThis.ran = true'>",
    "address": "<img src=http://127.0.0.1:9/pixel>",
    "frame": "<iframe srcdoc='<script>parent.ran = true</script>'></iframe>",
    "style": "<style>h1 { display: none }</style>",
    "attribute": "<p style='display: none' id=injected>text</p>",
}


@pytest.mark.parametrize("markup", INJECTED.values(), ids=INJECTED)
def test_markup_that_got_into_the_page_against_all_rules_does_nothing(
    browser: Browser, tmp_path: Path, markup: str
) -> None:
    html = rendered(blocked())
    assert "</nav>" in html
    complaints: list[str] = []
    (tmp_path / "report.html").write_text(html.replace("</nav>", f"</nav>{markup}", 1), "utf-8")
    with browser.new_context() as context:
        answered: list[str] = []
        context.on("response", lambda response: answered.append(response.url))
        context.on("console", lambda message: complaints.append(message.text))
        page = context.new_page()
        page.goto((tmp_path / "report.html").as_uri())

        assert page.evaluate("globalThis.ran") is None
        playwright.expect(page.locator("h1")).to_be_visible()
        assert page.locator("#injected").count() == 0 or page.locator("#injected").is_visible()
        assert [url for url in answered if not url.startswith("file:")] == []
        assert any("Content Security Policy" in text for text in complaints)


def test_findings_are_filtered_with_the_keyboard(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, tmp_path, rendered(blocked())) as page:
        status = page.get_by_role("status")
        playwright.expect(status).to_have_text("6 of 6 shown")
        page.get_by_label("Severity").focus()
        page.keyboard.press("End")
        playwright.expect(status).to_have_text("1 of 6 shown")
        playwright.expect(page.locator("li.finding:visible")).to_contain_text("AIV301")
        page.keyboard.press("Home")
        playwright.expect(status).to_have_text("6 of 6 shown")
        page.get_by_label("Rule").select_option("AIV502")
        playwright.expect(page.locator("li.finding:visible")).to_contain_text("modeling_tiny.py")
        page.get_by_label("File", exact=True).select_option("pytorch_model.bin")
        playwright.expect(status).to_have_text("0 of 6 shown")


def test_filters_of_one_report_leave_the_others_alone(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, tmp_path, rendered(blocked(), blocked())) as page:
        page.get_by_label("Rule").first.select_option("AIV502")

        assert page.locator("li.finding:visible").count() == 1 + 6


def test_without_a_script_everything_is_there(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, tmp_path, rendered(blocked()), java_script_enabled=False) as page:
        assert page.locator("li.finding:visible").count() == 6
        playwright.expect(page.locator("form")).to_be_hidden()


def test_the_keyboard_reaches_everything_that_acts(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, tmp_path, rendered(blocked())) as page:
        acting = page.locator("a, summary, select").count()
        reached = []
        for _ in range(acting):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid"

        assert len(set(reached)) == acting
        assert reached == sorted(reached)


def test_the_first_thing_is_a_way_past_the_rest(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, tmp_path, rendered(blocked())) as page:
        page.keyboard.press("Tab")

        playwright.expect(page.get_by_text("Skip to the report")).to_be_in_viewport()


@pytest.mark.parametrize("script", [True, False])
def test_paper_shows_what_is_folded(browser: Browser, tmp_path: Path, script: bool) -> None:
    with opened(browser, tmp_path, rendered(blocked()), java_script_enabled=script) as page:
        playwright.expect(page.locator("dl.evidence")).to_be_hidden()
        page.emulate_media(media="print")
        playwright.expect(page.locator("dl.evidence")).to_be_visible()


def test_paper_shows_what_is_filtered_away(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, tmp_path, rendered(blocked())) as page:
        page.get_by_label("Rule").select_option("AIV502")
        page.emulate_media(media="print")

        assert page.locator("li.finding:visible").count() == 6
        playwright.expect(page.locator("form")).to_be_hidden()
        assert page.pdf(format="A4").startswith(b"%PDF")


@pytest.mark.parametrize(("screen", "shown"), [("desktop", "wide"), ("phone", "narrow")])
def test_there_is_one_map_for_each_screen(browser: Browser, tmp_path: Path, screen: str, shown: str) -> None:
    with opened(browser, tmp_path, rendered(of_layers()), **SCREENS[screen]) as page:
        assert page.locator("svg.map:visible").get_attribute("class") == f"map {shown}"


def test_names_in_the_map_stay_in_their_boxes(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, tmp_path, rendered(of_layers())) as page:
        outside = page.evaluate(
            """[...document.querySelectorAll("svg.wide g")].filter((group) => {
                 const box = group.querySelector("rect").getBoundingClientRect();
                 return [...group.querySelectorAll("text")].some((text) => {
                   const inner = text.getBoundingClientRect();
                   return inner.right > box.right || inner.bottom > box.bottom;
                 });
               }).length"""
        )

        assert outside == 0
