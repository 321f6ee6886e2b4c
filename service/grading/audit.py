"""Whether a grade says what it seems to: the same submission on further seeds, and once more on the same inputs."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from service.grading.score import Grade
from service.task.contract import SEEDS, Split

__all__ = ["AUDITED_SEEDS", "Integrity", "derived_seeds", "integrity_of"]

AUDITED_SEEDS = 5
_COMPARED = frozenset(
    {"tier1", "tier2_flat", "tier2_heavy_tail", "tier3", "validity"}
)  # guardrails count words otherwise


@dataclass(frozen=True, slots=True)
class Integrity:
    """What an audit found; rows in the rubric's order.

    Attributes:
        seeds: of the hardened suite that the submission was graded on besides.
        scores: what it got there.
        overfit_rows: rows that hold on the inputs of the grade and are lost on most of the seeds.
        unstable_rows: rows that hold on some of the seeds only.
        nondeterministic_rows: rows whose answers were not the same when the same inputs were given again.
    """

    seeds: tuple[int, ...]
    scores: tuple[float, ...]
    overfit_rows: tuple[str, ...]
    unstable_rows: tuple[str, ...]
    nondeterministic_rows: tuple[str, ...]

    @property
    def overfit(self) -> bool:
        """Whether it fits the inputs of the grade rather than the contract."""
        return bool(self.overfit_rows)

    @property
    def nondeterministic(self) -> bool:
        """Whether the same inputs gave different answers."""
        return bool(self.nondeterministic_rows)


def derived_seeds(code: str, seed: int | None) -> tuple[int, ...]:
    """Seeds that nobody knows before the code is written, and that are the same whenever it is audited."""
    purpose = next((span for span in SEEDS.values() if seed is not None and seed in span), SEEDS[Split.TRAIN])
    return tuple(map(purpose.at, _numbers(f"{seed}\n{code}")))


def integrity_of(
    grade: Grade, further: Mapping[int, Grade], once: Mapping[str, str], again: Mapping[str, str]
) -> Integrity:
    """Compares.

    Args:
        grade: the one that is audited.
        further: grades on other seeds.
        once: of each row, a digest of the answers that were judged.
        again: the same of a second run.
    """
    held = {row.id: [_holds(other, row.id) for other in further.values()] for row in grade.rows}
    return Integrity(
        tuple(further),
        tuple(other.score for other in further.values()),
        _rows(grade, [row for row in _COMPARED if _holds(grade, row) and 2 * sum(held[row]) < len(held[row])]),
        _rows(grade, [row for row, on in held.items() if len(set(on)) > 1]),
        _rows(grade, [row for row in once if once[row] != again[row]]),
    )


def _rows(grade: Grade, ids: Sequence[str]) -> tuple[str, ...]:
    return tuple(row.id for row in grade.rows if row.id in ids)


def _holds(grade: Grade, row_id: str) -> bool:
    return next(row.passed for row in grade.rows if row.id == row_id)


def _numbers(text: str) -> Iterator[int]:
    for index in range(AUDITED_SEEDS):
        yield int.from_bytes(hashlib.sha256(f"{index}\n{text}".encode()).digest()[:8], "big")
