"""The real clients of the agent frameworks, each in a virtual environment of its own."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uv

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PLACES = 64  # for episodes, in services of the tests that have few
TOKEN = "a-token-for-those-who-evaluate"
ENVIRONMENTS = ROOT / ".venv" / "clients"
_OFFLINE_UV = """\
#!/bin/sh
case "$*" in
  *--help*) echo --script ;;
  "python find "*) echo {python} ;;
esac
"""
PYTHON = {"harbor": "3.12", "nemo-gym": "3.12"}  # what they need; the others run on the Python of the tests


def client_python(name: str) -> Path:
    """The interpreter of an environment with what `requirements/clients/NAME.txt` pins, made where there is none."""
    requirements = ROOT / "requirements" / "clients" / f"{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    environment = ENVIRONMENTS / name
    stamp = environment / "requirements.sha256"
    with _locked(name):
        if not stamp.exists() or stamp.read_text() != digest:
            shutil.rmtree(environment, ignore_errors=True)
            _uv("venv", "--python", PYTHON.get(name, sys.executable), str(environment))
            python = str(environment / "bin" / "python")
            _uv("pip", "sync", "--require-hashes", "--python", python, str(requirements))
            stamp.write_text(digest)
    return environment / "bin" / "python"


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Has others wait that need the same environment, in other processes of the tests."""
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    with (ENVIRONMENTS / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run_client(
    name: str, arguments: Sequence[str], *, url: str, timeout_s: float = 90, settings: Mapping[str, str] | None = None
) -> str:
    """Runs a client's Python with arguments against a service, and answers what it printed.

    Raises:
        AssertionError: it failed; says what it printed.
    """
    python = client_python(name)
    environment = {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "HOME": str(python.parents[1]),
        "GAUNTLET_URL": url,
        **(settings or {}),
    }
    run = subprocess.run(
        [str(python), *arguments],
        check=False,
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert run.returncode == 0, f"{run.stdout[-4000:]}\n{run.stderr[-4000:]}"
    return run.stdout


def assert_example_gets(
    expected: Mapping[str, Any], environment: str, example: str, submission: Path, *, url: str
) -> None:
    """Has a client run an example on a submission, and compares what it tells of its episode."""
    told = last_json(run_client(environment, [str(EXAMPLES / example), str(submission)], url=url))
    assert {name: told[name] for name in expected} == expected
    assert told["split"] == "validation"


def path_without_index(place: Path) -> str:
    """A search path whose `uv` finds all that verifiers' programs need in the environment that is there already.

    The real one would ask a package index for it, without pins, on every new machine.
    """
    python = client_python("verifiers")
    stub = place / "uv"
    stub.write_text(_OFFLINE_UV.format(python=python))
    stub.chmod(0o755)
    return f"{place}:{python.parent}:{os.environ['PATH']}"


def last_json(printed: str) -> Any:
    """The last line that was printed, which is JSON."""
    return json.loads(printed.rstrip().rpartition("\n")[2])


def _uv(*arguments: str) -> None:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))  # uv knows its shims only, which refuse
    path = os.pathsep.join([*map(str, pyenv.glob("versions/*/bin")), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    run = subprocess.run([uv.find_uv_bin(), *arguments], check=False, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-4000:]


if __name__ == "__main__":
    for client in {path.stem for path in (ROOT / "requirements" / "clients").glob("*.in")} - PYTHON.keys():
        client_python(client)
