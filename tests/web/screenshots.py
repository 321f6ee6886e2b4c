"""Takes the pictures of the page that the documents show: ``python -m tests.web.screenshots docs``."""

import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.browser import PHONE, chromium, opened, screenshot
from tests.conftest import running_service
from tests.web.playground import HONEST, grade, write

SCREENS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": PHONE,
}
READINGS = 3


def use(page: Page, url: str) -> None:
    """What a visitor may have done."""
    page.goto(url)
    page.wait_for_selector(".editor .cm-content")
    write(page, HONEST)
    grade(page)
    page.get_by_label("Suite").select_option("hardened")
    page.get_by_label("Seed").fill("7")
    grade(page)
    page.get_by_label("Suite").select_option("classic")
    page.get_by_role("button", name="Back to the fragile pipeline").click()
    grade(page)
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_selector("#output pre")
    page.locator("#live").scroll_into_view_if_needed()
    for _ in range(READINGS):
        with page.expect_response("**/metrics"):
            pass
    page.evaluate("scrollTo(0, 0)")


def main(folder: Path) -> None:
    with running_service() as service, chromium() as browser:
        for name, options in SCREENS.items():
            with opened(browser, **options) as page:
                use(page, service.url)
                screenshot(page, folder / f"page-{name}.jpg")
                if name == "light":
                    page.locator("#playground .bench").screenshot(path=folder / "playground.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
