"""Settings: read once, refused with a name and a reason, documented in the README."""

import re
from pathlib import Path

import pytest

from service.errors import StartError
from service.machine import Machine
from service.settings import PREFIX, Settings, read_settings

README = Path(__file__).parents[2] / "README.md"


def test_an_empty_environment_gives_the_contracts_defaults() -> None:
    settings = read_settings({})
    assert (settings.wall_time_s, settings.max_wall_time_s, settings.cpu_time_s) == (5, 30, 5)
    assert (settings.memory_mib, settings.stdout_kib, settings.answer_kib) == (256, 64, 1024)
    assert (settings.code_kib, settings.open_files) == (256, 64)
    assert settings.sandbox_allow_weaker == frozenset()


def test_every_setting_is_read_from_the_given_environment() -> None:
    settings = read_settings(
        {"GAUNTLET_MEMORY_MIB": "512", "GAUNTLET_SANDBOX_ALLOW_WEAKER": "landlock, uid", "HOME": "/"}
    )
    assert settings.memory_mib == 512
    assert settings.sandbox_allow_weaker == {"landlock", "uid"}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("GAUNTLET_MEMORY_MIB", "lots", "valid integer"),
        ("GAUNTLET_MEMORY_MIB", "0", "greater than or equal to 32"),
        ("GAUNTLET_WALL_TIME_S", "nan", "finite number"),
        ("GAUNTLET_WALL_TIME_S", "60", "less than or equal to 30"),
        (
            "GAUNTLET_SANDBOX_ALLOW_WEAKER",
            "apparmor",
            "no such layer: apparmor; known: landlock",
        ),
        ("GAUNTLET_EVALUATION_TOKEN", "too short", "needs at least 16 characters"),
        ("GAUNTLET_EVALUATION_TOKEN", "", "is empty: unset it"),
        ("GAUNTLET_API_TOKENS", "", "is empty: unset it to go without tokens"),
        ("GAUNTLET_API_TOKENS", " ", "is empty: unset it to go without tokens"),
        ("GAUNTLET_API_TOKENS", "a-token-of-some-trainer,", "needs at least 16 characters"),
        ("GAUNTLET_API_TOKENS", "a-token-of-some-trainer@2027-02-31", "there must be a day"),
        ("GAUNTLET_EVALUATION_TOKEN", "with a line's end\n", "needs at least 16 characters, all of them ASCII"),
        ("GAUNTLET_MEMORY", "512", "known: .*GAUNTLET_MEMORY_MIB"),
    ],
)
def test_what_does_not_fit_is_named_with_the_reason(name: str, value: str, reason: str) -> None:
    with pytest.raises(StartError, match=f"{name}.*{reason}"):
        read_settings({name: value})


def test_what_follows_from_a_wrong_setting_is_not_told_as_well() -> None:
    with pytest.raises(StartError) as refused:
        read_settings({"GAUNTLET_MEMORY_MIB": "1"})
    assert str(refused.value) == "GAUNTLET_MEMORY_MIB: Input should be greater than or equal to 32"


@pytest.mark.parametrize(
    ("machine", "memory_mib", "concurrency", "pool_high"),
    [
        (Machine(cores=16, memory_mib=4096), 256, 14, 16),  # docker-compose.yml's on a machine of 16 cores
        (Machine(cores=16, memory_mib=65536), 256, 64, 64),
        (Machine(cores=16, memory_mib=16384), 256, 62, 62),
        (Machine(cores=16, memory_mib=16384), 512, 31, 31),
        (Machine(cores=2, memory_mib=4096), 256, 8, 16),
        (Machine(cores=2, memory_mib=256), 256, 1, 16),
        (Machine(cores=400, memory_mib=2**20), 256, 1024, 1024),
    ],
)
def test_defaults_fit_the_machine(
    machine: Machine, memory_mib: int, concurrency: int, pool_high: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.settings.this_machine", lambda: machine)
    settings = read_settings({"GAUNTLET_MEMORY_MIB": str(memory_mib)})
    assert (settings.concurrency, settings.pool_high) == (concurrency, pool_high)
    assert read_settings({"GAUNTLET_CONCURRENCY": "99"}).concurrency == 99


@pytest.mark.parametrize(("concurrency", "workers", "each"), [(14, 4, 3), (9, 3, 3), (2, 4, 1)])
def test_workers_have_no_more_processes_than_there_is_room_for(concurrency: int, workers: int, each: int) -> None:
    share = read_settings({"GAUNTLET_CONCURRENCY": str(concurrency), "GAUNTLET_QUEUE": "15"}).of_one_worker(workers)
    assert (share.concurrency, share.queue) == (each, -(-15 // workers))


def test_a_wall_time_over_its_own_maximum_is_refused() -> None:
    with pytest.raises(StartError, match=r"GAUNTLET_WALL_TIME_S.*GAUNTLET_MAX_WALL_TIME_S"):
        read_settings({"GAUNTLET_WALL_TIME_S": "20", "GAUNTLET_MAX_WALL_TIME_S": "10"})


def test_the_low_mark_of_the_pool_is_not_over_the_high_one() -> None:
    with pytest.raises(StartError, match="GAUNTLET_POOL_LOW is over GAUNTLET_POOL_HIGH, which is 4"):
        read_settings({"GAUNTLET_POOL_HIGH": "4"})
    assert read_settings({"GAUNTLET_POOL_HIGH": "0", "GAUNTLET_POOL_LOW": "0"}).pool_high == 0


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_settings({}).memory_mib = 1  # type: ignore[misc]


_COMPUTED = {
    "concurrency": "4 × cores, as many as fit into memory",
    "pool_high": "4 × cores, as many as fit into memory, at least 16",
}


def _written(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, str):
        return default
    return "" if default in (None, frozenset()) else f"{default:g}"


def test_the_readmes_table_is_the_settings() -> None:
    rows = re.findall(r"^\| `(GAUNTLET_\w+)` \| `?([^|`]*)`? \| ([^|]*) \|$", README.read_text(), re.MULTILINE)
    documented = {name: (default.strip(), text.strip()) for name, default, text in rows}
    described = {}
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        shown = _COMPUTED.get(name) or _written(default)
        described[PREFIX + name.upper()] = (shown, field.description)
    assert documented == described


def test_compose_passes_every_setting_on() -> None:
    compose = (README.parent / "docker-compose.yml").read_text()
    settings, _, services = compose.partition("\nservices:\n")
    assert re.findall(r"^  (GAUNTLET_\w+):$", settings, re.MULTILINE) == [
        PREFIX + name.upper() for name in Settings.model_fields
    ]
    assert services.count("environment: *settings") + services.count("<<: *settings") == 2
    runner = services.partition("\n  runner:\n")[2].partition("\n  replica-1:")[0]
    assert re.findall(r"^ +- (GAUNTLET_\w+)$", runner, re.MULTILINE) == ["GAUNTLET_EVALUATION_TOKEN"]
