"""What is kept of an episode, and how one call changes it. Pure: every change is a new state."""

from typing import Self

from pydantic import BaseModel, ConfigDict

from service.episodes.models import OUTCOMES, EpisodeRequest, EpisodeStatus, EpisodeView
from service.errors import EpisodeFinishedError
from service.schemas import GradeResponse

__all__ = ["EpisodeState", "Grading"]

_LOST_STEP_S = 60.0

_ENDED = {
    EpisodeStatus.GRADING: "The episode's submission is being graded.",
    EpisodeStatus.SUBMITTED: "The episode has ended: its submission was graded.",
    EpisodeStatus.STEP_LIMIT: "The episode has ended: it has used up its steps.",
    EpisodeStatus.TIME_LIMIT: "The episode has ended: its time is over.",
    EpisodeStatus.ABANDONED: "The episode has ended: it was ended without a submission.",
    EpisodeStatus.FAULT: "The episode has ended: its submission could not be graded, which is the service's fault.",
}
_REPLACED = "The episode has ended: another one was begun in its place."


class Grading(BaseModel):
    """A submission that somebody grades.

    Attributes:
        code: its source, for whoever takes over.
        owner: which process grades it.
        until: when it may be taken over, Unix time: its owner has moved this on unless it is gone.
    """

    model_config = ConfigDict(frozen=True)

    code: str
    owner: str
    until: float


class EpisodeState(BaseModel):
    """An episode between two calls.

    Attributes:
        id: what its owner knows it by.
        key: what it is kept under.
        caller: whose share it counts for, where callers have one; a digest.
        birth: tells it from one that is begun anew under the same id.
        request: what it is about, with its seed drawn.
        step_limit: tool calls.
        deadline: Unix time.
        steps: tool calls so far, with those under way.
        stepped_at: when the last one began, Unix time.
        outcome: how it ended, None while it has not.
        grade: of its submission.
        grading: its submission, while that is graded.
        submission: the call that handed it in, of which another one with the same id and code is no second attempt.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    key: str
    caller: str = ""
    birth: str
    request: EpisodeRequest
    step_limit: int
    deadline: float
    steps: int = 0
    stepped_at: float = 0.0
    outcome: EpisodeStatus | None = None
    grade: GradeResponse | None = None
    grading: Grading | None = None
    submission: str | None = None

    @property
    def status(self) -> EpisodeStatus:
        """Where it is, as far as it has been looked at."""
        if self.outcome is not None:
            return self.outcome
        return EpisodeStatus.RUNNING if self.grading is None else EpisodeStatus.GRADING

    @property
    def ends_at(self) -> float:
        """When it ends if nothing is done, Unix time: its last step may be lost with the process that ran it."""
        if self.steps < self.step_limit:
            return self.deadline
        return min(self.deadline, self.stepped_at + _LOST_STEP_S)

    def settled(self, now: float) -> Self:
        """Ended by its time or by a last step that does not come back, if nothing is being graded."""
        if self.status is not EpisodeStatus.RUNNING or now < self.ends_at:
            return self
        return self._with(outcome=EpisodeStatus.TIME_LIMIT if now >= self.deadline else EpisodeStatus.STEP_LIMIT)

    def check_running(self) -> None:
        """Lets a call pass.

        Raises:
            EpisodeFinishedError: it takes none any more.
        """
        if self.status is not EpisodeStatus.RUNNING:
            raise EpisodeFinishedError(_ENDED[self.status])
        if self.steps >= self.step_limit:  # calls of before are still under way
            raise EpisodeFinishedError(_ENDED[EpisodeStatus.STEP_LIMIT])

    def stepping(self, now: float) -> Self:
        """One more step, under way."""
        self.check_running()
        return self._with(steps=self.steps + 1, stepped_at=now)

    def not_stepped(self) -> Self:
        """A step that was under way has come to nothing, and costs nothing."""
        return self._with(steps=self.steps - 1)

    def stepped(self) -> Self:
        """A step that was under way is over."""
        if self.status is EpisodeStatus.RUNNING and self.steps >= self.step_limit:
            return self._with(outcome=EpisodeStatus.STEP_LIMIT)
        return self

    def has_taken(self, submission: str | None) -> bool:
        """Whether a call is the one that handed in its submission, made again."""
        return submission is not None and submission == self.submission

    def submitting(self, grading: Grading, submission: str | None, birth: str) -> Self:
        """Out of play, with a submission to the episode of this birth that is graded; a second time changes nothing."""
        if self.birth != birth:
            raise EpisodeFinishedError(_REPLACED)
        if self.has_taken(submission):
            return self
        self.check_running()
        return self._with(grading=grading, submission=submission)

    def graded_by(self, owner: str, until: float) -> Self:
        """Its submission is graded by somebody else, or by the same one for longer."""
        if self.grading is None:
            return self
        return self._with(grading=self.grading.model_copy(update={"owner": owner, "until": until}))

    def handed_on(self) -> Self:
        """Its submission is to be graded by whoever looks next."""
        return self.graded_by("", 0)

    def refused(self) -> Self:
        """Its submission was not graded, through nobody's fault: the episode goes on."""
        return self._with(grading=None, submission=None)

    def graded(self, grade: GradeResponse | None) -> Self:
        """Ended by its submission; without a grade, through the service's fault."""
        outcome = EpisodeStatus.SUBMITTED if grade is not None else EpisodeStatus.FAULT
        return self._with(grading=None, grade=grade, outcome=outcome, steps=self.steps + 1)

    def abandoned(self) -> Self:
        """Ended without a submission, unless it has ended or one is being graded."""
        return self._with(outcome=EpisodeStatus.ABANDONED) if self.status is EpisodeStatus.RUNNING else self

    def view(self, now: float) -> EpisodeView:
        """How it is told of."""
        grade, done = self.grade, self.status in OUTCOMES
        return EpisodeView(
            id=self.id,
            suite=self.request.suite,
            split=self.request.split,
            seed=self.request.seed,
            status=self.status,
            done=done,
            reward=self._reward(),
            grade=grade,
            rows={row.id: row.points for row in grade.checks} if grade else None,
            steps=self.steps,
            step_limit=self.step_limit,
            time_left_s=0.0 if done else round(max(0.0, self.deadline - now), 3),
        )

    def _reward(self) -> float | None:
        if self.outcome is None or self.outcome is EpisodeStatus.FAULT:
            return None
        return self.grade.score if self.grade else 0.0

    def _with(self, **changes: object) -> Self:
        return self.model_copy(update=changes)
