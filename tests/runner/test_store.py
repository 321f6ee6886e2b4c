import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.errors import RunnerError
from runner.records import EpisodeRecord, Outcome, RunConfig, RunSummary
from runner.stats import summarise
from runner.store import RunStore, read_config, read_run
from tests.runner.made import config, record

WRITER = """
import sys
from pathlib import Path
from runner.store import RunStore, read_config, read_run
from tests.runner.made import config, record

with RunStore.create(Path(sys.argv[1]), config()) as store:
    for episode in range(1, 100_000):
        store.append(record(episode, feedback="x" * 20_000))
        print(episode, flush=True)
"""


def lines(path: Path) -> Any:
    return [json.loads(line) for line in (path / "episodes.jsonl").read_bytes().splitlines()]


def test_config_is_there_before_the_first_episode(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "runs", config()) as store:
        assert RunConfig.model_validate_json((store.path / "config.json").read_bytes()) == config()
        assert store.path == tmp_path / "runs" / "run"


def test_each_record_is_readable_as_soon_as_it_is_appended(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, config()) as store:
        for episode in (1, 2, 3):
            store.append(record(episode, transcript=[{"role": "user", "content": "hi\n"}]))
            assert len(lines(store.path)) == episode
        restored = [EpisodeRecord.model_validate(line) for line in lines(store.path)]
    assert [r.episode for r in restored] == [1, 2, 3]
    assert restored[0].model_dump(mode="json") == lines(store.path)[0]
    assert lines(store.path)[0]["schema_version"] == 2


def test_any_text_a_model_can_write_fits_on_one_line(tmp_path: Path) -> None:
    nasty = "\ud800 \x00 \u2028 \n \r \x85 \U0001f600"
    with RunStore.create(tmp_path, config()) as store:
        store.append(record(code=nasty))
    assert (store.path / "episodes.jsonl").read_bytes().count(b"\n") == 1
    assert lines(store.path)[0]["code"] == nasty


def test_the_summary_is_written_last(tmp_path: Path) -> None:
    summary = summarise(config(), [record()])
    with RunStore.create(tmp_path, config()) as store:
        assert not (store.path / "summary.json").exists()
        store.finish(summary)
    assert RunSummary.model_validate_json((store.path / "summary.json").read_bytes()) == summary
    assert sorted(file.name for file in store.path.iterdir()) == [
        "config.json",
        "episodes.jsonl",
        "events.jsonl",
        "summary.json",
        "transcripts",
    ]


def test_a_run_never_writes_into_anothers_directory(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, config()), pytest.raises(RunnerError, match="--out"):
        RunStore.create(tmp_path, config())


def test_a_directory_that_cannot_be_written_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunnerError, match=r"--out .*file: cannot be written \(Not a directory\)"):
        RunStore.create(tmp_path / "file", config())


def test_lines_written_before_a_kill_are_whole(tmp_path: Path, clean_environment: dict[str, str]) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, env=clean_environment, text=True
    )
    with writer:
        acknowledged = 0
        assert writer.stdout is not None
        for line in writer.stdout:
            acknowledged = int(line)
            if acknowledged >= 20:
                break
        os.kill(writer.pid, signal.SIGKILL)
    content = (tmp_path / "run" / "episodes.jsonl").read_bytes()
    whole = [json.loads(line) for line in content.split(b"\n")[:-1]]
    assert len(whole) >= acknowledged
    assert [line["episode"] for line in whole] == list(range(1, len(whole) + 1))
    assert all(line["feedback"] == "x" * 20_000 for line in whole)


def stored(path: Path, *records: Any) -> Path:
    with RunStore.create(path, config()) as store:
        for each in records:
            store.event("begun", episode=each.episode, attempt=each.attempt)
            store.append(each)
        return store.path


def test_a_run_reads_back_as_it_was_written(tmp_path: Path) -> None:
    nasty = "\ud800 \x00 \u2028"
    said = [{"role": "user", "content": nasty}]
    first, second = record(1, transcript=said, feedback=nasty), record(2, Outcome.PASSED, 1.0)
    run = read_run(stored(tmp_path, second, first))
    assert run.config == config()
    assert [r.model_dump(mode="json") for r in run.counted] == [r.model_dump(mode="json") for r in (first, second)]
    assert run.transcript(run.counted[0]) == said
    assert run.transcript(run.counted[1]) == []
    assert run.attempts == {1: 1, 2: 1}
    assert run.summary is None


def test_the_transcript_is_in_a_file_of_its_own_before_the_line_is_there(tmp_path: Path) -> None:
    path = stored(tmp_path, record(12, attempt=3, transcript=[{"role": "user", "content": "hi"}]))
    kept = json.loads((path / "transcripts" / "0012-3.json").read_text())
    assert kept == {
        "schema_version": 2, "run_id": "run", "episode": 12, "attempt": 3,
        "messages": [{"role": "user", "content": "hi"}],
    }  # fmt: skip
    assert "transcript" not in lines(path)[0]


