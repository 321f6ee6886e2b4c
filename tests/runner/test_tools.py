from typing import Any

import pytest

from runner.answers import Execution
from runner.tools import RESULT_LIMIT, ToolCall, ToolInputError, describe_execution, text_argument, tool_calls


def test_everything_the_sandbox_says_is_told() -> None:
    told = describe_execution(
        Execution(status="error", stdout="a\n", stderr="warn\n", result=None, error="Traceback: boom")
    )
    assert told == "status: error\nstdout:\na\nstderr:\nwarn\nerror:\nTraceback: boom"


def test_a_result_that_is_no_text_is_written_as_json() -> None:
    assert describe_execution(Execution(status="ok", result=[1, None])) == "result:\n[1, null]"


@pytest.mark.parametrize("falsy", ["0", "''", 0, False])
def test_a_falsy_result_is_still_a_result(falsy: Any) -> None:
    assert describe_execution(Execution(status="ok", result=falsy)).startswith("result:\n")


def test_silence_is_explained() -> None:
    assert "no output" in describe_execution(Execution(status="ok"))


def test_long_output_is_cut_and_says_so() -> None:
    told = describe_execution(Execution(status="ok", stdout="x" * (RESULT_LIMIT + 5)))
    assert told.count("x") == RESULT_LIMIT
    assert "(5 more characters cut)" in told


def test_output_at_the_limit_is_left_whole() -> None:
    assert "cut" not in describe_execution(Execution(status="ok", stdout="x" * RESULT_LIMIT))


def test_truncation_by_the_sandbox_is_passed_on() -> None:
    assert "the rest is lost" in describe_execution(Execution(status="output_limit", stdout="x", truncated=True))


def test_calls_are_found_in_order_among_other_blocks() -> None:
    content: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "tool_use", "id": "a", "name": "n", "input": {}},
        {"type": "text", "text": "x"},
        {"type": "tool_use", "id": "b", "name": "m", "input": {"k": 1}},
    ]
    assert tool_calls(content) == [ToolCall("a", "n", {}), ToolCall("b", "m", {"k": 1})]


@pytest.mark.parametrize("wrong", [{}, {"code": 1}, {"code": "x", "more": 1}, [], "x", None])
def test_an_argument_of_the_wrong_shape_is_named_with_what_was_expected(wrong: Any) -> None:
    with pytest.raises(ToolInputError, match=r"submit_code takes exactly one argument, 'code', a string\."):
        text_argument(ToolCall("a", "submit_code", wrong), "code")
