"""Attacks beside their twins, and good code with one violation grafted in, each graded for real.

A twin is the same submission with the attack taken out: the attack must not score above it. What an attack forges
inside of its own process it has merely returned: then its twin is a submission that returns the same.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from typing import Protocol

import pytest

from service.grading import Grade, Grader
from service.sandbox import Sandbox, SandboxConfig
from tests.grading.corpus import FOLDER, ROWS, UNUSED_NAMES, Attack, Submission, submissions
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

SEED = 11


class Graded(Protocol):
    def __call__(self, twin: str, seed: int | None = None) -> Awaitable[Grade]: ...


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
    """Grades the twin of a given id on a seed, once."""
    known: dict[tuple[str, int | None], Grade] = {}
    sources = {submission.id: submission.source for submission in TWINS}

    async def grade(twin: str, seed: int | None = None) -> Grade:
        if (twin, seed) not in known:
            known[twin, seed] = await grader.grade(sources[twin], seed=seed)
        return known[twin, seed]

    return grade


def lost_rows(grade: Grade) -> tuple[str, ...]:
    return tuple(row.id for row in grade.rows if not row.passed)


def slips(grade: Grade) -> set[str]:
    return {slip for row in grade.rows for slip in SLIPS.findall(row.detail)}


@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if not attack.overfit], ids=str)
async def test_an_attack_never_scores_above_its_twin(hasty_grader: Grader, twin_graded: Graded, attack: Attack) -> None:
    grade, twin = await hasty_grader.grade(attack.source), await twin_graded(attack.twin)

    assert grade.score <= twin.score
    assert grade.points <= twin.points


@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if attack.id not in UNUSED_NAMES], ids=str)
async def test_what_is_drawn_cannot_be_fitted_either(hasty_grader: Grader, twin_graded: Graded, attack: Attack) -> None:
    grade, twin = await hasty_grader.grade(attack.source, seed=SEED), await twin_graded(attack.twin, SEED)

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
