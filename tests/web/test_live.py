"""The service as its metrics tell, in a real Chromium."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import NEEDED, opened
from tests.conftest import ServiceProcess, running_service
from tests.web.playground import HONEST, grade

pytestmark = NEEDED


@pytest.fixture(scope="module")
def own() -> Iterator[ServiceProcess]:
    """A service that nobody else uses."""
    with running_service(GAUNTLET_QUEUE="3", GAUNTLET_CONCURRENCY="2") as service:
        yield service


@pytest.fixture
def page(browser: Browser, own: ServiceProcess) -> Iterator[Page]:
    with opened(browser) as page:
        page.goto(own.url)
        page.locator("#live").scroll_into_view_if_needed()
        page.wait_for_selector("#gauges .panel")
        yield page


def number_beside(page: Page, name: str) -> str:
    panel = page.locator("#gauges li, #gauges .meter, #gauges .facts div").filter(has_text=name).first
    return panel.locator(".number, dd").inner_text()


def test_counts_are_the_services_own(page: Page, own: ServiceProcess) -> None:
    with httpx.Client(base_url=own.url) as client:
        for expression in ("1", "2", "1 / 0", "("):
            client.post("/execute", json={"expression": expression}).raise_for_status()
        client.post("/grade", json={"code": HONEST}).raise_for_status()
        client.post("/grade", json={"code": ""}).raise_for_status()
    executions = page.locator("#gauges tr").filter(has_text="Executions").locator("td").first
    expect(executions).to_have_text("4")
    assert [number_beside(page, status) for status in ("ok", "error", "syntax_error", "timeout")] == [
        "2 · 50 %", "1 · 25 %", "1 · 25 %", "0 · 0 %",
    ]  # fmt: skip
    assert number_beside(page, "tier2_heavy_tail") == "1 · 50 %"
    median = page.locator("#gauges tr").filter(has_text="Grades, classic").locator("td").nth(2)
    assert 1 < float(median.inner_text()) < 2000


def test_what_is_in_flight_and_what_was_refused_is_shown(page: Page, own: ServiceProcess) -> None:
    page.evaluate(
        "() => { window.hanging = Array.from({length: 4}, () => fetch('execute', {method: 'POST', "
        "headers: {'content-type': 'application/json'}, "
        "body: JSON.stringify({expression: 'while True: pass', timeout_s: 4})})); }"
    )
    expect(page.locator(".meter").filter(has_text="Requests in flight")).to_contain_text("3 of 3")
    assert number_beside(page, "Sandboxed processes in use") == "2 of 2"
    assert number_beside(page, "Queued for a process") == "1"
    assert number_beside(page, "Refused") == "1"
    page.evaluate("() => Promise.all(window.hanging).then(() => {})")
    expect(page.locator(".meter").filter(has_text="Requests in flight")).to_contain_text("0 of 3")


def test_rates_are_per_second_between_readings(page: Page) -> None:
    def pushed(counts: Iterator[int]) -> str:
        return (
            f'gauntlet_executions_total{{status="ok"}} {next(counts)}\n'
            'gauntlet_execution_duration_seconds_bucket{le="0.002"} 50\n'
            'gauntlet_execution_duration_seconds_bucket{le="0.004"} 90\n'
            'gauntlet_execution_duration_seconds_bucket{le="+Inf"} 100\n'
        )

    counts = iter(range(0, 10_000, 100))
    page.route("**/metrics", lambda route: route.fulfill(body=pushed(counts), content_type="text/plain"))
    page.reload()
    page.locator("#live").scroll_into_view_if_needed()
    cells = page.locator("#gauges tr").filter(has_text="Executions").locator("td")
    expect(cells.first).to_have_text("200")
    assert 35 < float(cells.nth(1).inner_text()) < 55  # a hundred in two seconds
    assert cells.nth(2).inner_text() == "2"
    assert cells.nth(3).inner_text() == "4"  # beyond the last bound, as Prometheus has it


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a{x="1"} 5', [{"labels": {"x": "1"}, "value": 5}]),
        ('a{x="q\\"u\\\\o\\nte",y="{}"} 1e3', [{"labels": {"x": 'q"u\\o\nte', "y": "{}"}, "value": 1000}]),
        ("# HELP a b\n# TYPE a gauge\na 0\n", [{"labels": {}, "value": 0}]),
        ("a 1 1700000000000\nb 2", [{"labels": {}, "value": 1}]),
        ("a", None),
    ],
)
def test_prometheus_text_is_read(page: Page, text: str, expected: Any) -> None:
    read = "async (text) => (await import('./page/exposition.js')).parse(text).get('a') ?? null"
    assert page.evaluate(read, text) == expected


def test_nothing_is_asked_while_nobody_looks(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(1000)
    asked.clear()
    page.wait_for_timeout(2500)
    assert asked == []
    page.locator("#live").scroll_into_view_if_needed()
    page.wait_for_timeout(2500)
    assert asked


def test_whoever_reads_is_left_in_peace(page: Page) -> None:
    """A new reading takes neither the keyboard's place nor what was selected."""
    table = page.locator("#gauges .wide")
    table.focus()
    for _ in range(2):
        with page.expect_response("**/metrics"):
            pass
    expect(table).to_be_focused()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#gauges table'))")
    selected = page.evaluate("String(getSelection())")
    assert "Executions" in selected
    for _ in range(2):
        with page.expect_response("**/metrics"):
            pass
    assert page.evaluate("String(getSelection())") == selected


def test_a_service_that_stops_answering_is_said_and_found_again(page: Page) -> None:
    page.route("**/metrics", lambda route: route.abort())
    expect(page.locator("#live-note")).to_contain_text("The service cannot be reached. Is it running? What is below is")
    assert page.locator("#gauges .panel").count() == 5
    page.unroute("**/metrics")
    expect(page.locator("#live-note")).to_contain_text("Every two seconds")


def test_a_service_that_does_not_answer_in_time_is_not_said_to_be_gone(page: Page) -> None:
    page.route("**/metrics", lambda route: None)
    expect(page.locator("#live-note")).to_contain_text("The service did not answer in time. What", timeout=15_000)


def test_every_layer_of_the_sandbox_is_named(page: Page, own: ServiceProcess) -> None:
    layers = httpx.get(f"{own.url}/health").json()["sandbox"]["layers"]
    assert page.locator(".layers li").all_inner_texts() == [f"✓ {layer} in force" for layer in layers]


def test_a_layer_that_is_missing_stands_out(browser: Browser) -> None:
    with (
        running_service(GAUNTLET_SANDBOX_ALLOW_WEAKER="landlock,seccomp,rlimits,uid") as service,
        opened(browser) as page,
    ):
        page.route("**/metrics", lambda route: route.fulfill(body='gauntlet_sandbox_layer{layer="landlock"} 0\n'))
        page.goto(service.url)
        page.locator("#live").scroll_into_view_if_needed()
        expect(page.locator(".layers .bad")).to_have_text("✗ landlock missing")


def test_grading_shows_up(page: Page) -> None:
    before = page.locator("#gauges tr").filter(has_text="Grades, hardened").locator("td").first.inner_text()
    page.get_by_label("Suite").select_option("hardened")
    grade(page)
    page.locator("#live").scroll_into_view_if_needed()
    after = page.locator("#gauges tr").filter(has_text="Grades, hardened").locator("td").first
    expect(after).to_have_text(str(int(before) + 1))
