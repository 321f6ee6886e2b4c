"""What the fuzzer starts from and what it has found, replayed; and its mutations, for a moment."""

from pathlib import Path
from random import Random

import pytest

from service.sandbox.reading import WireError
from tests.fuzz.mutations import mutated
from tests.fuzz.target import check

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=[path.name for path in CORPUS])
def test_what_was_found_once_holds(path: Path) -> None:
    check(path.read_bytes())


def test_a_thousand_mutations_hold() -> None:
    payloads = [path.read_bytes() for path in CORPUS]
    taken, random = 0, Random(1)
    for _ in range(1000):
        payload = mutated(random.choice(payloads), random, tuple(payloads))
        if payload is not None and len(payload) < 1 << 14 and check(payload) is not WireError:
            payloads[random.randrange(len(payloads))] = payload
            taken += 1
    assert taken > 200
