"""Episodes over plain HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Path, Query
from pydantic import ConfigDict, Field, RootModel

from service.api.problems import documented
from service.episodes import RUNNING, EpisodeRequest, Episodes, EpisodeView, ToolResponse
from service.schemas import documented_model
from service.task import ToolFormat, prompt, tool_schemas

__all__ = ["episode_routes"]

EpisodeId = Annotated[str, Path(description="as `POST /episodes` answered it", max_length=64)]


class ToolArguments(RootModel[dict[str, Any]]):
    """A tool's arguments, by name."""

    model_config = ConfigDict(
        frozen=True, json_schema_extra={"examples": [{"expression": "1 + 1"}, {"code": "def process_batch(…"}]}
    )


class EpisodeStart(EpisodeView):
    """A new episode, with all that a model is given."""

    model_config = documented_model(
        {
            **RUNNING,
            "prompt": "You maintain a preprocessing pipeline for streaming sensor readings. …",
            "tools": [{"name": "submit_code", "description": "…", "input_schema": {"type": "object"}}],
        }
    )

    prompt: str
    tools: list[dict[str, Any]] = Field(description="tool schemas, in the shape that `format` asked for")


def episode_routes(episodes: Episodes) -> APIRouter:
    """The router of ``/episodes``."""
    router = APIRouter(prefix="/episodes", tags=["episodes"])

    @router.post("", status_code=201, responses=documented(400, 403, 413, 422, 503))
    async def open_episode(
        request: Annotated[EpisodeRequest, Body(default_factory=EpisodeRequest)],
        format: Annotated[ToolFormat, Query(description="shape of the tool schemas")] = ToolFormat.ANTHROPIC,  # noqa: A002
        authorization: Annotated[str | None, Header()] = None,
    ) -> EpisodeStart:
        """Begins an episode; its `id` is the key to it.

        Example: `{"split": "validation", "step_limit": 16}`; without a body, the hardened suite on a training seed.
        """
        view = await episodes.open(request, authorization=authorization)
        return EpisodeStart(**view.model_dump(), prompt=prompt(view.suite), tools=tool_schemas(format))

    @router.get("/{episode_id}", responses=documented(404, 422, 503))
    async def read_episode(episode_id: EpisodeId) -> EpisodeView:
        """Answers where an episode is, and once it has ended its reward and grade."""
        return await episodes.view(episode_id)

    @router.post("/{episode_id}/tools/{tool}", responses=documented(400, 404, 409, 413, 422, 500, 503))
    async def call_tool(
        episode_id: EpisodeId,
        tool: Annotated[str, Path(description="`python_expression` or `submit_code`", max_length=64)],
        arguments: ToolArguments,
    ) -> ToolResponse:
        """Calls a tool with its arguments: `{"expression": …}` or `{"code": …}`.

        The first `submit_code` is graded and ends the episode: the answer has its `reward` and `grade`. Where the grade
        is lost through the service's fault, `status` is `fault` and `reward` null.
        """
        return await episodes.call(episode_id, tool, arguments.root)

    @router.delete("/{episode_id}", status_code=204, responses=documented(404, 422, 503))
    async def close_episode(episode_id: EpisodeId) -> None:
        """Forgets an episode."""
        await episodes.close(episode_id)

    return router
