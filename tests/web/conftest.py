from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import chromium, opened
from tests.conftest import ServiceProcess


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Gone when the module's tests are: while it is there, no other event loop can run in its thread."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, service: ServiceProcess) -> Iterator[Page]:
    """The service's page, with its editor."""
    with opened(browser) as page:
        page.goto(service.url)
        page.wait_for_selector(".editor .cm-content")
        yield page
