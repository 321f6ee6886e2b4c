"""The page as a visitor uses it: a real Chromium, the real service."""

import hashlib
import json
import re
import subprocess

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import NEEDED, Notes, opened
from tests.conftest import ServiceProcess, running_service
from tests.grading.corpus import HANGS_IN_THE_FLOOD
from tests.web.playground import HONEST, ROWS, grade, lost_rows, read, write

pytestmark = NEEDED

TOKEN = "an-evaluation-token-of-ours"


def test_the_whole_path(page: Page, service: ServiceProcess) -> None:
    assert "def process_batch(events, state):" in read(page)
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#output")).to_contain_text("'mean': 5.7")

    assert grade(page).startswith("20 % on classic, 20 of 100 points. ✗ Tier1 cascade unresolved")
    assert lost_rows(page) == [row for row in ROWS if row != "validity"]
    expect(page.locator("#row-tier2_flat")).to_contain_text("ZeroDivisionError: float division by zero")
    expect(page.locator("#row-tier2_flat .points")).to_have_text("0")
    expect(page.locator("#row-validity .points")).to_have_text("20")

    write(page, HONEST)
    assert grade(page) == "100 % on classic, 100 of 100 points. ✓ All tiers stable"
    assert lost_rows(page) == []

    page.get_by_label("Suite").select_option("hardened")
    expect(page.locator("#prompt-suite")).to_have_text("For the suite hardened.")
    page.get_by_label("Seed").fill("7")
    assert grade(page) == "100 % on hardened, seed 7, 100 of 100 points. ✓ All tiers stable"
    assert page.url == f"{service.url}/?suite=hardened&seed=7"

    page.reload()
    page.wait_for_selector(".editor .cm-content")
    assert read(page) == HONEST
    assert page.get_by_label("Suite").input_value() == "hardened"
    assert page.get_by_label("Seed").input_value() == "7"
    attempts = page.locator("#attempt-list tbody tr")
    expect(attempts).to_have_count(3)
    assert [re.sub(r"\s+", " ", line) for line in attempts.locator("td:nth-child(2)").all_inner_texts()] == [
        "hardened 7", "classic", "classic",
    ]  # fmt: skip

    attempts.nth(2).get_by_role("button", name="Open").click()
    assert "def process_batch(events, state):" in read(page)
    assert len(lost_rows(page)) == 5
    assert page.get_by_label("Suite").input_value() == "classic"

    attempts.nth(0).get_by_role("button", name="Remove").click()
    expect(attempts).to_have_count(2)
    page.get_by_role("button", name="Remove all").click()
    expect(page.locator("#attempt-list")).to_have_text("None yet.")
    page.reload()
    expect(page.locator("#attempt-list")).to_have_text("None yet.")


def test_without_a_seed_every_grade_draws_one_and_says_which(page: Page) -> None:
    page.get_by_label("Suite").select_option("hardened")
    drawn = [re.search(r"seed (\d+)", grade(page)) for _ in range(2)]
    assert all(drawn)
    assert drawn[0] != drawn[1]
    assert page.get_by_label("Seed").input_value() == ""
    page.get_by_role("button", name="Keep this seed").click()
    assert drawn[1] is not None
    assert page.get_by_label("Seed").input_value() == drawn[1][1]
    expect(page.get_by_role("button", name="Keep this seed")).to_be_hidden()
    assert f"seed {drawn[1][1]}" in grade(page)
    link = page.locator("#attempt-list a").first.get_attribute("href")
    assert link is not None
    assert link.endswith(f"?suite=hardened&seed={drawn[1][1]}")


@pytest.mark.parametrize("address", ["?suite=hardened&seed=12", "?suite=hardened", "?suite=classic"])
def test_a_link_names_the_inputs(browser: Browser, service: ServiceProcess, address: str) -> None:
    with opened(browser) as page:
        page.goto(f"{service.url}/{address}")
        page.wait_for_selector(".editor")
        inputs = (page.get_by_label("Suite").input_value(), page.get_by_label("Seed").input_value())
    assert inputs == ("hardened" if "hardened" in address else "classic", "12" if "seed" in address else "")


@pytest.mark.parametrize(
    "address", ["?suite=%3Cscript%3E&seed=1", "?suite=hardened&seed=-1", "?suite=hardened&seed=9e99", "?seed=5"]
)
def test_what_a_link_names_wrongly_is_left_out(browser: Browser, service: ServiceProcess, address: str) -> None:
    with opened(browser) as page:
        page.goto(f"{service.url}/{address}")
        page.wait_for_selector(".editor")
        assert page.locator("#seed").input_value() == ""
        assert page.locator("#verdict").inner_text() == "Not graded yet."


