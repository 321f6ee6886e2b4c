"""Judges the answers to one case as they come, and keeps none of them."""

import hashlib
from typing import Any

from service.grading.answers import Answer, BrokenError
from service.grading.cases import HANDED_ON, Call, Case, valid_range
from service.grading.checks import CLASSIC_CHECKS, Given, check_spread
from service.grading.executor import ProcessOutcome
from service.grading.hardened_checks import HARDENED_CHECKS, TelemetryEvidence

__all__ = ["CaseJudge"]


class CaseJudge:
    """One case's verdict in the making.

    Attributes:
        case: whose calls are made.
        row_broken: why the case's row is lost, None while it holds.
        spread_broken: why `mean` or `std` of a call is not valid, None while they are.
        reported_state: what the last call returned as its state, to be handed on to another process.
        telemetry: what is known of it, in a drawn flood; None elsewhere.
    """

    def __init__(self, case: Case, *, witnessed: bool = False) -> None:
        """Hears nothing yet.

        Args:
            case: whose calls are made.
            witnessed: whether `digest` is wanted: it costs.
        """
        self.case = case
        self._witness = hashlib.sha256() if witnessed else None
        self._heard = 0
        self._given = Given.by(case.calls[0].state)
        self._check = (HARDENED_CHECKS if case.drawn else CLASSIC_CHECKS)[case.row]
        self._ranges: dict[int, tuple[float, float]] = {}
        self.row_broken: str | None = None
        self.spread_broken: str | None = None
        self.reported_state: Any = None
        self.telemetry = TelemetryEvidence() if case.drawn and case.row == "tier3" else None

    @property
    def digest(self) -> str:
        """Of `clean`, `mean` and `std` in all answers so far, where they are witnessed."""
        return self._witness.hexdigest() if self._witness is not None else ""

    @property
    def was_called(self) -> bool:
        """Whether an answer was judged, or given up."""
        return self._heard > 0 or self.row_broken is not None

    @property
    def next_call(self) -> Call | None:
        """The call whose answer can still change the verdict."""
        calls = self.case.calls
        return calls[self._heard] if self.row_broken is None and self._heard < len(calls) else None

    def take(self, outcome: ProcessOutcome) -> None:
        """Judges what came of the next call, answer or not."""
        if outcome.ok:
            self.hear(Answer(outcome.returned, outcome.given_state))
        else:
            self.fail(outcome.summary)

    def hear(self, answer: Answer) -> None:
        """Judges the answer to the next call."""
        call = self.case.calls[self._heard]
        if call.state is not HANDED_ON:
            self._given = Given.by(call.state)
        if self.telemetry is not None:
            self.telemetry.hear(call, answer)
        if self._witness is not None and type(answer.returned) is dict:
            told = [answer.returned.get(key) for key in ("clean", "mean", "std")]
            self._witness.update(repr(told).encode("utf-8", "backslashreplace"))
        try:
            self._check(self.case, call, self._given, answer)
        except BrokenError as broken:
            self.fail(str(broken))
            return
        self._heard += 1
        self.reported_state = answer.returned.get("state")
        self._given = Given.by(self.reported_state)
        try:
            check_spread(self._range_of(call), answer)
        except BrokenError as broken:
            self.spread_broken = self.spread_broken or str(broken)

    def fail(self, reason: str) -> None:
        """Gives the row up because of the next call."""
        calls = len(self.case.calls)
        self.row_broken = f"call {self._heard + 1} of {calls}: {reason}" if calls > 1 else reason

    def _range_of(self, call: Call) -> tuple[float, float]:
        if id(call.events) not in self._ranges:  # the case keeps them, so nothing else can get their place
            self._ranges[id(call.events)] = valid_range(call.events)
        return self._ranges[id(call.events)]
