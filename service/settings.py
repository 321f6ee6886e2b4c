"""Every setting of the service, read from ``GAUNTLET_…`` environment variables once, at start."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from service.errors import StartError
from service.machine import this_machine

__all__ = ["PREFIX", "Settings", "read_settings"]

PREFIX = "GAUNTLET_"
_TOKEN_CHARS = 16
_MOST_SLOTS = 1024
WEAKENABLE = frozenset({"uid", "rlimits", "landlock", "seccomp"})


def _slots(given: Mapping[str, Any]) -> int:
    return min(_MOST_SLOTS, this_machine().slots(given["memory_mib"]))


class Settings(BaseModel):
    """What an operator may change; the README's table is tested against these fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wall_time_s: float = Field(
        5.0,
        gt=0,
        le=30,  # a grade is many cases, an audit seven grades, and clients wait two minutes; `timeout_s` is of one call
        allow_inf_nan=False,
        description="wall clock of one call or graded case, seconds, 30 at most",
    )
    max_wall_time_s: float = Field(
        30.0, gt=0, le=300, allow_inf_nan=False, description="most that `timeout_s` may ask for, seconds, 300 at most"
    )
    cpu_time_s: int = Field(
        5, ge=1, le=300, description="processor time of one sandboxed process, whatever `timeout_s` asks for, seconds"
    )
    memory_mib: int = Field(256, ge=32, le=65536, description="memory of one sandboxed process, MiB")
    stdout_kib: int = Field(64, ge=1, le=16384, description="printed text kept of one call, KiB, for each stream")
    answer_kib: int = Field(1024, ge=16, le=65536, description="returned data of one call, KiB")
    open_files: int = Field(64, ge=16, le=4096, description="descriptors of one sandboxed process")
    code_kib: int = Field(256, ge=1, le=16384, description="largest source, KiB; a request body may have twice that")
    concurrency: int = Field(default_factory=_slots, ge=1, le=_MOST_SLOTS, description="sandboxed processes at a time")
    queue: int = Field(256, ge=1, le=65536, description="requests in flight or waiting; one more is answered 503")
    client_requests: int | None = Field(
        None, ge=1, le=65536, description="of them, most of one caller; one more is answered 429"
    )
    pool_low: int = Field(10, ge=0, le=1024, description="least processes to keep waiting, forked ahead of need")
    pool_high: int = Field(
        default_factory=lambda given: max(16, _slots(given)),
        ge=0,
        le=_MOST_SLOTS,
        description="most to keep waiting: as many as were lately in use at a time; 0 forks each on demand",
    )
    zygote_children: int = Field(
        10_000, ge=1, le=10**9, description="processes forked from one interpreter before a fresh one takes over"
    )
    drain_s: int = Field(
        15,
        ge=1,
        le=600,
        description="seconds that requests in flight get to finish in after SIGTERM",
    )
    episodes: int = Field(1024, ge=1, le=1_000_000, description="episodes kept at a time; one more is refused")
    client_episodes: int | None = Field(
        None, ge=1, le=1_000_000, description="of them, most of one caller; one more is answered 429"
    )
    episode_steps: int = Field(64, ge=1, le=100_000, description="most tool calls of one episode")
    episode_time_s: int = Field(3600, ge=1, le=604_800, description="most seconds that one episode may take")
    episode_idle_s: int = Field(
        900, ge=1, le=604_800, description="seconds without a call after which an episode is forgotten"
    )
    api_tokens: SecretStr | None = Field(
        None,
        description="comma-separated, 16 characters or more each; where set, calls need one of them or the evaluation "
        "token. `TOKEN@2027-01-31` holds until that day (UTC)",
    )
    redis_url: SecretStr | None = Field(
        None,
        description="Redis that keeps episodes for several workers or replicas, such as redis://:password@host:6379/0; "
        "without one they are kept in memory",
    )
    evaluation_token: SecretStr | None = Field(
        None, description="must be sent with seeds of the test split, where it is set; 16 characters or more"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="`text` says what went wrong; `json` writes one object a line, and a line for each request"
    )
    page: bool = Field(
        True, description="whether `/` is a page to try the service on, with `/trace` and `/grade/rows` behind it"
    )
    sandbox_uid: int = Field(
        61113, ge=1, le=2**31 - 2, description="user that sandboxed processes become when root runs the service"
    )
    sandbox_allow_weaker: frozenset[str] = Field(
        frozenset(), description="layers that may be missing, comma-separated: uid, rlimits, landlock, seccomp"
    )

    def of_one_worker(self, workers: int) -> "Settings":
        """One worker's share of the limits that hold for all of them together.

        Rounded up, but for the processes at a time: those must have room in memory.
        """
        shares = {name: -(-getattr(self, name) // workers) for name in ("queue", "pool_low", "pool_high")}
        return self.model_copy(update=shares | {"concurrency": max(1, self.concurrency // workers)})

    @model_validator(mode="after")
    def _ordered(self) -> "Settings":
        if self.wall_time_s > self.max_wall_time_s:
            raise ValueError("GAUNTLET_WALL_TIME_S is over GAUNTLET_MAX_WALL_TIME_S")
        if self.pool_low > self.pool_high:
            raise ValueError(f"GAUNTLET_POOL_LOW is over GAUNTLET_POOL_HIGH, which is {self.pool_high}")
        return self

    @field_validator("api_tokens", "evaluation_token")
    @classmethod
    def _not_empty(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().strip():
            raise ValueError("it is empty: unset it to go without tokens")  # which a slip must never come to
        return value

    @field_validator("evaluation_token")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _check_token(value.get_secret_value())
        return value

    @field_validator("api_tokens")
    @classmethod
    def _tokens(cls, value: SecretStr | None) -> SecretStr | None:
        for text in value.get_secret_value().split(",") if value is not None else ():
            token, at, day = text.partition("@")
            _check_token(token)
            if at and not _is_day(day):
                raise ValueError("behind an @ there must be a day, such as 2027-01-31")
        return value

    @field_validator("sandbox_allow_weaker", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return frozenset(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("sandbox_allow_weaker")
    @classmethod
    def _known(cls, value: frozenset[str]) -> frozenset[str]:
        unknown = sorted(value - WEAKENABLE)
        if unknown:
            raise ValueError(f"no such layer: {', '.join(unknown)}; known: {', '.join(sorted(WEAKENABLE))}")
        return value


def _is_day(text: str) -> bool:
    try:
        return bool(re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) and date.fromisoformat(text))
    except ValueError:
        return False


def _check_token(token: str) -> None:
    if len(token) < _TOKEN_CHARS or not all("!" <= character <= "~" for character in token):
        raise ValueError(f"needs at least {_TOKEN_CHARS} characters, all of them ASCII and none a blank")


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Reads the settings, refusing names that would be ignored.

    Raises:
        StartError: an unknown ``GAUNTLET_…`` name, or a value that does not fit; says which and why.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in environment if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise StartError(f"unknown setting {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    given = {name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name in known}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        wrong = [each for each in error.errors() if each["type"] != "default_factory_not_called"]  # for another's sake
        raise StartError("; ".join(map(_explained, wrong))) from None


def _explained(problem: ErrorDetails) -> str:
    names = [PREFIX + str(name).upper() for name in problem["loc"]]
    return ": ".join([*names, problem["msg"].removeprefix("Value error, ")])
