import io
import os
import pty
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from runner.records import SCRIPTED_NOTICE, Check, Grade, Outcome, PassBand, Usage, summarise
from runner.report import Reporter, episode_line, grade_lines, neutralised, summary_lines
from tests.runner.made import config, record

PASS = {"outcome": Outcome.PASSED, "score": 1.0, "feedback": "✓ All tiers stable"}


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (record(3, **PASS), "✅ Run 3: 100% - ✓ All tiers stable"),
        (record(1), "❌ Run 1: 80% - ✗ Tier1 cascade unresolved"),
        (record(2, score=0.0, feedback="No submission"), "❌ Run 2: 0% - No submission"),
        (record(4, Outcome.LIMIT, 0.0, "Context window exceeded"), "❌ Run 4: 0% - Context window exceeded"),
        (record(4, Outcome.REFUSED, 0.0, "Refused: x"), "❌ Run 4: 0% - Refused: x"),
        (record(5, Outcome.INFRA_ERROR, feedback="overloaded"), "⚠️ Run 5: invalid - overloaded"),
        (record(6, Outcome.CANCELLED), "⚠️ Run 6: cancelled"),
    ],
)
def test_an_episode_is_one_line(made: Any, line: str) -> None:
    assert episode_line(made) == line


def test_a_long_feedback_is_cut() -> None:
    assert len(episode_line(record(feedback="x" * 100_000))) < 500


def ten(passed: Any) -> Any:
    return [record(n, **PASS) for n in range(passed)] + [record(n, score=0.5) for n in range(passed, 10)]


def test_the_summary_of_a_live_run() -> None:
    assert summary_lines(summarise(config(), ten(1))) == ["Passed: 1/10 (10.0%)", "Avg Score: 55.0%", "✅ Target met"]


@pytest.mark.parametrize(("passed", "met"), [(0, False), (1, True), (4, True), (5, False), (10, False)])
def test_the_band_includes_both_its_ends(passed: Any, met: Any) -> None:
    assert summarise(config(), ten(passed)).target_met is met
    assert summary_lines(summarise(config(), ten(passed)))[-1] == ("✅ Target met" if met else "❌ Target missed")


def test_the_band_is_the_tasks_own() -> None:
    assert summarise(config(target_pass_band=PassBand(low=0.8, high=0.9)), ten(8)).target_met is True


def test_invalid_episodes_leave_the_denominator_and_are_printed() -> None:
    records = [*ten(1)[:9], record(10, Outcome.INFRA_ERROR)]
    lines = summary_lines(summarise(config(), records))
    assert lines[0] == "Passed: 1/9 (11.1%); 1 invalid"
    assert lines[1] == "Avg Score: 55.6%"


def test_cancelled_episodes_leave_the_denominator_and_are_printed() -> None:
    records = [record(1, **PASS), record(2, Outcome.CANCELLED), record(3, Outcome.INFRA_ERROR)]
    assert summary_lines(summarise(config(), records))[0] == "Passed: 1/1 (100.0%); 1 invalid; 1 cancelled"


def test_limits_and_refusals_count_as_zero() -> None:
    records = [record(1, **PASS), record(2, Outcome.LIMIT, 0.0), record(3, Outcome.REFUSED, 0.0), record(4, score=0.0)]
    lines = summary_lines(summarise(config(), records))
    assert lines[:2] == ["Passed: 1/4 (25.0%)", "Avg Score: 25.0%"]


def test_without_a_valid_episode_there_is_neither_average_nor_verdict() -> None:
    lines = summary_lines(summarise(config(), [record(1, Outcome.INFRA_ERROR)]))
    assert lines == ["Passed: 0/0 (no valid episode); 1 invalid"]


def test_a_scripted_run_says_so_and_gets_no_verdict() -> None:
    scripted = config(scripted=True, notice=SCRIPTED_NOTICE)
    lines = summary_lines(summarise(scripted, ten(1)))
    assert lines == ["Passed: 1/10 (10.0%)", "Avg Score: 55.0%", SCRIPTED_NOTICE]
    assert summarise(scripted, ten(1)).target_met is None


