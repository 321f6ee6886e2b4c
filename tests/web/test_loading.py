"""How much the page transfers, and what it waits for."""

from typing import Any

from playwright.sync_api import Browser, Page, Route, expect

from tests.browser import NEEDED, opened
from tests.conftest import ServiceProcess
from tests.web.playground import HONEST, grade, read

pytestmark = NEEDED

MOST_BYTES = 400_000
PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def transferred(page: Page, url: str) -> dict[str, int]:
    """Bytes on the wire of everything that the page asks for, by path, with their headers."""
    urls: dict[str, str] = {}
    sizes: dict[str, int] = {}

    def requested(event: dict[str, Any]) -> None:
        urls[event["requestId"]] = event["request"]["url"]

    def finished(event: dict[str, Any]) -> None:
        path = urls[event["requestId"]].removeprefix(url)
        sizes[path] = sizes.get(path, 0) + int(event["encodedDataLength"])

    session = page.context.new_cdp_session(page)
    session.on("Network.requestWillBeSent", requested)
    session.on("Network.loadingFinished", finished)
    session.send("Network.enable")
    page.goto(url)
    page.wait_for_selector(".editor .cm-content")
    page.locator("#failure").scroll_into_view_if_needed()
    page.wait_for_selector(".case[data-holds]")
    page.locator("#live").scroll_into_view_if_needed()
    page.wait_for_selector("#gauges .panel")
    return sizes


def test_the_whole_transfer_is_small(browser: Browser, service: ServiceProcess) -> None:
    with opened(browser) as page:
        sizes = transferred(page, service.url)
    assert {"/", "/page/main.js", "/page/style.css", "/page/editor.js", "/trace", "/metrics"} <= set(sizes)
    assert sum(sizes.values()) < MOST_BYTES, sizes


def test_a_second_visit_transfers_next_to_nothing(browser: Browser, service: ServiceProcess) -> None:
    with opened(browser) as page:
        transferred(page, service.url)
        again = page.context.new_page()
        sizes = transferred(again, service.url)
    files = {path: size for path, size in sizes.items() if path == "/" or path.startswith("/page/")}
    assert sum(files.values()) < 20_000, files


def test_the_first_paint_waits_for_no_answer_but_the_pages_own(browser: Browser, service: ServiceProcess) -> None:
    """Metrics, traces, the task and the editor never come: the page is there, and grades."""
    with opened(browser) as page:
        held = []
        for path in ("**/metrics", "**/trace", "**/task*", "**/page/editor.js"):
            page.route(path, lambda route: held.append(route.request.url))
        page.goto(service.url, wait_until="domcontentloaded")
        page.wait_for_function(PAINTED)
        expect(page.get_by_role("textbox", name="Your submission")).to_have_value(read(page))
        with page.expect_request("**/metrics"):
            page.locator("#live").scroll_into_view_if_needed()
        expect(page.locator("#live-note")).to_have_text("Waiting for the service's metrics.")
        page.get_by_role("textbox", name="Your submission").fill(HONEST)
        assert grade(page).startswith("100 %")
        assert {url.rpartition("/")[2] for url in held} >= {"metrics", "trace", "editor.js"}


def test_an_editor_that_comes_late_takes_over_what_was_written(browser: Browser, service: ServiceProcess) -> None:
    with opened(browser) as page:
        late: list[Route] = []
        page.route("**/page/editor.js", lambda route: late.append(route))  # noqa: PLW0108 - it looks at what it is given
        page.goto(service.url, wait_until="domcontentloaded")
        area = page.get_by_role("textbox", name="Your submission")
        area.fill(HONEST)
        area.press("End")
        late[0].continue_()
        page.wait_for_selector(".editor .cm-content")
        assert read(page) == HONEST
        assert page.evaluate("document.activeElement.className") == "editor"
