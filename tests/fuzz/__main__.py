"""Fuzzes what reads a child's answer, guided by coverage: `make fuzz ARGS="--seconds 600"`.

What it finds lands in the corpus, where the tests replay it from then on; it ends with the first finding.
"""

import argparse
import sys
import time
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["service"]):
    from tests.fuzz.target import check

from tests.fuzz.mutations import mutated

_CORPUS = Path(__file__).parent / "corpus"
_GROWN = Path("build/fuzz")


def main() -> None:
    """Runs until its time is over or something is found."""
    arguments = _arguments()
    _GROWN.mkdir(parents=True, exist_ok=True)
    seeds = tuple(path.read_bytes() for path in sorted(_CORPUS.iterdir()))

    def mutator(payload: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        changed = mutated(payload, random, seeds) if random.random() < 0.8 else None
        if changed is None or len(changed) > max_size or random.random() < 0.1:
            changed = atheris.Mutate((changed or payload)[:max_size], max_size)
        return changed

    print(f"{len(seeds)} seeds; the grown corpus is in {_GROWN}", flush=True)  # noqa: T201
    atheris.Setup(
        [
            sys.argv[0],
            str(_GROWN),
            str(_CORPUS),
            f"-artifact_prefix={_CORPUS}/found-",
            f"-max_total_time={arguments.seconds}",
            f"-seed={arguments.seed}",
            f"-max_len={arguments.max_bytes}",
            "-timeout=10",
            "-rss_limit_mb=1024",
            "-print_final_stats=1",
        ],
        check,
        custom_mutator=mutator,
    )
    atheris.Fuzz()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description="Fuzzes what reads a child's answer.")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the mutations")
    parser.add_argument("--max-bytes", type=int, default=16 << 10, help="of one payload")
    return parser.parse_args()


if __name__ == "__main__":
    main()
