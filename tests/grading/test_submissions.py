"""The corpus of submissions, each graded for real. Points and messages are written out, as the contract has them."""

from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from service.grading import Grade, Grader
from service.task import fragile_pipeline
from tests.grading.corpus import FOLDER, ROWS, Submission, submissions

pytestmark = pytest.mark.anyio

POINTS = {"tier1": 20, "tier2_flat": 10, "tier2_heavy_tail": 10, "tier3": 20, "validity": 20, "guardrails": 20}
MESSAGES = (
    ("Tier1 cascade unresolved", {"tier1"}),
    ("Tier2 balance broken", {"tier2_flat", "tier2_heavy_tail"}),
    ("Tier3 resilience broken", {"tier3"}),
    ("Output validity broken", {"validity"}),
    ("Guardrail evidence missing", {"guardrails"}),
)
SCORES = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)  # by the number of failed checks
CORPUS = submissions("honest", "edge", "wrong")


Graded = Callable[[str], Awaitable[Grade]]


@pytest.fixture(scope="module")
def graded(grader: Grader) -> Graded:
    """Grades a source once, however many tests look at it."""
    known: dict[str, Grade] = {}

    async def grade(source: str) -> Grade:
        if source not in known:
            known[source] = await grader.grade(source)
        return known[source]

    return grade


def lost_rows(grade: Grade) -> tuple[str, ...]:
    return tuple(row.id for row in grade.rows if not row.passed)


def messages(lost: tuple[str, ...]) -> list[str]:
    return [message for message, rows in MESSAGES if rows & set(lost)]


@pytest.mark.parametrize("submission", CORPUS, ids=str)
async def test_a_submission_loses_exactly_the_rows_its_header_says(graded: Graded, submission: Submission) -> None:
    grade = await graded(submission.source)

    assert lost_rows(grade) == submission.loses, [row.detail for row in grade.rows]
    failed = messages(submission.loses)
    assert grade.score == SCORES[len(failed)]
    assert grade.points == sum(POINTS[row] for row in ROWS if row not in submission.loses)
    assert grade.passed is (not submission.loses)
    if submission.never_runs:
        assert grade.feedback.startswith(submission.feedback)
    else:
        assert grade.feedback == (f"✗ {'; '.join(failed)}" if failed else "✓ All tiers stable")


@pytest.mark.parametrize("submission", CORPUS, ids=str)
async def test_every_row_of_a_grade_says_why_in_one_line(graded: Graded, submission: Submission) -> None:
    grade = await graded(submission.source)

    assert tuple(row.id for row in grade.rows) == ROWS
    for row in grade.rows:
        assert len(row.detail.splitlines()) == 1
        assert (row.detail == "holds") is row.passed
        assert (row.points, row.max_points) == (POINTS[row.id] if row.passed else 0, POINTS[row.id])
    if submission.never_runs:
        assert {f"✗ {row.detail}" for row in grade.rows} == {grade.feedback}


async def test_the_fragile_pipeline_holds_nothing_but_validity(grader: Grader) -> None:
    grade = await grader.grade(fragile_pipeline())

    assert lost_rows(grade) == ("tier1", "tier2_flat", "tier2_heavy_tail", "tier3", "guardrails")
    assert (grade.score, grade.points, grade.passed) == (0.2, 20, False)
    assert grade.feedback == (
        "✗ Tier1 cascade unresolved; Tier2 balance broken; Tier3 resilience broken; Guardrail evidence missing"
    )


async def test_the_fragile_pipeline_fails_for_the_faults_that_the_task_names(grader: Grader) -> None:
    observable = fragile_pipeline().replace('"state": state}', '"state": state, "telemetry": True}')
    details, details_with_telemetry = [
        {row.id: row.detail for row in (await grader.grade(code)).rows} for code in (fragile_pipeline(), observable)
    ]

    assert "float() argument must be" in details["tier1"]
    assert "ZeroDivisionError" in details["tier2_flat"]
    assert details["tier2_heavy_tail"] == "a spike of 1000 remains in clean"
    assert details["tier3"] == "call 1 of 12: telemetry is missing"
    assert "buffer holds 270 rows" in details_with_telemetry["tier3"]


@pytest.mark.parametrize(
    "name",
    ["honest/winsorise", "wrong/tier1_dies_on_none", "wrong/tier3_doubles_the_buffer", "wrong/all_os_exit_on_import"],
)
async def test_a_grade_is_repeatable(grader: Grader, name: str) -> None:
    submission = next(one for one in CORPUS if one.id == name)

    assert await grader.grade(submission.source) == await grader.grade(submission.source)


def test_every_row_is_lost_alone_in_several_ways() -> None:
    alone = Counter(submission.loses[0] for submission in CORPUS if len(submission.loses) == 1)

    assert {row: count for row in ROWS if (count := alone[row]) < 3} == {}
    for submission in CORPUS:
        if submission.id.startswith(tuple(f"wrong/{row}_" for row in ROWS)):
            assert submission.id.startswith(f"wrong/{submission.loses[0]}_")
            assert len(submission.loses) == 1


def test_the_honest_are_many_and_lose_nothing() -> None:
    honest = submissions("honest")

    assert len(honest) >= 8
    assert all(submission.loses == () for submission in honest)


def test_no_submission_is_there_twice() -> None:
    sources = Counter(submission.source for submission in CORPUS)

    assert (
        len(sources) == len(CORPUS) == sum(len(list((FOLDER / part).iterdir())) for part in ("honest", "edge", "wrong"))
    )
