"""A run's directory: what has finished is on disk before the next line is printed.

```
runs/<id>/config.json          what it takes to make the same run again
          episodes.jsonl       one line per episode that ended; the last line of an episode counts
          transcripts/         <episode>-<attempt>.json, the conversations
          events.jsonl         every answer, failed attempt and wait, as it happened
          summary.json         written last; rewritten when the run is resumed
```
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, Self, TypeVar

from pydantic import BaseModel, ValidationError

from runner.errors import RunnerError
from runner.records import SCHEMA_VERSION, Discarded, EpisodeRecord, RunConfig, RunSummary, Usage, total_cost

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from runner.answers import Json

__all__ = ["RUN_FILES", "Event", "Run", "RunStore", "read_config", "read_run"]

RUN_FILES = ("config.json", "episodes.jsonl", "events.jsonl", "summary.json")

_Record = TypeVar("_Record", bound=BaseModel)


class Event(BaseModel):
    """What is read of a line in `events.jsonl`; the rest is for people."""

    event: str
    episode: int = 0
    attempt: int = 0
    usage: Usage = Usage()
    cost_usd: float | None = None
    booked_usd: float | None = None
    open_call: bool = False


@dataclass(frozen=True)
class Run:
    """A run as it was found on disk.

    Attributes:
        path: Its directory.
        config: What was asked for.
        records: Every episode that ended, in that order; some more than once.
        events: All of `events.jsonl`.
    """

    path: Path
    config: RunConfig
    records: Sequence[EpisodeRecord]
    events: Sequence[Event]

    @cached_property
    def counted(self) -> Sequence[EpisodeRecord]:
        """The last record of each episode, by number."""
        last = {record.episode: record for record in self.records}
        return [last[episode] for episode in sorted(last)]

    @cached_property
    def attempts(self) -> dict[int, int]:
        """How often each episode was begun."""
        return {event.episode: event.attempt for event in self.events if event.event == "begun"}

    @cached_property
    def discarded(self) -> Discarded:
        """What was spent on attempts that do not count."""
        counted = {(record.episode, record.attempt) for record in self.counted}
        begun = {_attempt(event) for event in self.events if event.event == "begun"}
        others = [event for event in self.events if _attempt(event) not in counted]
        calls = [event for event in others if event.event == "call"]
        unknown = [None for event in others if event.event == "lost" and event.open_call]
        return Discarded(
            attempts=len(begun - counted),
            usage=Usage.total(event.usage for event in calls),
            cost_usd=total_cost([*(event.cost_usd for event in calls), *unknown]),
        )

    @property
    def spent_usd(self) -> float:
        """What all calls have taken from the budget: the most they can have cost, where that is unknown."""
        return math.fsum(event.booked_usd or 0.0 for event in self.events if event.event in {"call", "lost"})

    @property
    def summary(self) -> RunSummary | None:
        """`summary.json`, when the run came to its end."""
        path = self.path / "summary.json"
        return _read(path, RunSummary) if path.exists() else None

    def transcript(self, record: EpisodeRecord) -> Sequence[Json]:
        """The conversation of an episode; empty when its file is gone.

        Raises:
            RunnerError: The file is damaged.
        """
        path = self.path / record.transcript_name
        try:
            messages: list[Json] = json.loads(path.read_bytes())["messages"]
        except FileNotFoundError:
            return ()
        except (ValueError, LookupError, TypeError) as error:
            raise RunnerError(f"{path} is damaged: {error}") from error
        return messages


def read_config(path: Path) -> RunConfig:
    """Read what a run was asked to be.

    Raises:
        RunnerError: There is no run in this directory, or one that another version wrote.
    """
    return _read(path / "config.json", RunConfig)


def read_run(path: Path) -> Run:
    """Read a run's directory.

    Lines that a kill left half-written are passed over.

    Raises:
        RunnerError: It is no run, or one that another version wrote.
    """
    config = read_config(path)
    records = [_valid(EpisodeRecord, line, path / "episodes.jsonl") for line in _lines(path / "episodes.jsonl")]
    for record in records:
        if record.run_id != config.run_id or not 1 <= record.episode <= config.episodes:
            raise RunnerError(f"{path / 'episodes.jsonl'} has an episode of another run: {record.episode}")
    return Run(path, config, records, [_event(line, path / "events.jsonl") for line in _lines(path / "events.jsonl")])


def _event(line: bytes, path: Path) -> Event:
    try:
        return Event.model_validate_json(line)
    except ValidationError as error:
        raise RunnerError(f"{path} is damaged: {error.errors()[0]['msg']}") from error


def _attempt(event: Event) -> tuple[int, int]:
    return event.episode, event.attempt


def _lines(path: Path) -> list[bytes]:
    """The whole lines of a file."""
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []


def _read(path: Path, kind: type[_Record]) -> _Record:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunnerError(f"{path.parent} is no run: {path.name} cannot be read ({error.strerror})") from error
    return _valid(kind, content, path)


def _valid(kind: type[_Record], content: bytes, path: Path) -> _Record:
    try:
        found: Any = json.loads(content)
        version = found.get("schema_version")
        if version != SCHEMA_VERSION:
            raise RunnerError(f"{path} has schema version {version}; this version of gauntlet reads {SCHEMA_VERSION}")
        return kind.model_validate(found)
    except ValidationError as error:
        fields = ", ".join(".".join(str(part) for part in item["loc"]) for item in error.errors())
        raise RunnerError(f"{path} was not written by this version of gauntlet (wrong or missing: {fields})") from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise RunnerError(f"{path} is damaged: {error}") from error


class RunStore:
    """Writes a run's directory, which no other process may do at the same time.

    Args:
        path: The directory; `create` makes one.

    Raises:
        RunnerError: It cannot be written, or another process is writing it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._episodes = _append_to(path / "episodes.jsonl")
            self._events = _append_to(path / "events.jsonl")
            (path / "transcripts").mkdir(exist_ok=True)
            _sync_directory(path)
        except BlockingIOError as error:
            raise RunnerError(f"{path} is being written by another gauntlet") from error
        except OSError as error:
            raise RunnerError(f"{path} cannot be written ({error.strerror})") from error

    @classmethod
    def create(cls, out: Path, config: RunConfig) -> Self:
        """Begin a run in a new directory `<out>/<run id>`.

        Raises:
            RunnerError: It cannot be written.
        """
        path = out / config.run_id
        try:
            path.mkdir(parents=True)
            _replace(path / "config.json", config)
        except OSError as error:
            raise RunnerError(f"--out {out}: cannot be written ({error.strerror}); name another directory") from error
        return cls(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._episodes, self._events):
            with suppress(OSError):  # what could not be written is tried once more; it was told already
                file.close()

    def append(self, record: EpisodeRecord) -> None:
        """Add a finished episode, and return when it is on the disk; its transcript goes first."""
        about = record.model_dump(mode="json", include={"schema_version", "run_id", "episode", "attempt"})
        with self._writing():
            _write(self.path / record.transcript_name, {**about, "messages": record.transcript})
            self._episodes.write(_json(record.model_dump(mode="json")))
            self._episodes.flush()
            os.fsync(self._episodes.fileno())

    def event(self, kind: str, /, **fields: object) -> None:
        """Add a line to `events.jsonl`; it outlives the process, not the machine's power."""
        with self._writing():
            self._events.write(_json({"at": datetime.now(UTC).isoformat(), "event": kind, **fields}))
            self._events.flush()

    def configure(self, config: RunConfig) -> None:
        """Replace the configuration, for what may change when a run is resumed."""
        with self._writing():
            _replace(self.path / "config.json", config)

    def finish(self, summary: RunSummary) -> None:
        """Write the summary; the run is complete when it is there."""
        with self._writing():
            _replace(self.path / "summary.json", summary)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunnerError(
                f"{self.path} cannot be written ({error.strerror}); resume the run when it can"
            ) from error


def _append_to(path: Path) -> IO[bytes]:
    """Open for appending, lock, and cut off what a kill left of a line."""
    file = path.open("ab+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
    except OSError:
        file.close()
        raise
    return file


def _json(value: Any, indent: int | None = None) -> bytes:
    # ASCII, because a model may write lone surrogates, which UTF-8 cannot carry.
    return json.dumps(value, indent=indent, ensure_ascii=True).encode("ascii") + b"\n"


def _write(path: Path, value: Any, indent: int | None = None) -> None:
    with path.open("wb") as file:
        file.write(_json(value, indent))
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, record: BaseModel) -> None:
    temporary = path.with_name(f".{path.name}")
    _write(temporary, record.model_dump(mode="json"), indent=2)
    temporary.replace(path)


def _sync_directory(path: Path) -> None:
    """Make the files' names as durable as their lines."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
