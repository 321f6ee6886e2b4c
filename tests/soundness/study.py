"""What is graded, and what must hold of it."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

from service.grading import Grade, Grader
from service.task import fragile_pipeline
from tests.grading.corpus import ROWS, UNUSED_NAMES, Attack, attacks, submissions

__all__ = ["FLOORS", "METHODS", "Study"]

METHODS = ("honest/median_mad", "honest/quartile_fences", "honest/sigma_clip", "honest/tukey_biweight")
"""Solutions that find outliers in different ways, graded on more seeds than the others."""

_AT_A_TIME = 4
_TIMED_PAIRS = 100
_MOST_COST = 3.0
_CONSTANT = """
def process_batch(events, state):
    telemetry = {"guardrail": 0}
    row = {"ts": 0, "reading": 0.0, "tag": "core"}
    state = {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3}
    return {"clean": [row], "mean": 0.0, "std": 0.0, "alerts": [], "telemetry": telemetry, "state": state}
"""
FLOORS = {
    "does nothing": "def process_batch(events, state):\n    return {}\n",
    "the fragile pipeline": fragile_pipeline(),
    "a constant answer": _CONSTANT,
}

Seed = int | None


class Study:
    """Grades, and findings: what does not hold.

    Attributes:
        honest, floors: scores by name and seed, None for the classic suite.
        lost: rows that an honest solution lost, with their seeds and reasons.
        losers: how many submissions of the corpus lose each row on the classic suite, how many on seed 0.
        cost_ratio: what a hardened grade takes, in classic ones; medians of grades made in turn.
        counts: how many of each were graded.
        findings: what does not hold, in one line each.
    """

    def __init__(self, grader: Grader, seeds: range, method_seeds: range, attack_seeds: range) -> None:
        self._grader = grader
        self.seeds = seeds
        self.method_seeds = method_seeds
        self.attack_seeds = attack_seeds
        self._turn = asyncio.Semaphore(_AT_A_TIME)
        self.honest: dict[str, dict[Seed, float]] = {}
        self.floors: dict[str, dict[Seed, float]] = {}
        self.lost: list[str] = []
        self.losers: dict[str, Counter[str]] = {"classic": Counter(), "hardened": Counter()}
        self.attacks_above: dict[str, int] = {"classic": 0, "hardened": 0}
        self.cost_ratio = 0.0
        self.counts: Counter[str] = Counter()
        self.findings: list[str] = []

    async def run(self, told: Callable[[str], object]) -> None:
        """Grades everything."""
        for name, part in (
            ("cost", self._cost()),
            ("honest solutions", self._honest()),
            ("floors", self._floors()),
            ("attacks beside their twins", self._attacks()),
            ("grafts", self._grafts()),
            ("the same again", self._determinism()),
            ("rows", self._rows()),
        ):
            told(name)
            await part

    async def _grades(self, source: str, seeds: Iterable[Seed]) -> dict[Seed, Grade]:
        async def one(seed: Seed) -> Grade:
            async with self._turn:
                self.counts["grades"] += 1
                return await self._grader.grade(source, seed=seed)

        listed = list(seeds)
        return dict(zip(listed, await asyncio.gather(*map(one, listed)), strict=True))

    async def _cost(self) -> None:
        source = next(each.source for each in submissions("honest") if each.id == METHODS[0])
        took: dict[bool, list[float]] = {True: [], False: []}
        for index in range(2 * _TIMED_PAIRS):
            began = time.perf_counter()
            await self._grades(source, [index if index % 2 else None])
            took[bool(index % 2)].append(time.perf_counter() - began)
        self.cost_ratio = median(took[True]) / median(took[False])
        if self.cost_ratio >= _MOST_COST:
            self.findings.append(f"a hardened grade costs {self.cost_ratio:.2f} classic ones")

    async def _honest(self) -> None:
        for submission in submissions("honest"):
            seeds = self.method_seeds if submission.id in METHODS else self.seeds
            grades = await self._grades(submission.source, (None, *seeds))
            self.honest[submission.id] = {seed: grade.score for seed, grade in grades.items()}
            for seed, grade in grades.items():
                self.lost += [
                    f"{submission.id}, seed {seed}: {row.id}: {row.detail}" for row in grade.rows if not row.passed
                ]
        self.findings += self.lost

    async def _floors(self) -> None:
        for name, source in FLOORS.items():
            grades = await self._grades(source, (None, *self.method_seeds))
            self.floors[name] = {seed: grade.score for seed, grade in grades.items()}
            highest = max(self.floors[name].values())
            if highest > 0.4 or (name == "the fragile pipeline" and highest > 0.2):
                self.findings.append(f"{name} scores {highest}")

    async def _attacks(self) -> None:
        twins = {twin.id: await self._grades(twin.source, (None, *self.attack_seeds)) for twin in submissions("twins")}
        self.counts["twins"] = len(twins)
        await asyncio.gather(*(self._attack(attack, twins[attack.twin]) for attack in attacks()))

    async def _attack(self, attack: Attack, twin: Mapping[Seed, Grade]) -> None:
        self.counts["attacks"] += 1
        drawn = [] if attack.id in UNUSED_NAMES else [*self.attack_seeds]
        seeds: Sequence[Seed] = [*([] if attack.overfit else [None]), *drawn]
        for seed, grade in (await self._grades(attack.source, seeds)).items():
            if grade.score > twin[seed].score or grade.points > twin[seed].points:
                self.attacks_above["classic" if seed is None else "hardened"] += 1
                self.findings.append(
                    f"{attack.id}, seed {seed}: {grade.points} points, its twin has {twin[seed].points}"
                )

    async def _grafts(self) -> None:
        for graft in submissions("grafts"):
            self.counts["grafts"] += 1
            for seed, grade in (await self._grades(graft.source, (None, *self.attack_seeds))).items():
                if not set(graft.loses) <= set(_lost_rows(grade)):
                    self.findings.append(f"{graft.id}, seed {seed}: keeps {', '.join(graft.loses)}")

    async def _determinism(self) -> None:
        for submission in submissions("honest", "grafts", "wrong"):
            self.counts["graded twice"] += 1
            once, again = [await self._grades(submission.source, (None, 0)) for _ in range(2)]
            if once != again:
                self.findings.append(f"{submission.id}: two runs differ")

    async def _rows(self) -> None:
        for submission in submissions("honest", "edge", "wrong", "grafts"):
            for seed, grade in (await self._grades(submission.source, (None, 0))).items():
                suite = "classic" if seed is None else "hardened"
                self.losers[suite].update(_lost_rows(grade))
        for suite, losers in self.losers.items():
            self.findings += [f"no submission loses {row} on {suite}" for row in ROWS if not losers[row]]


def _lost_rows(grade: Grade) -> tuple[str, ...]:
    return tuple(row.id for row in grade.rows if not row.passed)
