"""A real Chromium without a window."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NEEDED = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium on this machine")
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}

# Elements that reach past the window's edge, but for what stands in a box that scrolls.
_OVERFLOWING = """
() => [...document.querySelectorAll('body *')].filter(each => {
  const box = each.getBoundingClientRect();
  const scrolls = each.parentElement.closest('.wide, summary');
  const isHidden = each.classList.contains('skip');
  return box.width > 0 && !scrolls && !isHidden && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map(each => `${each.tagName}.${each.className.baseVal ?? each.className}`)
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Notes:
    """What a page requested and complained of."""

    def __init__(self, page: Page) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))


@contextmanager
def opened(browser: Browser, **options: Any) -> Iterator[Page]:
    """A page of its own, with nothing kept from others."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    context.set_default_timeout(20_000)
    try:
        yield context.new_page()
    finally:
        context.close()


def fits(page: Page, width: int) -> bool:
    """Whether nothing of a page reaches over a window of this width."""
    assert page.evaluate("innerWidth") == width
    overflowing = page.evaluate(_OVERFLOWING)
    assert overflowing == []
    return bool(page.evaluate("document.documentElement.scrollWidth") <= width)


def screenshot(page: Page, file: Path) -> None:
    page.screenshot(path=file, full_page=True, type="jpeg", quality=60)
