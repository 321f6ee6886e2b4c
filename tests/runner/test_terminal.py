import io
import os
import pty
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from runner.answers import Check, Grade, PassBand
from runner.records import SCRIPTED_NOTICE, Discarded, Outcome, Usage
from runner.stats import summarise
from runner.terminal import Reporter, episode_line, grade_lines, summary_lines
from runner.wording import neutralised
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


BAND = "(Wilson, 95 %), band 10–40 %"


def many(passed: int, failed: int) -> Any:
    return [record(n, **PASS) for n in range(passed)] + [record(passed + n, score=0.5) for n in range(failed)]


def summary_of(records: Any, **changes: Any) -> Any:
    return summarise(config(**{"episodes": len(records), **changes}), records)


def test_the_summary_of_a_live_run_has_intervals_cost_and_the_verdict() -> None:
    paid = Usage(input_tokens=200, cache_creation_input_tokens=1300, cache_read_input_tokens=45_000, output_tokens=7)
    records = [*many(1, 8), record(9, score=0.5, usage=paid, cost_usd=0.25)]
    assert summary_lines(summary_of(records)) == [
        "Passed: 1/10 (10.0%)",
        "Avg Score: 55.0%",
        "Score interval: 43.7–66.3 % (t, 95%)",
        "Cost: $0.2500, 1.5k tokens in, 45.0k from cache, 7 out",
        f"❔ Target inconclusive at n=10: 1.8–40.4 % {BAND}; at this rate, no number would settle it",
    ]


@pytest.mark.parametrize(
    ("passed", "failed", "line"),
    [
        (
            10,
            30,
            f"❔ Target inconclusive at n=40: 14.2–40.2 % {BAND}; at this rate, about 44 might settle it",
        ),
        (12, 48, f"✅ Target met: 11.8–31.8 % {BAND}"),
        (0, 40, f"❌ Target missed: 0.0–8.8 % {BAND}"),
        (30, 10, f"❌ Target missed: 59.8–85.8 % {BAND}"),
    ],
)
def test_the_verdict_is_met_missed_or_neither(passed: int, failed: int, line: str) -> None:
    assert summary_lines(summary_of(many(passed, failed)))[-1] == line


def test_the_band_is_the_tasks_own() -> None:
    lines = summary_lines(summary_of(many(80, 20), target_pass_band=PassBand(low=0.7, high=0.9)))
    assert lines[-1] == "✅ Target met: 71.1–86.7 % (Wilson, 95 %), band 70–90 %"


def test_an_unknown_price_is_unknown_and_not_zero() -> None:
    assert "Cost: unknown, 0 tokens in" in "\n".join(summary_lines(summary_of([record(1, cost_usd=None)])))


def test_invalid_episodes_leave_the_denominator_and_are_printed() -> None:
    records = [*many(1, 8), record(10, Outcome.INFRA_ERROR)]
    lines = summary_lines(summary_of(records))
    assert lines[0] == "Passed: 1/9 (11.1%); 1 invalid"
    assert lines[1] == "Avg Score: 55.6%"


def test_cancelled_and_missing_episodes_leave_the_denominator_and_are_printed() -> None:
    records = [record(1, **PASS), record(2, Outcome.CANCELLED), record(3, Outcome.INFRA_ERROR)]
    lines = summary_lines(summary_of(records, episodes=5))
    assert lines[0] == "Passed: 1/1 (100.0%); 1 invalid; 1 cancelled; 2 not run"


def test_limits_and_refusals_count_as_zero() -> None:
    records = [record(1, **PASS), record(2, Outcome.LIMIT, 0.0), record(3, Outcome.REFUSED, 0.0), record(4, score=0.0)]
    assert summary_lines(summary_of(records))[:2] == ["Passed: 1/4 (25.0%)", "Avg Score: 25.0%"]


def test_without_a_valid_episode_there_is_neither_average_nor_verdict() -> None:
    lines = summary_lines(summary_of([record(1, Outcome.INFRA_ERROR)]))
    assert lines == ["Passed: 0/0 (no valid episode); 1 invalid", "Cost: $0.0000, 0 tokens in, 0 from cache, 0 out"]


def test_a_scripted_run_says_so_and_gets_no_cost_and_no_verdict() -> None:
    summary = summary_of(many(1, 9), scripted=True, notice=SCRIPTED_NOTICE)
    assert summary_lines(summary) == ["Passed: 1/10 (10.0%)", "Avg Score: 55.0%", SCRIPTED_NOTICE]
    assert summary.verdict is None


def test_what_was_spent_on_attempts_that_were_made_again_is_told() -> None:
    discarded = Discarded(attempts=3, usage=Usage(input_tokens=5), cost_usd=1.5)
    lines = summary_lines(summarise(config(episodes=1), [record(1)], discarded=discarded))
    assert "Spent besides on 3 attempts that were made again: $1.50" in lines


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


def printed(stream: Any, told: Any = lambda _: None) -> None:
    foreign = record(1, feedback="[red]x[/red] :smile: \x1b]0;title\x07" + "y" * 200)
    with Reporter(stream, 2) as reporter:
        reporter.header(config(episodes=2), Path("runs/run"))
        reporter.event("begun", episode=1, attempt=1)
        reporter.event("call", episode=1, usage={"input_tokens": 1200}, cost_usd=0.5)
        reporter.event("begun", episode=2, attempt=1)
        reporter.event("retry", episode=2, status=429, delay_s=7.0)
        reporter.event("concurrency", allowed=1)
        told(reporter)
        reporter.episode(foreign)
        reporter.episode(record(2, **PASS))
        reporter.summary(summarise(config(episodes=2), [foreign, record(2, **PASS)]))


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
        *summary_lines(summary_of([record(1), record(2, **PASS)]))[2:],
    ]


def test_on_a_terminal_the_same_lines_stand_above_a_table_and_foreign_escapes_do_not_get_through(
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
        printed(stream, lambda reporter: time.sleep(0.6))  # the table is drawn four times a second
    thread.join()
    os.close(reader)
    text = seen.decode()
    assert EXPECTED_EPISODE in text
    assert "✅ Run 2: 100% - ✓ All tiers stable" in text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert re.search(r"Run +Step +Tokens +Time +Cost", plain)
    assert re.search(r"1 +1 +1\.2k +\d s +\$0\.5000", plain)
    assert re.search(r"2 +0 +0 +\d s +\$0\.0000 +waits 7 s: 429", plain)
    assert "0/2 done, 0 passed, spent $0.5000, 1 calls at a time after a rate limit" in plain
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