def test_the_last_record_of_an_episode_counts_and_the_rest_is_discarded(tmp_path: Path) -> None:
    used = {"input_tokens": 5, "output_tokens": 7, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    with RunStore.create(tmp_path, config()) as store:
        for attempt in (1, 2, 3):
            store.event("begun", episode=1, attempt=attempt)
            store.event("call", episode=1, attempt=attempt, usage=used, cost_usd=0.25, booked_usd=0.25)
            if attempt != 2:  # the second was killed
                store.append(record(1, Outcome.FAILED if attempt == 3 else Outcome.INFRA_ERROR, attempt=attempt))
    run = read_run(store.path)
    assert [(r.attempt, r.outcome) for r in run.counted] == [(3, Outcome.FAILED)]
    discarded = run.discarded
    assert (discarded.attempts, discarded.usage.input_tokens, discarded.cost_usd) == (2, 10, 0.5)
    assert run.spent_usd == 0.75


def test_a_call_that_was_lost_is_booked_and_makes_the_cost_of_what_is_discarded_unknown(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, config()) as store:
        store.event("begun", episode=1, attempt=1)
        store.event("call", episode=1, attempt=1, usage={"input_tokens": 5}, cost_usd=0.25, booked_usd=0.25)
        store.event("lost", episode=1, attempt=1, open_call=True, booked_usd=0.5)
        store.event("begun", episode=1, attempt=2)
        store.append(record(1, attempt=2))
    run = read_run(store.path)
    assert (run.discarded.attempts, run.discarded.usage.input_tokens, run.discarded.cost_usd) == (1, 5, None)
    assert run.spent_usd == 0.75


@pytest.mark.parametrize("name", ["episodes.jsonl", "events.jsonl"])
def test_what_a_kill_left_of_a_line_is_passed_over_and_cut_off(name: str, tmp_path: Path) -> None:
    path = stored(tmp_path, record(1))
    whole = (path / name).read_bytes()
    (path / name).write_bytes(whole + whole[: len(whole) // 2])
    assert len(read_run(path).records) == 1
    with RunStore(path) as store:
        assert (path / name).read_bytes() == whole
        store.append(record(2))
    assert [r.episode for r in read_run(path).records] == [1, 2]


def test_one_process_at_a_time_writes_a_run(tmp_path: Path) -> None:
    path = stored(tmp_path, record(1))
    with RunStore(path), pytest.raises(RunnerError, match="is being written by another gauntlet"):
        RunStore(path)
    with RunStore(path):
        pass


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match=r"is no run: config\.json cannot be read \(No such file or directory\)"):
        read_config(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"messages"'])
def test_a_damaged_transcript_is_told(content: str, tmp_path: Path) -> None:
    run = read_run(stored(tmp_path, record(1)))
    (run.path / "transcripts" / "0001-1.json").write_text(content)
    with pytest.raises(RunnerError, match=r"0001-1\.json is damaged"):
        run.transcript(run.counted[0])


def test_what_a_power_cut_made_of_the_events_is_told(tmp_path: Path) -> None:
    path = stored(tmp_path, record(1))
    with (path / "events.jsonl").open("ab") as events:
        events.write(b"\0" * 100 + b"\n")
    with pytest.raises(RunnerError, match=r"events\.jsonl is damaged"):
        read_run(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"schema_version": 1}', "has schema version 1; this version of gauntlet reads 2"),
        ('{"schema_version": 2, "seed": 1}', r"was not written by this version .*wrong or missing: run_id"),
        ("[]", "is damaged"),
        ('{"schema', "is damaged"),
    ],
)
def test_a_run_of_another_version_and_a_damaged_one_are_told_apart(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunnerError, match=words):
        read_run(tmp_path)


FULL = """
import resource, sys
from pathlib import Path
from runner.errors import RunnerError
from runner.store import RunStore
from tests.runner.made import config, record

with RunStore.create(Path(sys.argv[1]), config()) as store:
    store.append(record(1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    try:
        for episode in range(2, 100):
            store.append(record(episode, feedback="x" * 1_000))
    except RunnerError as error:
        print(error)
"""


def test_a_disk_that_is_full_is_told_and_loses_nothing_that_was_written(
    tmp_path: Path, clean_environment: dict[str, str]
) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(command, env=clean_environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "run cannot be written (File too large); resume the run when it can" in done.stdout
    kept = [r.episode for r in read_run(tmp_path / "run").records]
    assert kept == list(range(1, len(kept) + 1))
    assert len(kept) >= 4


def test_a_line_of_another_run_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path, record(1))
    for stranger in (record(2, run_id="other"), record(11), record(0)):
        whole = (path / "episodes.jsonl").read_bytes()
        (path / "episodes.jsonl").write_bytes(whole + json.dumps(stranger.model_dump(mode="json")).encode() + b"\n")
        with pytest.raises(RunnerError, match="has an episode of another run"):
            read_run(path)
        (path / "episodes.jsonl").write_bytes(whole)


@pytest.mark.parametrize("line", [b"", b"{}", b"[1]", b"\xff", b'{"event": 1}', b'{"event": "call", "usage": 5}'])
def test_a_damaged_journal_is_told_in_one_line(line: bytes, tmp_path: Path) -> None:
    path = stored(tmp_path, record(1))
    with (path / "events.jsonl").open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(RunnerError, match=r"events\.jsonl is damaged: "):
        read_run(path)
