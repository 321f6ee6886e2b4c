"""Bodies of the health endpoints, with an example each."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Capacity", "HealthResponse", "ReadyResponse", "SandboxHealth"]


class SandboxHealth(BaseModel):
    """What stands between submitted code and the machine; proved when the service started."""

    model_config = ConfigDict(frozen=True)

    layers: list[str]
    missing: list[str] = Field(description="layers that an operator allowed to be missing, and that are")
    landlock_abi: int
    seccomp: bool
    rlimits: bool
    namespaces: bool = Field(description="none are used: an ordinary container allows none")
    kernel: str


class Capacity(BaseModel):
    """How much is under way."""

    model_config = ConfigDict(frozen=True)

    concurrency: int = Field(description="sandboxed processes at a time")
    processes: int = Field(description="of them in use")
    waiting: int = Field(description="further ones, forked ahead of need")
    queue: int = Field(description="requests in flight or waiting, at most")
    requests: int = Field(description="of them now")
    episode_limit: int = Field(description="episodes kept at a time")
    episodes: int | None = Field(description="of them not ended; null while their store cannot be reached")


class HealthResponse(BaseModel):
    """The service is up, and how it is protected."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "status": "healthy",
                    "version": "0.1.0",
                    "grader_version": "1.1.0",
                    "sandbox": {
                        "layers": ["rlimits", "landlock", "seccomp"],
                        "missing": [],
                        "landlock_abi": 7,
                        "seccomp": True,
                        "rlimits": True,
                        "namespaces": False,
                        "kernel": "6.18.44",
                    },
                    "capacity": {
                        "concurrency": 8,
                        "processes": 0,
                        "waiting": 10,
                        "queue": 256,
                        "requests": 0,
                        "episode_limit": 1024,
                        "episodes": 3,
                    },
                }
            ]
        },
    )

    status: Literal["healthy", "unhealthy"]
    version: str
    grader_version: str
    sandbox: SandboxHealth
    capacity: Capacity


class ReadyResponse(BaseModel):
    """The service takes work."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [{"status": "ready"}]})

    status: Literal["ready"]
