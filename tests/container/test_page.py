"""The page as `docker compose up` serves it."""

import pytest
from playwright.sync_api import expect

from tests.browser import NEEDED, Notes, chromium, opened
from tests.container.conftest import Composition
from tests.web.playground import HONEST, grade, write

pytestmark = [pytest.mark.timeout(600), NEEDED]


def test_the_image_has_the_whole_page(composition: Composition) -> None:
    with chromium() as browser, opened(browser) as page:
        notes = Notes(page)
        page.goto(composition.url)
        page.wait_for_selector(".editor .cm-content")
        write(page, HONEST)
        assert grade(page) == "100 % on classic, 100 of 100 points. ✓ All tiers stable"
        expect(page.locator("#trace-status")).to_have_text(
            "5 of 5 cases of classic hold. Guardrails are read from the source."
        )
        page.locator("#live").scroll_into_view_if_needed()
        expect(page.locator(".layers li")).to_have_text(
            ["✓ rlimits in force", "✓ landlock in force", "✓ seccomp in force"]
        )
        licences = page.request.get(f"{composition.url}/page/editor.licenses.txt").text()
    assert licences.count("MIT License") > 5
    assert [each for each in notes.complaints if "Applying inline style" not in each] == []
    assert all(url.startswith(composition.url) for url in notes.requests)
