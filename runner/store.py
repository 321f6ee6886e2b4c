"""A run's directory: what has finished is on disk before the next line is printed."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Self

from runner.errors import RunnerError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from pydantic import BaseModel

    from runner.records import EpisodeRecord, RunConfig, RunSummary

__all__ = ["RunStore"]


class RunStore:
    """Writes `config.json`, `episodes.jsonl` and `summary.json` under `<out>/<run id>/`.

    Args:
        out: The directory of all runs; made if it is missing.
        config: This run's configuration, written at once.

    Raises:
        RunnerError: The directory cannot be written.
    """

    def __init__(self, out: Path, config: RunConfig) -> None:
        self.path = out / config.run_id
        try:
            self.path.mkdir(parents=True)
            self._write("config.json", config)
            # Kept open: a run may need its descriptors, and a renamed directory must not split it in two.
            self._episodes = (self.path / "episodes.jsonl").open("xb")
            _sync_directory(self.path)
        except OSError as error:
            raise RunnerError(f"--out {out}: cannot be written ({error.strerror}); name another directory") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._episodes.close()

    def append(self, record: EpisodeRecord) -> None:
        """Add a finished episode as one line, and return when it is on the disk."""
        self._episodes.write(_line(record))
        self._episodes.flush()
        os.fsync(self._episodes.fileno())

    def finish(self, summary: RunSummary) -> None:
        """Write the summary; the run is complete when it is there."""
        self._write("summary.json", summary)

    def _write(self, name: str, record: BaseModel) -> None:
        temporary = self.path / f".{name}"
        with temporary.open("wb") as file:
            file.write(_line(record, indent=2))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path / name)


def _line(record: BaseModel, indent: int | None = None) -> bytes:
    # ASCII, because a model may write lone surrogates, which UTF-8 cannot carry.
    return json.dumps(record.model_dump(mode="json"), indent=indent, ensure_ascii=True).encode("ascii") + b"\n"


def _sync_directory(path: Path) -> None:
    """Make the file's name as durable as its lines."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
