"""Bars: a run that misses one fails, and says by how much."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.bars import judge
from benchmarks.results import ASK, BUBBLEWRAP, DOCKER, EXECUTE, GRADE, Results, read


def test_a_good_run_meets_every_bar(made: Callable[..., Results]) -> None:
    assert [verdict.met for verdict in judge(made())] == [True] * 10


@pytest.mark.parametrize(
    ("worse", "bar"),
    [
        ({"ms": {EXECUTE: 1.31}}, "at most 1 ms above the empty POST"),
        ({"ms": {ASK: 0.4}}, "job to answer below HTTP: under 0.4 ms"),
        ({"ms": {GRADE: 8.0}}, "POST /grade, honest, classic: under 8 ms"),
        ({"rates": {EXECUTE: 699.0}}, "at least 70 % of bare fork"),
        ({"rates": {GRADE: 139.0}}, "at least 70 % of a fifth of bare fork"),
        ({"p99_ms": 30.0}, "p99 under 3 times p50"),
        ({"waiting_kib": 2048.0}, "under 2 MiB, PSS"),
        ({"ms": {BUBBLEWRAP: 23.9}}, "at least 20 times faster than bubblewrap"),
        ({"ms": {DOCKER: 239.0}}, "at least 200 times faster than docker run --rm"),
        ({"errors": 1}, "every answer under load is right"),
    ],
)
def test_each_bar_is_missed_by_what_it_is_about(made: Callable[..., Results], worse: dict[str, Any], bar: str) -> None:
    missed = [verdict for verdict in judge(made(**worse)) if verdict.met is False]
    assert [verdict.text for verdict in missed] == ["NOT met"]
    assert bar in missed[0].bar


def test_what_was_not_measured_is_neither_met_nor_missed(made: Callable[..., Results]) -> None:
    verdicts = judge(made(skipped={DOCKER: "docker is not installed"}, waiting_kib=None))
    unknown = {verdict.measured: verdict.text for verdict in verdicts if verdict.met is None}
    assert unknown == {"docker is not installed": "not measured", "none": "not measured"}


@pytest.mark.parametrize(("arguments", "status"), [([], 1), (["--no-bars"], 0)])
def test_a_missed_bar_is_the_exit_status_unless_nobody_judges(
    made: Callable[..., Results], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], status: int
) -> None:
    missed = made(ms={EXECUTE: 2.0})
    monkeypatch.setattr("benchmarks.__main__.measure", lambda *_: missed)
    done = CliRunner().invoke(main, ["--out", str(tmp_path / "results.json"), *arguments])
    assert done.exit_code == status
    assert "1.7 ms" in done.output
    assert "NOT met" in done.output
    assert read(tmp_path / "results.json") == missed
