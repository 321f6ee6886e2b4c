"""Runs on disk for the tests of the report, and a reader of its page."""

from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from runner.records import CallRecord, ErrorRecord, Outcome, RunSummary, Usage
from runner.report.page import write_page
from runner.stats import confidence_of, summarise
from runner.store import Run, RunStore, read_run
from tests.runner.claude import python, submit, text, thinking
from tests.runner.made import config, grade, record

PROMPT = "Harden this pipeline.\n\nIt breaks."
CODE = 'def process_batch(events, state):\n    return {"clean": []}  # guardrail\n'

VOID = {"link", "meta"}


def call(number: int = 1, **changes: Any) -> Any:
    values = {
        "message_id": f"msg_{number}",
        "request_id": f"req_{number}",
        "model": "claude-sonnet-5-5",
        "stop_reason": "tool_use",
        "usage": Usage(input_tokens=10, output_tokens=5, cache_read_input_tokens=30, cache_creation_input_tokens=20),
        "cost_usd": 0.25,
        "attempts": 1,
        "duration_s": 2.0,
        "wait_s": 0.0,
    }
    return CallRecord(**{**values, **changes})


def told(*blocks: Any) -> Any:
    return {"role": "user", "content": list(blocks)}


def said(*blocks: Any) -> Any:
    return {"role": "assistant", "content": list(blocks)}


def result(content: Any, identifier: str = "toolu_1", *, is_error: bool = False) -> Any:
    block = {"type": "tool_result", "tool_use_id": identifier, "content": content}
    return {**block, "is_error": True} if is_error else block


def talk(code: str = CODE, feedback: str = "✓ All tiers stable") -> Any:
    """A conversation of two steps."""
    return [
        told(text(PROMPT)),
        said(thinking("It divides by zero."), text("I will try it."), python("1 / 0")),
        told(result("status: error\nerror:\nZeroDivisionError: division by zero", is_error=True)),
        said(submit(code)),
        told(result(feedback, "toolu_9")),
    ]


def played(episode: int = 1, *lost: str, **changes: Any) -> Any:
    """An episode that was graded, and lost these rows."""
    graded = grade(*lost)
    calls = [call(1), call(2, duration_s=4.0)]
    values = {
        "grade": graded,
        "checks": graded.checks,
        "passed": graded.passed,
        "points": graded.points,
        "code": CODE,
        "model": "claude-sonnet-5-5",
        "steps": len(calls),
        "stop_reasons": [each.stop_reason for each in calls],
        "calls": calls,
        "usage": Usage.total(each.usage for each in calls),
        "cost_usd": 0.5,
        "request_ids": [each.request_id for each in calls],
        "work_s": 6.5,
        "duration_s": 7.0,
        "transcript": talk(),
    }
    outcome = Outcome.FAILED if lost else Outcome.PASSED
    feedback = "✗ Tier1 cascade unresolved" if lost else "✓ All tiers stable"
    return record(episode, outcome, graded.score, **{"feedback": feedback, **values, **changes})


def infra_error(episode: int = 1, **changes: Any) -> Any:
    error = ErrorRecord(kind="ModelError", message="529 overloaded_error", status=529, request_id="req_overloaded")
    values = {"feedback": "529 overloaded_error", "error": error}
    return record(episode, Outcome.INFRA_ERROR, **{**values, **changes})


def kept(path: Path, records: Sequence[Any], *, finished: bool = True, **changes: Any) -> Run:
    """A run as it is read back from the disk."""
    asked = config(**{"episodes": max(1, len(records)), **changes})
    with RunStore.create(path, asked) as store:
        for each in records:
            store.event("begun", episode=each.episode, attempt=each.attempt)
            store.append(each)
        if finished:
            store.finish(summarise(asked, records))
        return read_run(store.path)


def summary_of(run: Run) -> RunSummary:
    return summarise(run.config, run.counted, confidence=confidence_of(run.config))


def page_of(run: Run) -> str:
    file = run.path / "report.html"
    write_page(run, summary_of(run), file)
    return file.read_text(encoding="utf-8")


class Page(HTMLParser):
    """What a browser would make of a page: elements with their attributes, and the text in each kind of element."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.ids: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == [], f"not closed: {self._open}"

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value is not None]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.texts.append(data)
