"""What a visitor does on the page."""

from playwright.sync_api import Page, expect

from tests.grading.corpus import HONEST

__all__ = ["HONEST", "ROWS", "grade", "lost_rows", "read", "write"]

ROWS = ("tier1", "tier2_flat", "tier2_heavy_tail", "tier3", "validity", "guardrails")


def write(page: Page, code: str) -> None:
    """Replaces what is in the editor, as somebody who pastes."""
    page.get_by_role("textbox", name="Your submission").focus()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text(code)


def read(page: Page) -> str:
    """What is in the editor, as a download or a grade would have it."""
    source = page.evaluate(
        "() => { const host = document.querySelector('.editor'); return host "
        "? host.shadowRoot.querySelector('.cm-content').cmTile.view.state.doc.toString() "
        ": document.querySelector('#code').value }"
    )
    return str(source)


def grade(page: Page) -> str:
    """Grades, and answers the verdict."""
    page.get_by_role("button", name="Grade", exact=True).click()
    expect(page.locator("#result-tools")).to_be_visible()
    return page.locator("#verdict").inner_text()


def lost_rows(page: Page) -> list[str]:
    return [row for row in ROWS if "lost" in (page.locator(f"#row-{row}").get_attribute("class") or "")]
