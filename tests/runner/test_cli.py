"""The command as a user meets it: a process, its exit status and what it prints."""

import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from runner.cli import main
from runner.records import SCRIPTED_NOTICE
from tests.runner.claude import message, submit
from tests.runner.conftest import ROOT
from tests.runner.fake_service import TASK, FakeService, problem
from tests.server import served

BAND = "(Wilson, 95 %), band 10–40 %"
PASSES = ROOT / "runner" / "offline" / "submissions" / "passes.py"
STRINGS = ROOT / "runner" / "offline" / "submissions" / "leaves_strings_dropping.py"


@pytest.fixture
def gauntlet_process(clean_environment: dict[str, str], tmp_path: Path) -> Any:
    """The command in an interpreter of its own, which takes two seconds to import the SDK."""

    def call(*arguments: Any, stdin: Any = None, **environment: Any) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "runner", *map(str, arguments)],
            capture_output=True,
            input=stdin,
            env={**clean_environment, "HOME": str(tmp_path), **environment},
            cwd=tmp_path,
            timeout=60,
            check=False,
            encoding="utf-8",
        )

    return call


@pytest.fixture
def gauntlet(clean_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same command with the same streams, environment and exit status, in this interpreter."""

    def call(*arguments: Any, **environment: Any) -> Any:
        streams = [io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(3)]
        values = {**clean_environment, "HOME": str(tmp_path), **environment}
        with monkeypatch.context() as patch, mock.patch.dict(os.environ, values, clear=True):
            patch.chdir(tmp_path)
            patch.setattr(sys, "argv", ["gauntlet", *map(str, arguments)])
            for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
                patch.setattr(sys, name, stream)
            with pytest.raises(SystemExit) as ended:
                main()
        for stream in streams[1:]:
            stream.flush()
        out, errors = (bytes(stream.buffer.getvalue()).decode() for stream in streams[1:])
        return SimpleNamespace(returncode=ended.value.code or 0, stdout=out, stderr=errors)

    return call


def records(directory: Any) -> Any:
    [run] = (directory / "runs").iterdir()
    return run, [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]


def test_ten_scripted_episodes_print_exactly_this(gauntlet_process: Any, fake: FakeService, tmp_path: Path) -> None:
    done = gauntlet_process("run", "--service", fake.url)
    assert (done.returncode, done.stderr) == (0, "")
    run, rows = records(tmp_path)
    lines = done.stdout.splitlines()
    assert lines[:7] == [
        SCRIPTED_NOTICE,
        "Model:    claude-sonnet-5-5",
        f"Service:  {fake.url}",
        "Suite:    classic",
        "Episodes: 10, 5 at a time, seed 0",
        f"Records:  runs/{run.name}",
        "",
    ]
    episodes = lines[7:17]
    assert {"✅ Run 3: 100% - ✓ All tiers stable", "❌ Run 1: 80% - ✗ Tier1 cascade unresolved"} <= set(episodes)
    assert sorted(re.sub(r"\d+:", ":", line) for line in episodes) == sorted(
        ["✅ Run : 100% - ✓ All tiers stable"]
        + ["❌ Run : 80% - ✗ Tier1 cascade unresolved"] * 5
        + ["❌ Run : 60% - ✗ Tier1 cascade unresolved; Tier2 balance broken"] * 4
    )
    assert lines[17:] == ["Passed: 1/10 (10.0%)", "Avg Score: 74.0%", SCRIPTED_NOTICE]
    printed = [int(re.findall(r"Run (\d+)", line)[0]) for line in episodes]
    assert printed == [row["episode"] for row in rows]
    assert all(row["scripted"] and row["notice"] == SCRIPTED_NOTICE for row in rows)
    assert all(row["model"] == "claude-sonnet-5-5" and row["usage"]["output_tokens"] > 0 for row in rows)


def test_config_and_summary_say_what_was_run(gauntlet: Any, fake: FakeService, tmp_path: Path) -> None:
    gauntlet("run", "--service", fake.url, "-n", "3", "--seed", "7", "--max-steps", "9")
    run, _ = records(tmp_path)
    config = json.loads((run / "config.json").read_text())
    summary = json.loads((run / "summary.json").read_text())
    asked = {"episodes": 3, "seed": 7, "suite": "classic", "scripted": True, "notice": SCRIPTED_NOTICE}
    assert config | asked == config
    assert config["limits"] == {"steps": 9, "work_s": 1800, "tokens": None, "cost_usd": None, "wait_s": 1800}
    assert (config["grader_version"], len(config["prompt_sha256"])) == ("fake", 64)
    assert summary["notice"] == SCRIPTED_NOTICE
    assert (summary["valid"], summary["verdict"]) == (3, None)


def test_a_seeded_suite_gives_each_episode_a_seed_of_its_own(gauntlet: Any, fake: FakeService) -> None:
    gauntlet("run", "--service", fake.url, "-n", "3", "--suite", "hardened", "--seed", "40")
    assert sorted(body["seed"] for name, body in fake.calls if name == "grade") == [40, 41, 42]


def test_a_stray_key_and_base_url_spend_nothing(gauntlet_process: Any, fake: FakeService) -> None:
    keys = {"ANTHROPIC_API_KEY": "sk-ant-real", "ANTHROPIC_BASE_URL": fake.url, "HTTPS_PROXY": fake.url}
    done = gauntlet_process("run", "--service", fake.url, "-n", "2", **keys)
    assert done.returncode == 0
    assert SCRIPTED_NOTICE in done.stdout
    assert "sk-ant-real" not in done.stdout + done.stderr + json.dumps(fake.headers)
    assert {name for name, _ in fake.calls} == {"task", "execute", "grade"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "-n", "0"], "'-n' / '--episodes'"),
        (["run", "--concurrency", "0"], "--concurrency"),
        (["run", "--service", "127.0.0.1:8000"], "--service"),
        (["run", "--model", " "], "--model"),
        (["run", "--seed", "-1"], "--seed"),
        (["run", "--max-steps", "many"], "--max-steps"),
        (["run", "--nope"], "--nope"),
        (["sing"], "sing"),
        (["grade", "missing.py"], "missing.py"),
        (["grade"], "FILE"),
        (["task", "--format", "yaml"], "--format"),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(gauntlet: Any, arguments: Any, words: str) -> None:
    done = gauntlet(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("gauntlet: error: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def failed(done: Any, *words: Any) -> None:
    assert done.returncode == 1
    assert done.stderr.startswith("gauntlet: error: ")
    assert done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words), done.stderr


def test_an_unreachable_service_is_told_in_one_line(gauntlet: Any) -> None:
    failed(gauntlet("run", "--service", "http://127.0.0.1:9"), "http://127.0.0.1:9 did not answer")


def test_live_without_a_key_is_told_before_anything_starts(
    gauntlet_process: Any, fake: FakeService, tmp_path: Path
) -> None:
    failed(gauntlet_process("run", "--live", "--service", fake.url), "ANTHROPIC_API_KEY", "--offline")
    assert fake.calls == []
    assert not (tmp_path / "runs").exists()


def test_a_retired_model_ends_the_run_with_the_apis_reason(
    gauntlet_process: Any, fake: FakeService, tmp_path: Path
) -> None:
    done = gauntlet_process(
        "run", "--service", fake.url, "--model", "claude-sonnet-4-20250514", PYTHONWARNINGS="default"
    )
    assert done.returncode == 1
    assert "check --model claude-sonnet-4-20250514" in done.stderr
    assert re.search(r"404 not_found_error: model: claude-sonnet-4-20250514 \(request id req_\w+\)", done.stderr)
    assert "Traceback" not in done.stderr
    _, rows = records(tmp_path)
    assert {row["outcome"] for row in rows} <= {"infra_error", "cancelled"}
    assert any(row["error"] and row["error"]["fatal"] for row in rows)


def test_a_run_without_a_valid_episode_fails(gauntlet: Any, fake: FakeService) -> None:
    fake.fault = problem(403, "no such thing")
    done = gauntlet("run", "--service", fake.url, "-n", "2")
    assert done.returncode == 1
    assert "Passed: 0/0 (no valid episode); 2 invalid" in done.stdout
    assert "no valid episode" in done.stderr


def test_a_run_in_which_nothing_was_handed_in_is_still_a_completed_run(gauntlet: Any, fake: FakeService) -> None:
    done = gauntlet("run", "--service", fake.url, "-n", "2", "--max-steps", "1")
    assert done.returncode == 0
    assert "Passed: 0/2 (0.0%)\nAvg Score: 0.0%" in done.stdout


def test_an_unwritable_directory_names_the_option(gauntlet: Any, fake: FakeService, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    failed(gauntlet("run", "--service", fake.url, "--out", "file/below"), "--out file/below")


class Running:
    """A run that is stopped in the middle."""

    def __init__(self, environment: Any, directory: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "runner", "run", "-n", "40", "--concurrency", "3", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=directory,
            encoding="utf-8",
        )
        self.directory = directory

    def wait_for(self, words: str) -> None:
        assert self.process.stdout is not None
        while words not in (line := self.process.stdout.readline()):
            assert line

    def ended(self) -> Any:
        out, errors = self.process.communicate(timeout=30)
        assert errors == ""
        run, rows = records(self.directory)
        assert (run / "summary.json").exists()
        return out, [row["outcome"] for row in rows]


@pytest.fixture
def running(clean_environment: dict[str, str], fake: FakeService, tmp_path: Path) -> Iterator[Any]:
    fake.delay_s = 0.3
    started: list[Running] = []

    def start(*arguments: str) -> Running:
        started.append(Running(clean_environment, tmp_path, "--service", fake.url, *arguments))
        return started[-1]

    yield start
    for run in started:
        with run.process:
            run.process.kill()


def test_ctrl_c_lets_what_is_in_flight_end_and_prints_the_summary(running: Any) -> None:
    run = running()
    run.wait_for(" Run ")
    run.process.send_signal(signal.SIGINT)
    run.wait_for("Stopping: up to 60 s for what is under way; Ctrl-C again stops at once")
    out, outcomes = run.ended()
    assert run.process.returncode == 130
    assert 2 <= len(outcomes) <= 8
    assert "cancelled" not in outcomes
    assert f"{40 - len(outcomes)} not run" in out


def test_ctrl_c_twice_records_what_was_in_flight_as_cancelled(running: Any, fake: FakeService) -> None:
    run = running()
    run.wait_for(" Run ")
    fake.delay_s = 30
    run.process.send_signal(signal.SIGINT)
    run.wait_for("Stopping")
    run.process.send_signal(signal.SIGINT)
    out, outcomes = run.ended()
    assert run.process.returncode == 130
    assert 1 <= outcomes.count("cancelled") <= 3
    assert f"{outcomes.count('cancelled')} cancelled" in out


def test_the_grace_of_ctrl_c_has_an_end(running: Any, fake: FakeService) -> None:
    run = running("--grace", "0.5")
    run.wait_for(" Run ")
    fake.delay_s = 30
    run.process.send_signal(signal.SIGINT)
    _, outcomes = run.ended()
    assert run.process.returncode == 130
    assert "cancelled" in outcomes


def test_sigterm_stops_at_once(running: Any, fake: FakeService) -> None:
    run = running()
    run.wait_for(" Run ")
    fake.delay_s = 30
    run.process.terminate()
    _, outcomes = run.ended()
    assert run.process.returncode == 128 + signal.SIGTERM
    assert 1 <= outcomes.count("cancelled") <= 3


def test_a_reader_that_leaves_loses_lines_and_no_episode(
    clean_environment: dict[str, str], fake: FakeService, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "runner", "run", "--service", fake.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment,
        cwd=tmp_path,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
    run, rows = records(tmp_path)
    assert len(rows) == 10
    assert (run / "summary.json").exists()


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full"])
def test_without_a_place_to_print_to_a_run_is_made_all_the_same(
    redirection: str, clean_environment: dict[str, str], fake: FakeService, tmp_path: Path
) -> None:
    command = f"{sys.executable} -m runner run -n 2 --service {fake.url} {redirection}"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, env=clean_environment, cwd=tmp_path, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(records(tmp_path)[1]) == 2


def test_what_cannot_be_printed_is_told(clean_environment: dict[str, str], fake: FakeService, tmp_path: Path) -> None:
    command = f"{sys.executable} -m runner task --service {fake.url} >/dev/full"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, env=clean_environment, cwd=tmp_path, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (
        1, "gauntlet: error: the output cannot be written (No space left on device)\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    "option", ["--max-cost", "--max-wait", "--max-seconds", "--call-timeout", "--grace", "--faults"]
)
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_an_amount_is_a_finite_number(gauntlet: Any, option: str, value: str) -> None:
    from click.testing import CliRunner

    from runner.cli import cli

    done = CliRunner().invoke(cli, ["run", option, value])
    assert done.exit_code == 2
    assert option in done.output


def test_seeds_that_leave_their_range_are_refused_before_anything_is_asked(
    gauntlet: Any, fake: FakeService, tmp_path: Path
) -> None:
    fake.task_changes = {"seeds": {"train": {"low": 0, "high": 99}, "validation": {"low": 100, "high": 199}}}
    for seed in ("98", "199", "5000"):
        done = gauntlet("run", "--service", fake.url, "-n", "3", "--suite", "hardened", "--seed", seed)
        failed(done, f"--seed {seed} with -n 3 lies within no range of seeds: train 0-99, validation 100-199")
    assert not (tmp_path / "runs").exists()
    done = gauntlet("run", "--service", fake.url, "-n", "3", "--suite", "hardened", "--seed", "197")
    assert done.returncode == 0


def test_too_few_open_files_are_told_before_anything_is_asked(
    clean_environment: dict[str, str], fake: FakeService, tmp_path: Path
) -> None:
    command = f"ulimit -n 100; {sys.executable} -m runner run --concurrency 60 --service {fake.url}"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, env=clean_environment, cwd=tmp_path, text=True, check=False
    )
    failed(done, "--concurrency 60 needs 368 open files, 100 are allowed: see ulimit -n")


def test_a_damaged_summary_is_made_anew(gauntlet: Any, fake: FakeService, tmp_path: Path) -> None:
    gauntlet("run", "--service", fake.url, "-n", "2")
    run, _ = records(tmp_path)
    whole = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text("{")
    done = gauntlet("report", run, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["summary"] == whole


def test_a_report_does_not_overwrite_the_run(gauntlet: Any, fake: FakeService, tmp_path: Path) -> None:
    gauntlet("run", "--service", fake.url, "-n", "1")
    run, _ = records(tmp_path)
    done = gauntlet("report", run, "--out", run / "episodes.jsonl")
    assert done.returncode == 2
    assert "is the run's own: name another file" in done.stderr
    assert len(records(tmp_path)[1]) == 1


def test_an_ascii_terminal_gets_escapes_instead_of_an_exception(gauntlet_process: Any, fake: FakeService) -> None:
    done = gauntlet_process("run", "--service", fake.url, "-n", "1", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "\\u274c Run 1: 80%" in done.stdout


def test_grading_a_file_prints_the_six_rows(gauntlet: Any, fake: FakeService) -> None:
    done = gauntlet("grade", STRINGS, "--service", fake.url)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "❌ 80% - ✗ Tier1 cascade unresolved"
    assert [line.split()[:2] for line in lines[1:7]] == [
        ["✗", "tier1"],
        ["✓", "tier2_flat"],
        ["✓", "tier2_heavy_tail"],
        ["✓", "tier3"],
        ["✓", "validity"],
        ["✓", "guardrails"],
    ]
    assert "80/100 points; suite classic" in lines[7]


def test_grading_standard_input_passes_with_status_0(gauntlet_process: Any, fake: FakeService) -> None:
    done = gauntlet_process("grade", "-", "--service", fake.url, stdin=PASSES.read_text())
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "✅ 100% - ✓ All tiers stable")


def test_a_grade_as_json_is_the_services_own(gauntlet: Any, fake: FakeService) -> None:
    done = gauntlet("grade", PASSES, "--service", fake.url, "--json", "--seed", "3", "--suite", "hardened")
    answer = json.loads(done.stdout)
    assert (answer["passed"], answer["seed"], answer["suite"], answer["duration_ms"]) == (True, 3, "hardened", 1)


def test_no_grade_is_neither_pass_nor_fail(gauntlet: Any, fake: FakeService) -> None:
    done = gauntlet("grade", PASSES, "--service", "http://127.0.0.1:9", "--suite", "classic")
    assert (done.returncode, done.stdout) == (3, "")
    fake.plan = [problem(401, "no token")]
    done = gauntlet("grade", PASSES, "--service", fake.url)
    assert done.returncode == 3
    assert "answered 401: no token" in done.stderr


def test_a_file_that_is_no_text_is_a_usage_error(gauntlet: Any, fake: FakeService, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_bytes(b"\xff\xfe\x00")
    done = gauntlet("grade", "x.py", "--service", fake.url)
    assert done.returncode == 2
    assert "not UTF-8 text (byte 0)" in done.stderr


def test_the_task_is_printed_as_text_with_escapes_neutralised(gauntlet: Any, fake: FakeService) -> None:
    fake.prompt_suffix = "\x1b[2J"
    done = gauntlet("task", "--service", fake.url)
    assert (done.returncode, done.stdout) == (0, TASK["prompt"] + "\\x1b[2J\n")


def test_the_task_as_json_is_asked_for_in_the_given_shape(gauntlet: Any, fake: FakeService) -> None:
    done = gauntlet("task", "--service", fake.url, "--json", "--format", "openai", "--suite", "hardened")
    assert json.loads(done.stdout)["suite"] == "hardened"
    assert fake.calls == [("task", {"suite": "hardened", "format": "openai"})]


def test_without_a_command_the_help_is_shown(gauntlet_process: Any) -> None:
    done = gauntlet_process()
    assert done.returncode == 2
    assert all(command in done.stdout + done.stderr for command in ("run", "grade", "task"))


def test_a_live_run_asks_the_api_and_prints_the_verdict(gauntlet: Any, fake: FakeService, tmp_path: Path) -> None:
    with live_api() as api:
        done = gauntlet(
            "run", "--live", "--service", fake.url, "-n", "2",
            ANTHROPIC_API_KEY="sk-ant-test", ANTHROPIC_BASE_URL=api.url,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-4:] == [
        "Passed: 2/2 (100.0%)",
        "Avg Score: 100.0%",
        "Cost: $0.0002, 24 tokens in, 6 from cache, 10 out",
        f"❔ Target inconclusive at n=2: 34.2–100.0 % {BAND}; at this rate, about 3 might settle it",
    ]
    assert SCRIPTED_NOTICE not in done.stdout
    assert api.keys == {"Bearer sk-ant-test"}
    _, rows = records(tmp_path)
    assert [(row["scripted"], row["notice"]) for row in rows] == [(False, None)] * 2
    assert "sk-ant-test" not in "".join(path.read_text() for path in (tmp_path / "runs").rglob("*.json*"))


LIVE = {"ANTHROPIC_API_KEY": "sk-ant-test"}


def test_calibrating_ends_when_the_verdict_is_settled(gauntlet: Any, fake: FakeService, tmp_path: Path) -> None:
    with live_api() as api:
        done = gauntlet(
            "calibrate", "--live", "--service", fake.url, "-n", "160", "--concurrency", "8",
            **LIVE, ANTHROPIC_BASE_URL=api.url,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "Episodes: up to 160, 8 at a time" in done.stdout
    assert done.stdout.splitlines()[-4].startswith("Passed: 40/40 (100.0%); 120 not run")
    assert "❌ Target missed: " in done.stdout
    assert "(Wilson, 98.3333 %)" in done.stdout
    assert len(records(tmp_path)[1]) == 40


def test_calibrating_goes_on_while_it_is_not_settled_and_ends_with_the_budget(
    gauntlet: Any, fake: FakeService, tmp_path: Path
) -> None:
    with live_api(passes=lambda turn: turn % 3 == 0) as api:
        done = gauntlet(
            "calibrate", "--live", "--service", fake.url, "-n", "320", "--concurrency", "1", "--max-tokens", "100",
            "--max-cost", "0.02", **LIVE, ANTHROPIC_BASE_URL=api.url,
        )  # fmt: skip
    assert done.returncode == 1
    assert "--max-cost $0.02 is spent" in done.stderr
    assert "❔ Target inconclusive at n=40: " in done.stdout
    run, rows = records(tmp_path)
    assert 40 < len(rows) < 320
    assert rows[-1]["outcome"] == "cancelled"
    summary = json.loads((run / "summary.json").read_text())
    assert 0.01 < summary["cost_usd"] <= 0.02
    assert summary["error"].startswith("--max-cost")


def test_calibrating_makes_invalid_episodes_again_and_keeps_their_cost(
    gauntlet: Any, fake: FakeService, tmp_path: Path
) -> None:
    fake.graded = itertools.cycle([problem(403, "no such thing"), None, None])
    with live_api(passes=lambda turn: turn % 3 == 0) as api:
        done = gauntlet(
            "calibrate", "--live", "--service", fake.url, "-n", "80", "--concurrency", "4",
            **LIVE, ANTHROPIC_BASE_URL=api.url,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    run, rows = records(tmp_path)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["discarded"]["attempts"] == len(rows) - len({row["episode"] for row in rows}) > 0
    assert {row["attempt"] for row in rows} == {1, 2}
    calls = [e for e in map(json.loads, (run / "events.jsonl").read_text().splitlines()) if e["event"] == "call"]
    paid = summary["usage"]["input_tokens"] + summary["discarded"]["usage"]["input_tokens"]
    assert paid == sum(call["usage"]["input_tokens"] for call in calls)


def test_a_scripted_model_is_not_calibrated(gauntlet: Any, fake: FakeService) -> None:
    done = gauntlet("calibrate", "--service", fake.url)
    assert done.returncode == 2
    assert "--live" in done.stderr


def run_twice(gauntlet: Any, fake: FakeService, tmp_path: Path, *second: str) -> Any:
    for arguments in (("--out", "a"), ("--out", "b", *second)):
        assert gauntlet("run", "--service", fake.url, "-n", "4", *arguments).returncode == 0
    return [next((tmp_path / name).iterdir()) for name in "ab"]


def test_two_runs_are_compared(gauntlet: Any, fake: FakeService, tmp_path: Path) -> None:
    first, second = run_twice(gauntlet, fake, tmp_path, "--max-steps", "1")
    done = gauntlet("compare", first, second)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"A: claude-sonnet-5-5, {first}",
        f"B: claude-sonnet-5-5, {second}",
        "Episodes: 4 in both, 0 in one alone",
        "Score, B - A: -80.0 %, 95 % interval -106.0–-54.0 %",
        "Passed: 1 by A alone, 0 by B alone; p = 1 (McNemar, exact)",
    ]


def test_runs_on_other_cases_are_not_compared(gauntlet: Any, fake: FakeService, tmp_path: Path) -> None:
    first, second = run_twice(gauntlet, fake, tmp_path, "--seed", "1")
    failed(gauntlet("compare", first, second), "cannot be paired: seed is 0 in the one, 1 in the other")


def test_a_resumed_run_asks_for_what_is_missing_and_refuses_what_changed(
    gauntlet: Any, fake: FakeService, tmp_path: Path
) -> None:
    fake.fault = problem(403, "no such thing")
    gauntlet("run", "--service", fake.url, "-n", "2", "--concurrency", "2")
    run, rows = records(tmp_path)
    assert {row["outcome"] for row in rows} == {"infra_error"}
    fake.fault = None
    for changed, words in (
        (("--seed", "1"), "--seed: a resumed run is what it was"),
        (("-n", "3"), "--episodes: a resumed run is what it was"),
        (("--max-steps", "3"), "--max-steps: a resumed run is what it was"),
    ):
        done = gauntlet("run", "--service", fake.url, "--resume", run, *changed)
        assert done.returncode == 2
        assert words in done.stderr
    done = gauntlet("run", "--service", fake.url, "--resume", run, "--concurrency", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Passed: 0/2" in done.stdout
    rows = records(tmp_path)[1]
    assert [(row["episode"], row["attempt"], row["outcome"]) for row in rows[2:]] == [
        (1, 2, "failed"),
        (2, 2, "failed"),
    ]
    fake.prompt_suffix = "Now with another rule."
    failed(gauntlet("run", "--service", fake.url, "--resume", run), "cannot be resumed: prompt_sha256 was '")


def test_resuming_a_run_of_a_real_model_needs_live_again(gauntlet: Any, fake: FakeService, tmp_path: Path) -> None:
    with live_api() as api:
        live = {**LIVE, "ANTHROPIC_BASE_URL": api.url}
        gauntlet("run", "--live", "--service", fake.url, "-n", "1", **live)
        run, _ = records(tmp_path)
        done = gauntlet("run", "--service", fake.url, "--resume", run, **live)
        assert done.returncode == 2
        assert "add --live to spend money on it" in done.stderr
        assert gauntlet("run", "--live", "--service", fake.url, "--resume", run, **live).returncode == 0


def test_a_directory_that_is_no_run_is_told(gauntlet: Any, fake: FakeService, tmp_path: Path) -> None:
    failed(gauntlet("run", "--service", fake.url, "--resume", "."), "is no run: config.json cannot be read")
    assert list(tmp_path.iterdir()) == []


def test_a_limit_in_dollars_needs_a_price(gauntlet: Any, fake: FakeService) -> None:
    with live_api() as api:
        done = gauntlet(
            "run", "--live", "--service", fake.url, "--model", "own-model", "--max-cost", "1",
            **LIVE, ANTHROPIC_BASE_URL=api.url,
        )  # fmt: skip
    failed(done, "no price is known for --model own-model")


def test_models_are_listed_with_prices_and_with_what_retires(gauntlet: Any) -> None:
    done = gauntlet("models")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["Model", "$/M", "in", "$/M", "out", "Lifecycle"]
    rows = {line.split()[0]: line.split(maxsplit=3)[1:] for line in lines[1:]}
    assert rows["claude-sonnet-5-5"] == ["2", "10", "active"]
    assert rows["claude-sonnet-4-5"] == ["3", "15", "deprecated, retires on 2026-11-30"]
    listed = json.loads(gauntlet("models", "--json").stdout)
    assert {model["name"] for model in listed} == set(rows)


def test_a_dry_run_counts_the_prompt_and_spends_nothing(gauntlet: Any, fake: FakeService, tmp_path: Path) -> None:
    done = gauntlet("run", "--service", fake.url, "-n", "34", "--dry-run", "--max-cost", "5")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"Prompt: \d+ tokens, 34 episodes with claude-sonnet-5-5", lines[0])
    assert re.match(r"About \$\d+\.\d\d: \$0\.\d{4} each: a guess of 8 calls with 1000 tokens", lines[1])
    assert re.match(r"At most \$\d+\.\d\d, if every episode makes 18 calls and every answer has 8192 tokens", lines[2])
    assert lines[3] == "--max-cost ends the run at $5.00"
    assert [name for name, _ in fake.calls] == ["task"]
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_knows_what_earlier_runs_cost(gauntlet: Any, fake: FakeService) -> None:
    with live_api() as api:
        live = {**LIVE, "ANTHROPIC_BASE_URL": api.url}
        gauntlet("run", "--live", "--service", fake.url, "-n", "4", **live)
    done = gauntlet("run", "--service", fake.url, "-n", "100", "--dry-run")
    assert "About $0.0075: $0.0001 each, the mean of 4 episodes in runs" in done.stdout


def test_a_call_that_hangs_is_given_up_and_made_again(gauntlet: Any, fake: FakeService, tmp_path: Path) -> None:
    with live_api(delay_s=lambda turn: 3 if turn == 0 else 0) as api:
        done = gauntlet(
            "run", "--live", "--service", fake.url, "-n", "1", "--call-timeout", "0.5",
            **LIVE, ANTHROPIC_BASE_URL=api.url,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    run, [row] = records(tmp_path)
    assert (row["outcome"], row["calls"][0]["attempts"]) == ("passed", 2)
    assert row["wait_s"] >= 0.5
    [retry] = [e for e in map(json.loads, (run / "events.jsonl").read_text().splitlines()) if e["event"] == "retry"]
    assert "timed out" in retry["reason"] or "no whole answer within 0.5 s" in retry["reason"]


@contextmanager
def live_api(passes: Any = lambda turn: True, delay_s: Any = lambda turn: 0) -> Iterator[Any]:
    """A server that answers every call with a submission, one that passes unless told otherwise."""
    keys: set[str] = set()
    sources = (STRINGS.read_text(), PASSES.read_text())
    turns = itertools.count()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            keys.add(self.headers["authorization"])
            self.rfile.read(int(self.headers["content-length"]))
            turn = next(turns)
            time.sleep(delay_s(turn))
            body = json.dumps(message(submit(sources[passes(turn)]))).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with served(Handler) as url:
        yield SimpleNamespace(url=url, keys=keys)