def test_rows_are_shown_while_others_are_judged_and_a_grade_can_be_stopped(browser: Browser) -> None:
    with running_service(GAUNTLET_WALL_TIME_S="20", GAUNTLET_CPU_TIME_S="20") as service, opened(browser) as page:
        page.goto(service.url)
        page.wait_for_selector(".editor .cm-content")
        write(page, HANGS_IN_THE_FLOOD)
        page.get_by_role("button", name="Grade", exact=True).click()
        for row in ("tier1", "tier2_flat", "tier2_heavy_tail"):
            expect(page.locator(f"#row-{row}")).to_have_class("held")
        expect(page.locator("#verdict")).to_have_text("Grading on classic…")
        expect(page.locator("#row-tier3")).to_have_class("")
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#verdict")).to_have_text("Stopped: not graded.")
        page.wait_for_function("async () => (await (await fetch('health')).json()).capacity.requests === 0")
        expect(page.locator("#attempt-list")).to_have_text("None yet.")
        page.get_by_role("button", name="Back to the fragile pipeline").click()
        assert grade(page).startswith("20 %")


def test_an_attempt_opened_while_another_is_graded_stays(browser: Browser) -> None:
    with running_service(GAUNTLET_WALL_TIME_S="20", GAUNTLET_CPU_TIME_S="20") as service, opened(browser) as page:
        page.goto(service.url)
        page.wait_for_selector(".editor .cm-content")
        verdict = grade(page)
        write(page, HANGS_IN_THE_FLOOD)
        page.get_by_role("button", name="Grade", exact=True).click()
        expect(page.locator("#row-tier1")).to_have_class("held")
        page.locator("#attempt-list").get_by_role("button", name="Open").click()
        page.wait_for_function("async () => (await (await fetch('health')).json()).capacity.requests === 0")
        assert page.locator("#verdict").inner_text() == verdict
        assert lost_rows(page) == [row for row in ROWS if row != "validity"]
        expect(page.get_by_role("button", name="Stop")).to_be_hidden()
        assert grade(page) == verdict


