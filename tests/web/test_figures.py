"""The figures of a trace, as they are drawn."""

from collections import Counter

import pytest
from playwright.sync_api import Page, expect

from tests.browser import NEEDED, Notes
from tests.web.playground import HONEST, grade, write

pytestmark = NEEDED

WRAPPED = HONEST.replace("def process_batch(", "def inner(") + "\n\ndef process_batch(events, state):\n"
LEAVES_A_NAN = (
    WRAPPED
    + """
    result = inner(events, state)
    result['clean'] = [{**row, 'reading': float('nan')} for row in result['clean']]
    return result
"""
)
IMPUTES = (
    WRAPPED
    + """
    result = inner(events, state)
    kept = {row['ts'] for row in result['clean']}
    result['clean'] += [{**event, 'reading': 6.0} for event in events if event['ts'] not in kept]
    result['clean'].sort(key=lambda row: row['ts'])
    return result
"""
)
CLIPS = (
    WRAPPED
    + """
    result = inner(events, state)
    kept = {row['ts'] for row in result['clean']}
    spikes = [{**event, 'reading': 10.5} for event in events if event['tag'] == 'spike']
    result['clean'] = sorted(result['clean'] + spikes, key=lambda row: row['ts'])
    return result
"""
)
REVERSES = (
    WRAPPED
    + """
    result = inner(events, state)
    result['clean'].reverse()
    return result
"""
)

OUTSIDE = """
(svg) => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('.mark, .bar, text')].filter((each) => {
    const box = each.getBoundingClientRect();
    return box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1
      || box.bottom > frame.bottom + 1;
  }).map((each) => each.outerHTML);
}
"""


def traced(page: Page, code: str) -> None:
    write(page, code)
    page.locator("#cases").evaluate("each => each.replaceChildren()")
    page.get_by_role("button", name="Trace my submission").click()
    expect(page.locator(".case[data-holds]")).to_have_count(5)


def marks(page: Page, case: str) -> Counter[str]:
    classes = (
        page.locator(f"[data-case={case}] figure")
        .first.locator(".mark")
        .evaluate_all("all => all.map(each => each.getAttribute('class').slice(5))")
    )
    return Counter(classes)


@pytest.mark.parametrize(
    ("code", "case", "drawn"),
    [
        (HONEST, "dirty", {"dropped": 3, "coerced": 2}),
        (HONEST, "flat", {"kept": 6}),
        (HONEST, "heavy_tail", {"kept": 8, "dropped": 2}),
        (HONEST, "flood", {"kept": 60}),
        (IMPUTES, "dirty", {"imputed": 3, "coerced": 2, "lost": 3}),  # what it was stands beside what it became
        (CLIPS, "heavy_tail", {"kept": 8, "changed": 2, "lost": 2}),
        (LEAVES_A_NAN, "flat", {"leaked": 6}),
        ("def process_batch(events, state): return 1 / 0", "sanity", {"lost": 5}),
    ],
)
def test_every_reading_is_drawn_with_its_fate(page: Page, code: str, case: str, drawn: dict[str, int]) -> None:
    traced(page, code)
    assert marks(page, case) == drawn


def test_the_cases_stand_in_the_rubrics_order_with_their_verdict(page: Page) -> None:
    traced(page, HONEST)
    assert page.locator(".case").evaluate_all("all => all.map(each => [each.dataset.case, each.dataset.holds])") == [
        [case, "true"] for case in ("dirty", "flat", "heavy_tail", "flood", "sanity")
    ]
    expect(page.locator("#trace-status")).to_have_text(
        "5 of 5 cases of classic hold. Guardrails are read from the source."
    )


def test_marks_lie_within_their_figure_and_higher_readings_lie_higher(page: Page) -> None:
    traced(page, HONEST)
    for figure in page.locator(".case figure svg").all():
        assert figure.evaluate(OUTSIDE) == []
    heights = page.locator("[data-case=sanity] circle.mark.kept").evaluate_all(
        "all => all.map(each => each.cy.baseVal.value)"
    )
    assert heights[:5] == sorted(heights[:5], reverse=True)
    assert len(set(heights[:5])) == 5