def test_usage_is_summed_over_all_episodes() -> None:
    records = [record(n, usage=Usage(input_tokens=n, cache_read_input_tokens=1)) for n in (1, 2, 3)]
    assert summarise(config(), records).usage == Usage(input_tokens=6, cache_read_input_tokens=3)


@pytest.mark.parametrize(
    ("foreign", "harmless"),
    [
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x9b31m", "\\x9b31m"),
        ("a\r\nb\tc\x07", "a\\r\\nb\\tc\\x07"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("\u2028", "\\u2028"),
        ("\x7f\x00", "\\x7f\\x00"),
        ("✓ ä 漢 ⚠️ [bold]", "✓ ä 漢 ⚠️ [bold]"),
    ],
)
def test_foreign_text_cannot_command_a_terminal(foreign: str, harmless: str) -> None:
    assert neutralised(foreign) == harmless


def test_line_breaks_are_kept_where_they_belong() -> None:
    assert neutralised("a\nb\x1b", keep="\n") == "a\nb\\x1b"


def printed(stream: Any) -> None:
    foreign = record(1, feedback="[red]x[/red] :smile: \x1b]0;title\x07" + "y" * 200)
    with Reporter(stream, 2) as reporter:
        reporter.header(config(episodes=2), Path("runs/run"))
        reporter.episode(foreign)
        reporter.episode(record(2, **PASS))
        reporter.summary(summarise(config(), [foreign, record(2, **PASS)]))


EXPECTED_EPISODE = "❌ Run 1: 80% - [red]x[/red] :smile: \\x1b]0;title\\x07" + "y" * 200


def test_in_a_pipe_lines_are_plain_and_whole() -> None:
    stream = io.StringIO()
    printed(stream)
    assert stream.getvalue().splitlines() == [
        "Model:    claude-sonnet-5-5",
        "Service:  http://127.0.0.1:1",
        "Suite:    classic",
        "Episodes: 2, 5 at a time, seed 0",
        "Records:  runs/run",
        "",
        EXPECTED_EPISODE,
        "✅ Run 2: 100% - ✓ All tiers stable",
        "Passed: 1/2 (50.0%)",
        "Avg Score: 90.0%",
        "❌ Target missed",
    ]


def test_on_a_terminal_the_same_lines_stand_beside_a_bar_and_foreign_escapes_do_not_get_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    reader, writer = pty.openpty()
    seen = bytearray()

    def read() -> None:
        while True:
            try:
                chunk = os.read(reader, 65536)
            except OSError:
                return
            if not chunk:
                return
            seen.extend(chunk)

    thread = threading.Thread(target=read)
    thread.start()
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        printed(stream)
    thread.join()
    os.close(reader)
    text = seen.decode()
    assert EXPECTED_EPISODE in text
    assert "✅ Run 2: 100% - ✓ All tiers stable" in text
    assert re.search(r"Running.*2/2", text.replace("\r", ""))
    assert "\x1b]0;" not in text
    assert "\x07" not in text


def test_a_grade_is_a_table() -> None:
    checks = [
        Check(id="tier1", title="Tier 1", passed=False, points=0, max_points=20, detail="row 2: reading is text"),
        Check(id="tier2_flat", title="Tier 2", passed=True, points=10, max_points=10),
    ]
    grade = Grade(
        passed=False,
        score=0.8,
        points=10,
        feedback="✗ Tier1 cascade unresolved",
        checks=checks,
        suite="hardened",
        seed=4,
        grader_version="1.2",
    )
    assert grade_lines(grade) == [
        "❌ 80% - ✗ Tier1 cascade unresolved",
        "  ✗ tier1       Tier 1    0/20  row 2: reading is text",
        "  ✓ tier2_flat  Tier 2   10/10",
        "  10/100 points; suite hardened, seed 4, grader 1.2",
    ]