def test_an_attempt_can_be_taken_along(browser: Browser, service: ServiceProcess) -> None:
    with opened(browser, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.goto(f"{service.url}/?suite=hardened&seed=3")
        page.wait_for_selector(".editor .cm-content")
        write(page, f"NOTE = 'it\\'s $HOME `id` \\x7f \N{SNOWMAN} !!'\n{HONEST}")
        grade(page)
        with page.expect_download() as downloading:
            page.get_by_role("button", name="Download JSON").click()
        attempt = json.loads(downloading.value.path().read_text())
        assert attempt["code"] == read(page)
        assert (attempt["grade"]["seed"], attempt["grade"]["score"]) == (3, 1)

        page.get_by_role("button", name="Copy as curl").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        command = page.evaluate("navigator.clipboard.readText()")
        assert command.isascii()
        run = subprocess.run(["/bin/bash", "-c", command], capture_output=True, text=True, check=True)
        graded = json.loads(run.stdout)
        assert graded["code_sha256"] == attempt["grade"]["code_sha256"]
        assert graded["checks"] == attempt["grade"]["checks"]

        page.get_by_role("button", name="Copy link").click()
        page.wait_for_function("async () => (await navigator.clipboard.readText()).endsWith('?suite=hardened&seed=3')")


def test_a_command_for_a_large_submission_is_none_that_the_system_refuses(page: Page) -> None:
    write(page, f"# {'x' * 200_000} \\\\ \\n\n{HONEST}")
    grade(page)
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
    page.get_by_role("button", name="Copy as curl").click()
    command = page.locator(".copied").input_value()
    run = subprocess.run(["/bin/sh"], input=command, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout)["code_sha256"] == hashlib.sha256(read(page).encode()).hexdigest()


def test_a_link_names_no_other_host(page: Page, service: ServiceProcess) -> None:
    """Where a proxy takes two slashes for one."""
    link = "async () => (await import('/page/attempts.js')).linkTo({suite: 'hardened', seed: 3})"
    page.evaluate("() => history.replaceState(null, '', `${location.origin}//elsewhere.example/?suite=x#live`)")
    assert page.evaluate(link) == f"{service.url}//elsewhere.example/?suite=hardened&seed=3"


def test_a_button_that_copies_twice_says_what_it_does_again(browser: Browser, service: ServiceProcess) -> None:
    with opened(browser, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.goto(service.url)
        button = page.locator("#copy-link")
        for _ in range(2):
            button.click()
            expect(button).to_have_text("Copied")
        page.wait_for_timeout(2500)
        expect(button).to_have_text("Copy link")


def test_where_the_clipboard_is_shut_the_text_is_shown(page: Page, service: ServiceProcess) -> None:
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator(".copied")).to_have_value(f"{service.url}/?suite=classic")


def test_a_service_that_is_down_is_said_and_nothing_is_lost(browser: Browser) -> None:
    with opened(browser) as page:
        with running_service() as service:
            page.goto(service.url)
            page.wait_for_selector(".editor .cm-content")
            write(page, HONEST)
            grade(page)
        for button, alert in (
            ("Grade", "#grade-alert"),
            ("Run", "#run-alert"),
            ("Trace my submission", "#trace-alert"),
        ):
            page.get_by_role("button", name=button, exact=True).click()
            expect(page.locator(alert)).to_have_text("The service cannot be reached. Is it running?")
        assert page.locator("#verdict").inner_text() == "Not graded."
        assert read(page) == HONEST
        expect(page.locator("#attempt-list tbody tr")).to_have_count(1)
        page.locator("#live").scroll_into_view_if_needed()
        expect(page.locator("#live-note")).to_contain_text("The service cannot be reached. Is it running?")


def test_a_grade_that_breaks_off_is_no_grade(browser: Browser) -> None:
    with running_service(GAUNTLET_WALL_TIME_S="20", GAUNTLET_CPU_TIME_S="20") as service, opened(browser) as page:
        page.goto(service.url)
        page.wait_for_selector(".editor .cm-content")
        write(page, HANGS_IN_THE_FLOOD)
        page.get_by_role("button", name="Grade", exact=True).click()
        expect(page.locator("#row-tier1")).to_have_class("held")
        service.process.kill()
        expect(page.locator("#grade-alert")).to_contain_text("The answer broke off before the grade.")
        expect(page.locator("#verdict")).to_have_text("Not graded.")
        assert page.locator("#rows li.held").count() == 0


@pytest.mark.parametrize(
    ("path", "button", "alert", "answer"),
    [
        ("grade/rows", "Grade", "#grade-alert", "<html>Please log in"),
        ("grade/rows", "Grade", "#grade-alert", "null\n"),
        ("grade/rows", "Grade", "#grade-alert", '{"row": null}\n{}\n'),
        ("execute", "Run", "#run-alert", "<html>Please log in"),
        ("trace", "Trace my submission", "#trace-alert", '{"cases": '),
    ],
)
def test_an_answer_that_is_not_the_services_is_said_to_be_none(
    page: Page, path: str, button: str, alert: str, answer: str
) -> None:
    """As a proxy gives it that wants a login first, or that cuts an answer off."""
    page.route(f"**/{path}", lambda route: route.fulfill(body=answer))
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.locator(alert)).to_contain_text("The answer broke off")


def test_a_full_service_is_said_with_when_to_ask_again(browser: Browser) -> None:
    with running_service(GAUNTLET_QUEUE="1") as service, opened(browser) as page:
        page.goto(service.url)
        page.wait_for_selector(".editor .cm-content")
        page.evaluate(
            "() => { window.hanging = fetch('execute', {method: 'POST', headers: {'content-type': 'application/json'}, "
            "body: JSON.stringify({expression: 'while True: pass', timeout_s: 3})}); }"
        )
        page.wait_for_function("async () => (await (await fetch('health')).json()).capacity.requests === 1")
        says = "1 requests are in flight, which is all the service takes at a time. Try again in 1 s."
        for button, alert in (
            ("Grade", "#grade-alert"),
            ("Run", "#run-alert"),
            ("Trace my submission", "#trace-alert"),
        ):
            page.get_by_role("button", name=button, exact=True).click()
            expect(page.locator(alert)).to_have_text(says)
        page.evaluate("() => window.hanging.then(() => {})")
        assert grade(page).startswith("20 %")
        expect(page.locator("#grade-alert")).to_be_empty()


