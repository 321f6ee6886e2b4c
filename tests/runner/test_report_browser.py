"""The page in a real browser, where there is one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from runner.records import Outcome
from tests.browser import NEEDED, Notes, chromium, fits, opened
from tests.runner.claude import python, text, thinking
from tests.runner.made import record
from tests.runner.reported import PROMPT, infra_error, kept, page_of, played, result, said, told

pytestmark = NEEDED

UNBROKEN = "W" * 300

OPEN_ALL = "document.querySelectorAll('details').forEach(each => { each.open = true })"

# Texts whose colour is too close to what they stand on (WCAG 2.2, level AA for small texts), with their contrast.
FAINT = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = color => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = color => {
    const [r, g, b] = rgba(color).map(part => part / 255)
      .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = element => {
    for (let each = element; each; each = each.parentElement) {
      const color = getComputedStyle(each).backgroundColor;
      if (rgba(color)[3] > 0) return color;
    }
    return 'white';
  };
  const contrast = element => {
    const style = getComputedStyle(element);
    const front = luminance(element instanceof SVGElement ? style.fill : style.color);
    const back = luminance(ground(element));
    return (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
  };
  const found = new Map();
  for (const element of document.querySelectorAll('body *')) {
    const says = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!says || !element.getClientRects().length || element.tagName === 'title') continue;
    const value = contrast(element);
    const name = `${element.tagName}.${element.className.baseVal ?? element.className}`;
    if (value < 4.5) found.set(name, value.toFixed(2));
  }
  return [...found];
})()
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with opened(browser) as page:
        yield page


def show(page: Page, file: Path, *, width: int = 1280, scheme: Literal["light", "dark"] = "light") -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.goto(file.as_uri())


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything on it, and with texts that do not wrap."""
    hostile = "<script>console.error(1)</script><img src=http://127.0.0.1:9/x>" + UNBROKEN
    messages = [
        told(text(PROMPT)),
        said(thinking(hostile), text(hostile), python(f"def f():\n    return '{UNBROKEN}' + 1  # {UNBROKEN}")),
        told(result(hostile, is_error=True), text("Go on.")),
        said({"type": UNBROKEN}),
    ]
    records = [
        *(played(n, *(["tier1", "tier3"] if n % 3 else [])) for n in range(1, 80)),
        played(80, "validity", transcript=messages, feedback=hostile, code=UNBROKEN, model=UNBROKEN, seed=10**9),
        infra_error(81, wait_s=4000.0),
        record(82, Outcome.LIMIT, 0.0, "No submission", limit="steps"),
    ]
    run = kept(tmp_path_factory.mktemp("runs"), records, endpoint=f"https://{UNBROKEN}", episodes=100)
    page_of(run)
    return run.path / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_fetched_and_nothing_complains(scheme: Literal["light", "dark"], page: Page, file: Path) -> None:
    notes = Notes(page)
    show(page, file, scheme=scheme)
    page.evaluate(OPEN_ALL)
    assert page.locator("details[open]").count() > 82
    assert {url for url in notes.requests if not url.startswith("data:")} == {file.as_uri()}
    assert notes.complaints == []


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_the_page_never_scrolls_sideways(width: int, page: Page, file: Path) -> None:
    show(page, file, width=width)
    page.evaluate(OPEN_ALL)
    assert fits(page, width)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out(scheme: Literal["light", "dark"], page: Page, file: Path) -> None:
    show(page, file, scheme=scheme)
    page.evaluate(OPEN_ALL)
    assert page.evaluate(FAINT) == []


def test_light_and_dark_are_the_readers_choice(page: Page, file: Path) -> None:
    show(page, file, scheme="light")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    show(page, file, scheme="dark")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, ground[4:-1].split(", "))) < 100


def test_a_line_of_the_table_opens_its_episode(page: Page, file: Path) -> None:
    show(page, file, width=390)
    assert page.locator("details[open]").count() == 0
    page.locator('.episodes a[href="#e7"]').click()
    assert page.evaluate("document.querySelector('#e7').parentElement.open") is True
    top = "document.querySelector('#e7').parentElement.getBoundingClientRect().top"
    assert 0 <= page.evaluate(f"new Promise(done => requestAnimationFrame(() => done({top})))") < 200


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page: Page, file: Path) -> None:
    show(page, file)
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        reached.append(page.evaluate("document.activeElement.tagName"))
    assert reached[:6] == ["A"] * 6
    assert "DIV" in reached  # a box that scrolls
    page.locator(".episode > summary").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".episode").first).to_have_attribute("open", "")
