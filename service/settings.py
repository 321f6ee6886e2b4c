"""Every setting of the service, read from ``GAUNTLET_…`` environment variables once, at start."""

import os
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.errors import StartError

__all__ = ["PREFIX", "Settings", "read_settings"]

PREFIX = "GAUNTLET_"
WEAKENABLE = frozenset({"uid", "rlimits", "landlock", "seccomp"})


class Settings(BaseSettings):
    """What an operator may change; the README's table is tested against these fields."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    wall_time_s: float = Field(5.0, gt=0, le=30, description="wall clock of one call or graded case, seconds")
    max_wall_time_s: float = Field(30.0, gt=0, le=300, description="most that `timeout_s` may ask for, seconds")
    cpu_time_s: int = Field(5, ge=1, le=300, description="processor time of one sandboxed process, seconds")
    memory_mib: int = Field(256, ge=32, le=65536, description="memory of one sandboxed process, MiB")
    stdout_kib: int = Field(64, ge=1, le=16384, description="printed text kept of one call, KiB, for each stream")
    answer_kib: int = Field(1024, ge=16, le=65536, description="returned data of one call, KiB")
    open_files: int = Field(64, ge=16, le=4096, description="descriptors of one sandboxed process")
    code_kib: int = Field(256, ge=1, le=16384, description="largest request body, KiB")
    concurrency: int = Field(
        default_factory=lambda: 4 * (os.cpu_count() or 1), ge=1, le=1024, description="sandboxed processes at a time"
    )
    queue: int = Field(256, ge=1, le=65536, description="requests in flight or waiting; one more is answered 503")
    sandbox_uid: int = Field(
        61113, ge=1, le=2**31 - 2, description="user that sandboxed processes become when root runs the service"
    )
    sandbox_allow_weaker: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(), description="layers that may be missing, comma-separated: uid, rlimits, landlock, seccomp"
    )

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


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Reads the settings, refusing names that would be ignored.

    Raises:
        StartError: an unknown ``GAUNTLET_…`` name, or a value that does not fit; says which and why.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in environment if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise StartError(f"unknown setting {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"{PREFIX}{str(problem['loc'][0]).upper()}: {problem['msg']}" for problem in error.errors()
        )
        raise StartError(problems) from None