def test_seeds_that_need_the_token_ask_for_it(browser: Browser) -> None:
    with running_service(GAUNTLET_EVALUATION_TOKEN=TOKEN) as service, opened(browser) as page:
        page.goto(f"{service.url}/?suite=hardened&seed=1500000000")
        page.wait_for_selector(".editor .cm-content")
        page.get_by_role("button", name="Grade", exact=True).click()
        expect(page.locator("#grade-alert")).to_contain_text("Seeds of the test split need the evaluation token")
        expect(page.locator("#token")).to_be_focused()
        page.keyboard.insert_text("a wrong töken")
        page.get_by_role("button", name="Grade", exact=True).click()
        assert "ASCII" in page.evaluate("document.querySelector('#token').validationMessage")
        page.locator("#token").fill("wrong-but-well-formed")
        page.get_by_role("button", name="Grade", exact=True).click()
        expect(page.locator("#grade-alert")).to_have_text("This token is not the service's, or does not allow that.")
        page.locator("#token").fill(TOKEN)
        assert grade(page).startswith("20 % on hardened, seed 1500000000")
        assert TOKEN not in page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, location.href])")
        page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
        page.get_by_role("button", name="Copy as curl").click()
        assert "Bearer $GAUNTLET_EVALUATION_TOKEN" in page.locator(".copied").input_value()
        page.reload()
        assert page.locator("#token").input_value() == ""


@pytest.mark.parametrize("seed", ["2000000000", "-1", "1.5"])
def test_a_seed_that_is_none_is_refused_where_it_stands(page: Page, seed: str) -> None:
    notes = Notes(page)
    page.get_by_label("Suite").select_option("hardened")
    page.get_by_label("Seed").fill(seed)
    page.get_by_role("button", name="Grade", exact=True).click()
    assert page.evaluate("document.querySelector('#seed').matches(':invalid')")
    assert not [url for url in notes.requests if url.endswith("/grade/rows")]


def test_the_page_works_without_its_editor(browser: Browser, service: ServiceProcess) -> None:
    with opened(browser) as page:
        page.route("**/page/editor.js", lambda route: route.fulfill(status=404))
        page.goto(service.url)
        page.get_by_role("textbox", name="Your submission").fill(HONEST)
        assert grade(page).startswith("100 %")
        page.reload()
        expect(page.get_by_role("textbox", name="Your submission")).to_have_value(HONEST)
        page.get_by_role("button", name="Back to the fragile pipeline").click()
        assert grade(page).startswith("20 %")
        page.get_by_role("textbox", name="Your submission").press("ControlOrMeta+z")
        expect(page.get_by_role("textbox", name="Your submission")).to_have_value(HONEST)  # nothing is lost by a click
        expect(page.get_by_role("link", name="licences of the editor")).to_be_hidden()
        assert page.locator(".editor").count() == 0


def test_what_was_replaced_in_the_editor_can_be_had_back(page: Page) -> None:
    write(page, HONEST)
    page.get_by_role("button", name="Back to the fragile pipeline").click()
    assert read(page) != HONEST
    page.keyboard.press("ControlOrMeta+z")
    assert read(page) == HONEST


def test_ctrl_enter_grades_in_the_editor_and_runs_in_the_expression(page: Page) -> None:
    page.get_by_role("textbox", name="Your submission").press("ControlOrMeta+Enter")
    expect(page.locator("#verdict")).to_contain_text("20 % on classic")
    page.get_by_label("python_expression").press("ControlOrMeta+Enter")
    expect(page.locator("#output")).to_contain_text("'mean': 5.7")


def test_an_expressions_lines_are_told_from_the_submissions(page: Page) -> None:
    write(page, "x = 1\n" * 10)
    page.get_by_label("python_expression").fill("1 / 0")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#output")).to_contain_text("line 12")
    expect(page.locator("#output")).to_contain_text("the expression begins on line 12")
    page.get_by_label("after the submission above").uncheck()
    page.get_by_label("python_expression").fill("x = 1")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#output")).to_contain_text("No value, and nothing printed.")


def test_the_page_works_where_the_browser_keeps_nothing(browser: Browser, service: ServiceProcess) -> None:
    with opened(browser) as page:
        page.add_init_script(
            "for (const name of ['getItem', 'setItem', 'removeItem']) "
            "Storage.prototype[name] = () => { throw new DOMException('no', 'SecurityError'); };"
        )
        notes = Notes(page)
        page.goto(service.url)
        page.wait_for_selector(".editor .cm-content")
        assert grade(page).startswith("20 %")
        expect(page.locator("#grade-alert")).to_contain_text("This browser keeps nothing for this page")
        assert notes.complaints == []


