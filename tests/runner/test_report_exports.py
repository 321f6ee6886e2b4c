import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.cli import cli
from runner.records import EpisodeRecord, ErrorRecord, Outcome, RunConfig, RunSummary
from runner.report.exports import csv_text, json_text
from runner.stats import summarise
from runner.store import Run, RunStore, read_run
from tests.runner.made import ROWS, config, record
from tests.runner.reported import call, infra_error, kept, played, summary_of

NASTY = '\ud800 \x00 \r\n \u2028 \u202e, "quoted" \'\t'
USAGE = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def mixed(path: Path) -> Run:
    return kept(
        path,
        [
            played(1, "tier1", seed=40, calls=[call(1, attempts=3)], feedback=NASTY),
            played(2, cost_usd=None),
            infra_error(3),
            record(4, Outcome.LIMIT, 0.0, "No submission", limit="steps"),
            record(5, Outcome.CANCELLED),
        ],
    )


def test_json_is_the_records_again(tmp_path: Path) -> None:
    run = mixed(tmp_path)
    found = json.loads(json_text(run, summary_of(run)))
    assert set(found) == {"config", "summary", "episodes"}
    assert RunConfig.model_validate(found["config"]) == run.config
    assert RunSummary.model_validate(found["summary"]) == summary_of(run)
    assert [EpisodeRecord.model_validate(each) for each in found["episodes"]] == run.counted
    assert all("transcript" not in each for each in found["episodes"])


def test_json_carries_any_text_over_any_pipe(tmp_path: Path) -> None:
    run = mixed(tmp_path)
    text = json_text(run, summary_of(run))
    assert text.isascii()
    assert json.loads(text)["episodes"][0]["feedback"] == NASTY


def table(run: Run) -> Any:
    return list(csv.DictReader(io.StringIO(csv_text(run))))


def known(value: str, kind: Any = float) -> Any:
    return kind(value) if value else None


def test_csv_is_the_records_again(tmp_path: Path) -> None:
    run = mixed(tmp_path)
    rows = table(run)
    assert len(rows) == 5
    for row, episode in zip(rows, run.counted, strict=True):
        assert (int(row["episode"]), int(row["attempt"]), row["run_id"]) == (episode.episode, 1, "run")
        assert (row["outcome"], row["limit"]) == (episode.outcome.value, episode.limit or "")
        assert row["passed"] == {True: "true", False: "false", None: ""}[episode.passed]
        for name in ("score", "points", "cost_usd", "duration_s", "work_s", "wait_s"):
            assert known(row[name]) == getattr(episode, name)
        assert known(row["seed"], int) == episode.seed
        assert [int(row[name]) for name in USAGE] == [getattr(episode.usage, name) for name in USAGE]
        points = {check.id: check.points for check in episode.checks}
        assert {name: known(row[f"points_{name}"]) for name in ROWS} == {name: points.get(name) for name in ROWS}
        assert row["started_at"] == episode.started_at.isoformat()
    assert [int(row["retries"]) for row in rows] == [2, 0, 0, 0, 0]
    assert [row["error_status"] for row in rows] == ["", "", "529", "", ""]
    assert (rows[0]["stop_reasons"], rows[0]["request_ids"]) == ("tool_use tool_use", "req_1 req_2")


def test_csv_has_one_line_for_each_episode_whatever_is_in_it(tmp_path: Path) -> None:
    run = mixed(tmp_path)
    assert csv_text(run).count("\n") == 6
    assert table(run)[0]["feedback"] == r"""\ud800 \x00 \r\n \u2028 \u202e, "quoted" '\t"""


@pytest.mark.parametrize("formula", ['=HYPERLINK("http://evil.example")', "+1", "-1+1", "@SUM(A1)", "＝1"])
def test_no_text_is_a_formula(formula: str, tmp_path: Path) -> None:
    error = ErrorRecord(kind=formula, message=formula)
    made = infra_error(1, feedback=formula, model=formula, stop_reasons=[formula], request_ids=[formula], error=error)
    [row] = table(kept(tmp_path, [made]))
    texts = ("feedback", "model", "stop_reasons", "request_ids", "error_kind", "error_message")
    assert [row[name] for name in texts] == [f"'{formula}"] * len(texts)


def test_csv_of_no_episode_is_a_header(tmp_path: Path) -> None:
    assert csv_text(kept(tmp_path, [], finished=False)).startswith("run_id,episode,attempt,scripted,model,")
    assert table(kept(tmp_path / "other", [], finished=False)) == []


