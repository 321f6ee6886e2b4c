"""Judges submissions: which inputs they get, what must hold of the answers, what that is worth.

`Grader` is the whole interface, with `Tracer` for people who want to see what becomes of the public inputs. Cases,
checks, scan and score are pure functions over plain data; only those two drive processes, through the `Executor`
protocol.
"""

from service.grading.audit import Integrity
from service.grading.executor import CodeProcess, Executor, ProcessOutcome
from service.grading.grader import Grader
from service.grading.scan import GUARDRAIL_WORDS
from service.grading.score import GRADER_VERSION, Grade, Row
from service.grading.trace import CallTrace, CaseTrace, EventTrace, Fate
from service.grading.tracer import Tracer

__all__ = [
    "GRADER_VERSION",
    "GUARDRAIL_WORDS",
    "CallTrace",
    "CaseTrace",
    "CodeProcess",
    "EventTrace",
    "Executor",
    "Fate",
    "Grade",
    "Grader",
    "Integrity",
    "ProcessOutcome",
    "Row",
    "Tracer",
]
