"""The study as a document."""

import platform
import sys
from statistics import fmean

from service.grading import GRADER_VERSION
from tests.grading.corpus import ROWS
from tests.soundness.study import METHODS, Study

__all__ = ["text"]

_HEAD = """# Soundness

What the corpus in `tests/submissions/` comes to, every submission graded for real. Written by `make soundness`, which
exits with 1 when something here does not hold.

Measured with `{command}`, grader {version}, Python {python} on {machine}: {grades:,} grades.

"""


def text(study: Study, command: str) -> str:
    """Writes the document.

    Args:
        study: that has been run.
        command: that ran it.
    """
    head = _HEAD.format(
        command=command,
        version=GRADER_VERSION,
        python=".".join(map(str, sys.version_info[:3])),
        machine=platform.machine(),
        grades=study.counts["grades"],
    )
    return head + "\n".join((*_promises(study), *_floors(study), *_rows(study), *_honest(study)))


_NOTES = """
Attacks that `classic` accepts by its published rules (fitted to its public inputs, words in comments, rows kept beside
the buffer) are compared on `hardened` alone. Names that nobody uses count in both, for looking for what is reachable
would punish honest code. What merely forges its own answer stands beside a submission that returns the same.
"""


def _promises(study: Study) -> list[str]:
    honest, counts, above, found = study.honest, study.counts, study.attacks_above, study.findings
    least = min(score for scores in honest.values() for score in scores.values())
    kept = sum(each.startswith("grafts/") and "keeps" in each for each in found)
    differ = sum("two runs differ" in each for each in found)
    seeds, method_seeds, attack_seeds = len(study.seeds), len(study.method_seeds), len(study.attack_seeds)
    measured = {
        "honest solutions score 1.0": f"{len(honest)} of them, {seeds} seeds, {len(METHODS)} of them {method_seeds:,}: "
        f"least {least:g}, {len(study.lost)} lost",
        "no attack scores above its twin": f"{counts['attacks']} attacks, {attack_seeds} seeds: "
        f"{above['classic']} above on `classic`, {above['hardened']} on `hardened`",
        "good code with one violation loses that row": f"{counts['grafts']} grafts, {attack_seeds} seeds: {kept} kept",
        "the same grade again, rows and reasons": f"{counts['graded twice']} submissions: {differ} differ",
        "a `hardened` grade costs less than three `classic` ones": f"{study.cost_ratio:.2f} (medians, made in turn)",
    }
    lines = ["| what must hold on `classic` and on every seed | measured |", "| --- | --- |"]
    lines += [f"| {promise} | {result} |" for promise, result in measured.items()]
    return [*lines, _NOTES, *(["What does not hold:", "", *(f"- {each}" for each in found), ""] if found else [])]


def _floors(study: Study) -> list[str]:
    lines = [
        "## Floors",
        "",
        "| submission | `classic` | `hardened`, mean | `hardened`, highest |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, scores in study.floors.items():
        drawn = [score for seed, score in scores.items() if seed is not None]
        lines.append(f"| {name} | {scores[None]:g} | {fmean(drawn):.3f} | {max(drawn):g} |")
    return [*lines, ""]


def _rows(study: Study) -> list[str]:
    lines = [
        "## How many of the corpus lose each row",
        "",
        "| row | `classic` | `hardened`, seed 0 |",
        "| --- | ---: | ---: |",
    ]
    lines += [f"| `{row}` | {study.losers['classic'][row]} | {study.losers['hardened'][row]} |" for row in ROWS]
    return [*lines, ""]


def _honest(study: Study) -> list[str]:
    lines = ["## Honest solutions", "", "| solution | `classic` | seeds at 1.0 |", "| --- | ---: | ---: |"]
    for name, scores in study.honest.items():
        full = sum(score == 1.0 for seed, score in scores.items() if seed is not None)
        lines.append(f"| `{name.removeprefix('honest/')}` | {scores[None]:g} | {full:,} of {len(scores) - 1:,} |")
    return [*lines, ""]