@pytest.fixture
def gauntlet(capsys: pytest.CaptureFixture[str]) -> Any:
    """The command in this process: its status, and what it printed on both streams."""

    def command(*arguments: Any) -> Any:
        from click import ClickException
        from click.exceptions import Exit

        try:
            status = cli.main([str(argument) for argument in arguments], "gauntlet", standalone_mode=False)
        except Exit as end:
            status = end.exit_code
        except ClickException as error:
            return error.exit_code, "", error.format_message()
        return status, *capsys.readouterr()

    return command


def test_the_command_writes_the_page_into_the_run_and_says_where(gauntlet: Any, tmp_path: Path) -> None:
    run = mixed(tmp_path)
    assert gauntlet("report", run.path) == (0, f"Report: {run.path / 'report.html'}\n", "")
    assert (run.path / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert gauntlet("report", run.path, "--out", tmp_path / "x.html") == (0, f"Report: {tmp_path / 'x.html'}\n", "")
    assert (tmp_path / "x.html").read_bytes() == (run.path / "report.html").read_bytes()


def test_the_command_prints_json_and_csv_and_writes_nothing(gauntlet: Any, tmp_path: Path) -> None:
    run = mixed(tmp_path)
    before = sorted(run.path.iterdir())
    assert gauntlet("report", run.path, "--json") == (0, json_text(run, summary_of(run)) + "\n", "")
    assert gauntlet("report", run.path, "--csv") == (0, csv_text(run), "")
    assert sorted(run.path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--json", "--csv"], "exclude each other"),
        (["--json", "--out", "x.html"], "exclude each other"),
        (["--inspect", "x.eval", "--csv"], "exclude each other"),
        (["--inspect", "x.log"], "ends in .eval or .json"),
    ],
)
def test_a_wrong_call_is_told(options: Any, words: str, gauntlet: Any, tmp_path: Path) -> None:
    status, out, error = gauntlet("report", mixed(tmp_path).path, *options)
    assert (status, out) == (2, "")
    assert words in error


def test_what_is_no_run_or_cannot_be_written_is_one_line(gauntlet: Any, tmp_path: Path) -> None:
    status, out, error = gauntlet("report", tmp_path)
    assert (status, out, error.count("\n")) == (1, "", 1)
    assert "is no run" in error
    run = mixed(tmp_path)
    for option in ("--out", "--inspect"):
        status, out, error = gauntlet("report", run.path, option, tmp_path / "missing" / "x.json")
        assert (status, out, error.count("\n")) == (1, "", 1)
        assert "cannot be written (No such file or directory)" in error
        assert option in error


def test_without_inspect_the_extra_is_named(gauntlet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    monkeypatch.delitem(sys.modules, "runner.report.inspect_log", raising=False)
    status, out, error = gauntlet("report", mixed(tmp_path).path, "--inspect", tmp_path / "x.eval")
    assert (status, out) == (1, "")
    assert error == "gauntlet: error: --inspect needs an extra: pip install 'resilience-gauntlet[inspect]'\n"
    assert not (tmp_path / "x.eval").exists()


def summary_printed(gauntlet: Any, run: Run) -> RunSummary:
    _, out, _ = gauntlet("report", run.path, "--json")
    return RunSummary.model_validate(json.loads(out)["summary"])


def test_a_run_that_was_killed_is_summed_up_anew(gauntlet: Any, tmp_path: Path) -> None:
    run = kept(tmp_path, [played(1), played(2, "tier1")], finished=False, episodes=8)
    found = summary_printed(gauntlet, run)
    assert found == summary_of(run)
    assert (found.valid, found.missing) == (2, 6)


def test_a_summary_on_disk_is_taken_as_it_is(gauntlet: Any, tmp_path: Path) -> None:
    run = kept(tmp_path, [played(1)], episodes=5, finished=False)
    stored = summary_of(run).model_copy(update={"error": "the key is wrong"})
    with RunStore(run.path) as store:
        store.finish(stored)
    assert summary_printed(gauntlet, run) == stored


def test_a_summary_from_before_the_run_went_on_is_not_believed(gauntlet: Any, tmp_path: Path) -> None:
    run = kept(tmp_path, [infra_error(1), played(2)])
    with RunStore(run.path) as store:
        store.event("begun", episode=1, attempt=2)
        store.append(played(1, attempt=2))
        store.event("begun", episode=1, attempt=3)  # killed
    found = summary_printed(gauntlet, read_run(run.path))
    assert (found.valid, found.passed, found.discarded.attempts) == (2, 2, 2)


def test_a_calibration_keeps_the_confidence_of_its_looks(gauntlet: Any, tmp_path: Path) -> None:
    run = kept(tmp_path, [played(1)], finished=False, calibrate=True, episodes=320)
    assert summary_printed(gauntlet, run).confidence == pytest.approx(1 - 0.05 / 4)
    assert summarise(config(), run.counted).confidence == 0.95
