"""The numbers in the documentation come from a run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.report import BLOCK, DOCUMENT, PLOT, RESULTS, block, publish
from benchmarks.results import DOCKER, Results, read


def test_the_documents_block_is_what_the_kept_run_gives() -> None:
    assert BLOCK.findall(DOCUMENT.read_text()) == [block(read(RESULTS))]


def test_a_block_is_rewritten_and_nothing_else(made: Callable[..., Results], tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(DOCUMENT.read_text())
    before, after = BLOCK.split(DOCUMENT.read_text())
    for results in (made(skipped={DOCKER: r"no \1 image"}), made()):
        publish(results, document, tmp_path / "performance.svg")
        assert document.read_text() == before + block(results) + after


def test_a_block_tells_the_machine_the_rows_the_shares_and_the_bars(made: Callable[..., Results]) -> None:
    text = block(made(skipped={DOCKER: "no image"}))
    assert "2026-01-01 with `python -m benchmarks`: a cpu, 2 cores, Linux 6.18, Python 3.13.1" in text
    assert "| POST /execute | 1.20 | 2.40 | 4.00 |  | 1.00 | 100 |" in text
    assert "| docker run --rm (skipped: no image) |  |" in text
    assert "| POST /execute | 750 (10.0 / 25.0) | 75% |" in text
    assert "| a waiting process (8 of them) | 0.98 |" in text
    assert "| POST /execute, 16 clients: at least 70 % of bare fork | 75 % | met |" in text


def test_the_same_run_is_always_the_same_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="installed by `make bench`")
    from benchmarks.plot import draw

    draw(read(RESULTS), tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").read_bytes() == PLOT.read_bytes()