def test_the_oldest_attempts_make_room(page: Page) -> None:
    page.evaluate("() => localStorage.setItem('filler', 'x'.repeat(5_000_000))")
    write(page, f"# {'x' * 60_000}\n{HONEST}")
    for _ in range(4):
        grade(page)
    assert 1 <= page.locator("#attempt-list tbody tr").count() < 4
    expect(page.locator("#grade-alert")).to_be_empty()


ROW = {"id": "tier1", "passed": True, "points": 20, "detail": "holds"}
ATTEMPT = {
    "id": "x", "at": "2026-01-01T00:00:00Z", "code": "x = 1",
    "grade": {
        "passed": False, "score": 0.2, "points": 20, "feedback": "", "suite": "classic", "seed": None, "checks": [ROW],
    },
}  # fmt: skip


def attempt_with(**members: object) -> str:
    """An attempt whose grade has these members instead of its own."""
    return json.dumps([ATTEMPT | {"grade": ATTEMPT["grade"] | members}])  # type: ignore[operator]


@pytest.mark.parametrize(
    "kept",
    [
        "{", "7", '[1, null, {"id": 3}]', '{"length": 2}', json.dumps([ATTEMPT | {"at": 7}]),
        json.dumps([ATTEMPT | {"grade": {"checks": []}}]),
        attempt_with(checks=[None]), attempt_with(checks=[ROW | {"detail": 7}]), attempt_with(checks={}),
        attempt_with(suite="__proto__"), attempt_with(seed="1&x=<b>"), attempt_with(score="<b>"),
        attempt_with(points={}), attempt_with(feedback=None),
    ],
)  # fmt: skip
def test_what_another_page_left_in_its_place_is_no_attempt(page: Page, kept: str) -> None:
    page.evaluate("kept => localStorage.setItem('resilience-gauntlet.attempts', kept)", kept)
    notes = Notes(page)
    page.reload()
    expect(page.locator("#attempt-list")).to_have_text("None yet.")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#output")).to_contain_text("'mean': 5.7")
    assert notes.complaints == []


@pytest.mark.parametrize("row", ["tier9", "__proto__", "x] #y"])
def test_a_row_that_this_version_does_not_have_is_left_out(page: Page, row: str) -> None:
    kept = attempt_with(checks=[ROW | {"id": row}, ROW])
    page.evaluate("kept => localStorage.setItem('resilience-gauntlet.attempts', kept)", kept)
    page.reload()
    page.locator("#attempt-list").get_by_role("button", name="Open").click()
    expect(page.locator("#verdict")).to_contain_text("20 % on classic")
    expect(page.locator("#row-tier1")).to_have_class("held")


def test_two_tabs_share_the_attempts(page: Page) -> None:
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator("#attempt-list")).to_have_text("None yet.")
    grade(page)
    expect(other.locator("#attempt-list tbody tr")).to_have_count(1)


def test_a_tab_in_which_nothing_was_written_leaves_anothers_draft(page: Page) -> None:
    write(page, "x = 1")
    page.wait_for_function("() => localStorage.getItem('resilience-gauntlet.draft') === 'x = 1'")
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_selector(".editor .cm-content")
    write(other, "x = 2")
    other.goto("about:blank")
    page.reload()
    page.wait_for_selector(".editor .cm-content")
    assert read(page) == "x = 2"


def test_going_back_brings_the_inputs_that_the_address_names(browser: Browser, service: ServiceProcess) -> None:
    with opened(browser) as page:
        page.goto(f"{service.url}/?suite=hardened&seed=7")
        page.wait_for_selector(".editor .cm-content")
        page.get_by_role("link", name="Live").click()
        page.get_by_label("Suite").select_option("classic")
        page.go_back()
        expect(page.get_by_label("Suite")).to_have_value("hardened")
        assert page.get_by_label("Seed").input_value() == "7"
        assert page.url == f"{service.url}/?suite=hardened&seed=7"
        page.get_by_label("Seed").fill("8")
        page.get_by_role("link", name="Live").click()
        page.wait_for_timeout(200)
        assert page.get_by_label("Seed").input_value() == "8"


def test_a_page_that_comes_back_shows_the_attempts_made_meanwhile(page: Page) -> None:
    page.evaluate("kept => localStorage.setItem('resilience-gauntlet.attempts', kept)", json.dumps([ATTEMPT]))
    expect(page.locator("#attempt-list")).to_have_text("None yet.")
    page.evaluate("() => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    expect(page.locator("#attempt-list tbody tr")).to_have_count(1)