@pytest.mark.parametrize(
    ("reading", "buffer"),
    [("-1.7e308 if i % 2 else 1.7e308", 9), ("5e-324 * i", 9), ("123456789012345.0 + i", 90_000), ("-1e-5 * i", 1)],
)
def test_numbers_of_any_size_are_drawn_within_their_figure(page: Page, reading: str, buffer: int) -> None:
    notes = Notes(page)
    result = f"[{{**row, 'reading': {reading}}} for i, row in enumerate(result['clean'])]"
    code = f"    result = inner(events, state)\n    result.update(clean={result}, mean=1.7e308)\n"
    traced(page, f"{WRAPPED}{code}    result['state']['buffer'] = [0] * {buffer}\n    return result\n")
    for figure in page.locator(".case figure svg").all():
        assert figure.evaluate(OUTSIDE) == []
    assert "000,000,000,000" not in page.locator("#cases").inner_text()
    assert not [each for each in notes.complaints if "Applying inline style" not in each]


def test_spikes_and_corrupt_readings_have_lanes_of_their_own(page: Page) -> None:
    traced(page, HONEST)
    expect(page.locator("[data-case=heavy_tail] figure")).to_contain_text("far out")
    expect(page.locator("[data-case=heavy_tail] figure")).to_contain_text("1000.0")
    for written in ("corrupt", "' NaN'", "None", "'bad'"):
        expect(page.locator("[data-case=dirty] figure")).to_contain_text(written)


def test_the_line_shows_the_order_in_which_clean_came(page: Page) -> None:
    def across() -> list[float]:
        points = page.locator("[data-case=sanity] .order").get_attribute("points") or ""
        return [float(point.split(",")[0]) for point in points.split()]

    traced(page, HONEST)
    assert across() == sorted(across())
    traced(page, REVERSES)
    assert across() == sorted(across(), reverse=True)
    expect(page.locator("[data-case=dirty] .bad")).to_contain_text("clean is not in ts order")


def test_the_buffer_grows_over_the_calls_or_stays_below_its_limit(page: Page) -> None:
    bars = page.locator("[data-case=flood] .bar")
    page.get_by_role("button", name="Back to the fragile pipeline").click()
    page.get_by_role("button", name="Trace my submission").click()
    expect(bars).to_have_count(12)
    assert page.locator("[data-case=flood] .bar.over").count() == 11
    heights = bars.evaluate_all("all => all.map(each => each.height.baseVal.value)")
    assert heights == sorted(heights)
    expect(page.locator("[data-case=flood] figcaption")).to_contain_text("Telemetry in 0 of 12 calls.")
    traced(page, HONEST)
    assert page.locator("[data-case=flood] .bar.over").count() == 0
    expect(page.locator("[data-case=flood] figcaption")).to_contain_text("Telemetry in 12 of 12 calls.")


def test_tables_say_the_same_without_a_picture(page: Page) -> None:
    traced(page, HONEST)
    page.locator("[data-case=dirty] summary").click()
    lines = page.locator("[data-case=dirty] table").first.locator("tbody tr").all_inner_texts()
    assert [line.split("\t") for line in lines] == [
        ["3", "sensor", "' NaN'", "dropped", "", ""],
        ["4", "healthy", "'7.2'", "coerced", "7.2", "2"],
        ["1", "sensor", "None", "dropped", "", ""],
        ["5", "sensor", "'bad'", "dropped", "", ""],
        ["2", "healthy", "'5.4'", "coerced", "5.4", "1"],
    ]


def test_a_classic_grade_traces_what_was_graded_and_a_hardened_one_shows_nothing_of_its_cases(page: Page) -> None:
    write(page, HONEST)
    with page.expect_response("**/trace"):
        grade(page)
    expect(page.locator("#trace-status")).to_have_text(
        "5 of 5 cases of classic hold. Guardrails are read from the source."
    )
    traces: list[str] = []
    page.on("request", lambda request: traces.append(request.url) if request.url.endswith("/trace") else None)
    page.get_by_label("Suite").select_option("hardened")
    grade(page)
    page.wait_for_timeout(300)
    assert traces == []


def test_a_trace_is_asked_for_once_however_often_its_button_is_pressed(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/trace") else None)
    page.evaluate("() => { for (let each = 0; each < 20; each++) document.querySelector('#trace').click(); }")
    expect(page.locator(".case[data-holds]")).to_have_count(5)
    page.locator("#trace").click()
    expect(page.locator("#trace")).to_have_attribute("aria-disabled", "false")
    assert len(asked) == 2


def test_the_fragile_pipeline_is_traced_when_a_visitor_comes_by(page: Page) -> None:
    page.locator("#failure").scroll_into_view_if_needed()
    expect(page.locator("#trace-status")).to_have_text(
        "1 of 5 cases of classic hold. Guardrails are read from the source."
    )
