"""Attacks beside their twins, and good code with one violation grafted in, each graded for real.

A twin is the same submission with the attack taken out: the attack must not score above it. What an attack forges
inside of its own process it has merely returned; `BEATS_ITS_TWIN` says where that is worth more than the twin.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from service.grading import Grade, Grader
from service.sandbox import Sandbox, SandboxConfig
from tests.grading.corpus import FOLDER, ROWS, Attack, Submission, submissions
from tests.grading.corpus import attacks as all_attacks

pytestmark = pytest.mark.anyio

GROUPS = frozenset({
    "channel", "denial", "exit", "files", "fingerprint", "mutation", "network", "objects", "session", "smuggling",
    "stuffing", "tamper", "walk",
})  # fmt: skip
ATTACKS = all_attacks()
TWINS = submissions("twins")
GRAFTS = submissions("grafts")
POINTS = {"tier1": 20, "tier2_flat": 10, "tier2_heavy_tail": 10, "tier3": 20, "validity": 20, "guardrails": 20}
WALL_TIME_S = 1.0  # what hangs is over soon; all else needs a twentieth of it

# What stands for a slip of the attack's own: it would have been stopped by nothing but its author.
SLIPS = re.compile(
    r"(?<!could not be read: )\b"
    r"(AttributeError|ImportError|IndexError|KeyError|NameError|StopIteration|Syntax error|TypeError)\b"
)

_BUFFER = "says that its own buffer is short; no more than emptying it would earn"
BEATS_ITS_TWIN = {
    "channel_last_answer_again": _BUFFER,
    "mutation_given_buffer_deleted": "takes the grown buffer out of the given state; leaving it alone is as good",
    "mutation_given_state_emptied": "the given state has a buffer other than the grown; leaving it alone is as good",
    "objects_same_key_twice": "a row with two keys that spell reading is read by the last; clipping would earn as much",
    "session_handed_back": "says that the given state is the returned one; leaving its buffer alone would earn as much",
    "session_held_zero": _BUFFER,
    "session_import_failure_undone": "a failed import is reported as none; catching the exception would earn as much",
    "session_load_failure": "a failed import is reported as none; catching the exception would earn as much",
    "smuggling_buffer_in_a_global": "the buffer grows beside the state, which classic cannot see",
    "smuggling_buffer_in_another_key": "the buffer grows beside the buffer, at which classic does not look",
    "smuggling_buffer_in_one_row": "the buffer grows within a row of the buffer, at which classic does not look",
    "tamper_list_type": _BUFFER,
}

Graded = Callable[[str], Awaitable[Grade]]


@pytest.fixture(scope="module")
async def hasty_sandbox() -> AsyncIterator[Sandbox]:
    running = Sandbox(SandboxConfig(wall_time_s=WALL_TIME_S))
    await running.start()
    yield running
    await running.stop()


@pytest.fixture(scope="module")
def hasty_grader(hasty_sandbox: Sandbox) -> Grader:
    return Grader(hasty_sandbox)


@pytest.fixture(scope="module")
def twin_graded(grader: Grader) -> Graded:
    """Grades the twin of a given id, once."""
    known: dict[str, Grade] = {}
    sources = {submission.id: submission.source for submission in TWINS}

    async def grade(twin: str) -> Grade:
        if twin not in known:
            known[twin] = await grader.grade(sources[twin])
        return known[twin]

    return grade


def lost_rows(grade: Grade) -> tuple[str, ...]:
    return tuple(row.id for row in grade.rows if not row.passed)


def slips(grade: Grade) -> set[str]:
    return {slip for row in grade.rows for slip in SLIPS.findall(row.detail)}


def marked(attack: Attack) -> object:
    reason = BEATS_ITS_TWIN.get(attack.id.removeprefix("attacks/"))
    marks = [pytest.mark.xfail(reason=reason, raises=AssertionError)] if reason else []
    return pytest.param(attack, marks=marks, id=attack.id)


@pytest.mark.parametrize("attack", [marked(attack) for attack in ATTACKS if not attack.overfit])
async def test_an_attack_never_scores_above_its_twin(hasty_grader: Grader, twin_graded: Graded, attack: Attack) -> None:
    grade, twin = await hasty_grader.grade(attack.source), await twin_graded(attack.twin)

    assert grade.score <= twin.score
    assert grade.points <= twin.points


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_an_attack_leaves_nothing_behind_and_fails_by_no_slip_of_its_own(
    hasty_sandbox: Sandbox, hasty_grader: Grader, twin_graded: Graded, attack: Attack
) -> None:
    grade = await hasty_grader.grade(attack.source)

    assert hasty_sandbox.in_use == 0
    honest = await hasty_grader.grade(next(twin.source for twin in TWINS if twin.id == "twins/honest"))
    assert (honest.score, honest.points, honest.passed) == (1.0, 100, True)
    assert slips(grade) <= slips(await twin_graded(attack.twin))


@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if attack.overfit], ids=str)
async def test_what_is_fitted_to_the_suite_earns_all_of_it(grader: Grader, attack: Attack) -> None:
    assert (await grader.grade(attack.source)).score == 1.0


@pytest.mark.parametrize("twin", TWINS, ids=str)
async def test_a_twin_loses_exactly_the_rows_its_header_says(twin_graded: Graded, twin: Submission) -> None:
    grade = await twin_graded(twin.id)

    assert lost_rows(grade) == twin.loses, [row.detail for row in grade.rows]
    assert grade.feedback.startswith(twin.feedback)


@pytest.mark.parametrize("graft", GRAFTS, ids=str)
async def test_good_code_with_one_violation_loses_exactly_that_row(grader: Grader, graft: Submission) -> None:
    grade = await grader.grade(graft.source)

    assert lost_rows(grade) == graft.loses, [row.detail for row in grade.rows]
    assert (grade.score, grade.points) == (0.8, 100 - POINTS[graft.loses[0]])


def test_the_attacks_are_many_and_of_every_kind() -> None:
    groups = Counter(attack.group for attack in ATTACKS)

    assert len(ATTACKS) >= 120
    assert groups.keys() == GROUPS
    assert min(groups.values()) >= 5


def test_every_twin_is_the_twin_of_an_attack() -> None:
    assert {attack.twin for attack in ATTACKS} == {twin.id for twin in TWINS}
    assert {f"attacks/{name}" for name in BEATS_ITS_TWIN} <= {attack.id for attack in ATTACKS}


def test_the_grafts_are_many_and_spread_over_all_rows() -> None:
    rows = Counter(graft.loses for graft in GRAFTS)

    assert len(GRAFTS) >= 20
    assert rows.keys() == {(row,) for row in ROWS}
    assert min(rows.values()) >= 3


def test_no_source_is_there_twice() -> None:
    corpus: list[Attack | Submission] = [*ATTACKS, *TWINS, *GRAFTS, *submissions("honest", "edge", "wrong")]
    sources = Counter(one.source for one in corpus)

    assert [source for source, count in sources.items() if count > 1] == []
    assert len(corpus) == len(list(FOLDER.glob("*/*.py")))
