import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.errors import RunnerError
from runner.records import EpisodeRecord, RunConfig, RunSummary
from runner.stats import summarise
from runner.store import RunStore
from tests.runner.made import config, record

WRITER = """
import sys
from pathlib import Path
from runner.store import RunStore
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
