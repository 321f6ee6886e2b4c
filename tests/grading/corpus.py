"""Reads `tests/submissions/`: sources with their expected verdicts.

A file begins with a header of comments (``suite``, ``loses``, ``why``, and ``feedback`` where it says more than the
rows), then an empty line, then the submission's source. The header is no part of the submission: what is graded is
what follows it. An attack's header names a ``twin`` in the place of what is lost: the same submission with the attack
taken out. ``overfit: yes`` stands where the suite accepts what the attack does.
"""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FOLDER", "ROWS", "UNUSED_NAMES", "Attack", "Submission", "attacks", "submissions"]

FOLDER = Path(__file__).parents[1] / "submissions"
# Attacks that both suites accept: names count whether or not they are used, for looking for what is reachable would
# punish honest code.
UNUSED_NAMES = {f"attacks/stuffing_{name}" for name in ("dead_code", "unused_function", "unused_variable")}
ROWS = ("tier1", "tier2_flat", "tier2_heavy_tail", "tier3", "validity", "guardrails")


@dataclass(frozen=True, slots=True)
class Submission:
    """One source and what it must come to.

    Attributes:
        id: path below the folder, without the suffix.
        source: without the header.
        loses: rows in the rubric's order.
        never_runs: does not parse, has no entry point or dies on import: all rows are lost, and the feedback says why.
        why: what is wrong, or special, with it.
        feedback: how the feedback begins, where it never runs.
    """

    id: str
    source: str
    loses: tuple[str, ...]
    never_runs: bool
    why: str
    feedback: str

    def __str__(self) -> str:
        return self.id


@dataclass(frozen=True, slots=True)
class Attack:
    """A source that tries to earn what its twin loses.

    Attributes:
        id: path below the folder, without the suffix.
        source: without the header.
        twin: id of the submission that is left when the attack is taken out.
        overfit: fitted to what the suite is known to ask, which it accepts: it may score above its twin.
        why: what it tries.
    """

    id: str
    source: str
    twin: str
    overfit: bool
    why: str

    def __str__(self) -> str:
        return self.id

    @property
    def group(self) -> str:
        """The kind of attack: the file's name up to the first underscore."""
        return self.id.rpartition("/")[2].partition("_")[0]


def submissions(*folders: str) -> list[Submission]:
    """All of the corpus in some of its folders, in a stable order."""
    return [_read(path) for folder in folders for path in _paths(folder)]


def attacks() -> list[Attack]:
    """All attacks, in a stable order."""
    return [_read_attack(path) for path in _paths("attacks")]


def _paths(folder: str) -> list[Path]:
    return sorted((FOLDER / folder).glob("*.py"))


def _id(path: Path) -> str:
    return path.relative_to(FOLDER).with_suffix("").as_posix()


def _parts(path: Path, required: set[str], optional: set[str]) -> tuple[dict[str, str], str]:
    header, separator, source = path.read_text(encoding="utf-8").partition("\n\n")
    lines = [re.fullmatch(r"# (\w+): (.+)", line) for line in header.split("\n")]
    if not separator or not all(lines):
        raise ValueError(f"{path}: no header")
    said = {line[1]: line[2] for line in lines if line}
    if not required <= said.keys() <= required | optional or said["suite"] != "classic":
        raise ValueError(f"{path}: its header says {sorted(said)}, for the suite {said.get('suite')}")
    return said, source


def _read_attack(path: Path) -> Attack:
    said, source = _parts(path, {"suite", "twin", "why"}, {"overfit"})
    if said.get("overfit", "yes") != "yes" or not (FOLDER / f"{said['twin']}.py").is_file():
        raise ValueError(f"{path}: no such twin as {said['twin']}, or overfit is not yes")
    return Attack(_id(path), source, said["twin"], "overfit" in said, said["why"])


def _read(path: Path) -> Submission:
    said, source = _parts(path, {"suite", "loses", "why"}, {"feedback"})
    never_runs = said["loses"] == "all"
    if never_runs != ("feedback" in said):
        raise ValueError(f"{path}: what never runs, and only that, needs a feedback")
    return Submission(
        _id(path),
        source,
        _rows(path, said["loses"]),
        never_runs,
        said["why"],
        said.get("feedback", ""),
    )


def _rows(path: Path, loses: str) -> tuple[str, ...]:
    if loses in ("all", "none"):
        return ROWS if loses == "all" else ()
    rows = tuple(loses.split())
    if rows != tuple(row for row in ROWS if row in rows):
        raise ValueError(f"{path}: no rows in the rubric's order: {loses}")
    return rows


HONEST = next(each.source for each in submissions("honest") if each.id == "honest/median_mad")
HANGS_IN_THE_FLOOD = (
    HONEST.replace("def process_batch(", "def inner(")
    + """

def process_batch(events, state):
    while len(events) == 60:
        pass
    return inner(events, state)
"""
)
