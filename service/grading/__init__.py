"""Judges submissions: which inputs they get, what must hold of the answers, what that is worth.

`Grader` is the whole interface. Cases, checks, scan and score are pure functions over plain data; only the grader
drives processes, through the `Executor` protocol.
"""

from service.grading.audit import Integrity
from service.grading.executor import CodeProcess, Executor, ProcessOutcome
from service.grading.grader import Grader
from service.grading.scan import GUARDRAIL_WORDS
from service.grading.score import GRADER_VERSION, Grade, Row

__all__ = [
    "GRADER_VERSION",
    "GUARDRAIL_WORDS",
    "CodeProcess",
    "Executor",
    "Grade",
    "Grader",
    "Integrity",
    "ProcessOutcome",
    "Row",
]
