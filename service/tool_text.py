"""What a model reads after a tool call. Pure."""

from service.schemas import ExecuteResponse, GradeResponse

__all__ = ["FAULT_TEXT", "execution_text", "grade_text"]

_MAX_CHARS = 16_000  # of one output: more would buy a model nothing and cost context in every later call
_STEPS_TOLD = 5
FAULT_TEXT = "The service failed while it graded. There is no grade and no reward: this is not the submission's fault."


def execution_text(execution: ExecuteResponse, steps_left: int) -> str:
    """What ran, in a form that a model can read; long output is cut and says so."""
    parts = [] if execution.status == "ok" else [f"status: {execution.status}"]
    parts += [
        f"{label}:\n{_cut(text)}"
        for label, text in (
            ("stdout", execution.stdout.rstrip("\n")),
            ("stderr", execution.stderr.rstrip("\n")),
            ("result", execution.result),
            ("error", execution.error),
        )
        if text
    ]
    if execution.truncated:
        parts.append("(the output was longer than the sandbox keeps; the rest is lost)")
    if not parts:
        parts.append("(no output: print something or end with an expression)")
    if steps_left == 0:
        parts.append("(That was the last step: the episode has ended without a submission.)")
    elif steps_left <= _STEPS_TOLD:
        parts.append(f"(steps left: {steps_left}; one of them is for submit_code)")
    return "\n".join(parts).encode("utf-8", "backslashreplace").decode()  # code may print lone surrogates


def grade_text(grade: GradeResponse) -> str:
    """The grade, row by row."""
    rows = [f"{row.id}: {row.points}/{row.max_points} - {row.detail}" for row in grade.checks]
    return "\n".join([f"Score: {grade.score:.0%} - {grade.feedback}", *rows])


def _cut(text: str) -> str:
    if len(text) <= _MAX_CHARS:
        return text
    return f"{text[:_MAX_CHARS]}\n… ({len(text) - _MAX_CHARS} more characters cut)"
