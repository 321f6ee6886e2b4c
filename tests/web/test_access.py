"""Who can use the page: with a keyboard, with a screen reader, in the dark, on a phone."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import NEEDED, PHONE, fits, opened
from tests.conftest import ServiceProcess
from tests.web.playground import HONEST, grade, write

pytestmark = NEEDED

AXE = Path(__file__).parents[2] / "service/web/editor/node_modules/axe-core/axe.min.js"
SCREENS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": PHONE,
    "phone in the dark": PHONE | {"color_scheme": "dark"},
}


OUTLINED = """
() => {
  const at = document.activeElement.shadowRoot?.querySelector('.cm-editor') ?? document.activeElement;
  return getComputedStyle(at).outlineStyle === 'solid';
}
"""


def violations(page: Page) -> list[str]:
    """What axe-core finds, each with where; evaluated by the debugger, which no content policy stops."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    return [f"{each['impact']} {each['id']}: {node['target']}" for each in found for node in each["nodes"]]


def use_everything(page: Page) -> None:
    """Has every part of the page shown, errors included."""
    page.locator("#task summary").click()
    grade(page)
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_selector("#output pre")
    page.wait_for_selector(".case[data-holds]")
    for summary in page.locator(".case summary").all():
        summary.click()
    page.locator("#live").scroll_into_view_if_needed()
    page.wait_for_selector("#gauges .panel")
    page.get_by_label("Suite").select_option("hardened")
    page.get_by_label("Seed").fill("1600000000")
    page.route("**/grade/rows", lambda route: route.fulfill(status=403, json={"detail": "It takes a token."}))
    page.get_by_role("button", name="Grade", exact=True).click()
    page.wait_for_selector("#grade-alert .alert")
    page.unroute("**/grade/rows")


@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_nothing(browser: Browser, service: ServiceProcess, screen: str) -> None:
    with opened(browser, **SCREENS[screen]) as page:
        page.goto(service.url)
        page.wait_for_selector(".editor .cm-content")
        assert violations(page) == []
        use_everything(page)
        assert violations(page) == []


def test_axe_finds_nothing_without_the_editor(browser: Browser, service: ServiceProcess) -> None:
    with opened(browser) as page:
        page.route("**/page/editor.js", lambda route: route.fulfill(status=404))
        page.goto(service.url)
        assert violations(page) == []


def test_axe_would_find_something(page: Page) -> None:
    page.evaluate("document.querySelector('#suite').labels[0].remove()")
    assert any("select-name" in each for each in violations(page))


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 1920])
def test_the_page_never_scrolls_sideways(browser: Browser, service: ServiceProcess, width: int) -> None:
    with opened(browser, viewport={"width": width, "height": 800}) as page:
        page.goto(service.url)
        page.wait_for_selector(".editor .cm-content")
        assert fits(page, width)
        write(page, f"# {'W' * 500}\ndef process_batch(events, state):\n    raise ValueError('{'W' * 500}')\n")
        use_everything(page)
        assert fits(page, width)


def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(page: Page) -> None:
    reached = []
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the playground")).to_be_focused()
    for _ in range(40):
        inner = "(document.activeElement.shadowRoot?.activeElement ?? document.activeElement)"
        page.wait_for_function(OUTLINED)
        reached.append(page.evaluate(f"{inner}.id || {inner}.getAttribute('aria-label') || {inner}.textContent.trim()"))
        if reached[-1] == "Your submission":
            page.keyboard.press("Escape")
        page.keyboard.press("Tab")
        if reached[-1] == "trace":
            break
    assert reached == [
        "Skip to the playground", "The task", "Playground", "Your attempts", "See the failure", "Live",
        "The prompt, as a model reads it", "reset", "Your submission", "suite", "grade", "copy-link",
        "expression", "with-code", "run", "trace",
    ]  # fmt: skip


def test_everything_can_be_done_with_the_keyboard_alone(page: Page) -> None:
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#reset").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text(HONEST)
    for key in ("Escape", "Escape", "Tab", "ArrowDown"):  # the first Escape shuts what completes a word
        page.keyboard.press(key)
    page.keyboard.press("Tab")
    page.keyboard.type("21")
    page.keyboard.press("Enter")
    expect(page.locator("#verdict")).to_have_text("100 % on hardened, seed 21, 100 of 100 points. ✓ All tiers stable")


def test_the_keyboard_never_loses_its_place(page: Page) -> None:
    """What was focused stays, or hands on to what is next of kin."""
    for button in ("#run", "#trace", "#grade"):
        page.locator(button).press("Enter")
        expect(page.locator(button)).to_have_attribute("aria-disabled", "false")
        expect(page.locator(button)).to_be_focused()
    page.route("**/grade/rows", lambda route: None)
    page.locator("#grade").press("Enter")
    page.locator("#stop").press("Enter")
    expect(page.locator("#grade")).to_be_focused()
    page.get_by_role("button", name="Open").press("Enter")
    expect(page.locator("#result-title")).to_be_focused()
    page.get_by_role("button", name="Remove", exact=False).first.press("Enter")
    expect(page.locator("#attempts-title")).to_be_focused()


def test_tab_indents_in_the_editor_until_escape_was_pressed(page: Page) -> None:
    editor = page.get_by_role("textbox", name="Your submission")
    write(page, "x")
    page.keyboard.press("Home")
    page.keyboard.press("Tab")
    expect(editor).to_have_text("    x", use_inner_text=True)
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    expect(page.locator("#suite")).to_be_focused()
    assert "Escape, then Tab" in (editor.get_attribute("aria-description") or "")


def test_what_happens_is_told_to_who_cannot_see_it(page: Page) -> None:
    for place, role in (
        ("#verdict", "status"),
        ("#output", "status"),
        ("#trace-status", "status"),
        ("#grade-alert", "alert"),
    ):
        assert page.locator(place).get_attribute("role") == role
    grade(page)
    page.wait_for_selector(".case[data-holds]")
    names = page.locator(".case svg[role=img]").evaluate_all("all => all.map(each => each.ariaLabel)")
    assert "Tier 2: heavy tail: 10 readings; 10 kept as it was" in names
    assert any(
        name.startswith("Buffer after each of 12 calls: 870 rows in the end; 11 times over the limit") for name in names
    )


def test_light_and_dark_are_the_visitors_choice(browser: Browser, service: ServiceProcess) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        with opened(browser, color_scheme=scheme) as page:
            page.goto(service.url)
            page.wait_for_selector(".editor .cm-content")
            grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            inside = page.locator(".editor .cm-editor")
            grounds.append(inside.evaluate("each => getComputedStyle(each).backgroundColor"))
    brightness = [sum(map(int, ground[4:-1].split(", "))) for ground in grounds]
    assert min(brightness[:2]) > 700
    assert max(brightness[2:]) < 100
