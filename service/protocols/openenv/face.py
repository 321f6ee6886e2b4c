"""Episodes in OpenEnv's words: what `reset`, `step` and `state` do, whatever they come over."""

from typing import Any

from service.episodes import Episodes, EpisodeStatus, EpisodeView
from service.errors import EpisodeFinishedError, InputError, UnknownToolError
from service.protocols.openenv.messages import (
    CallToolAction,
    CallToolObservation,
    ListToolsAction,
    ListToolsObservation,
    Outcome,
    ResetObservation,
    ResetRequest,
    State,
    ToolError,
    ToolErrorType,
)
from service.task import ToolFormat, prompt, tool_schemas
from service.tool_text import FAULT_TEXT

__all__ = ["Face"]

_NAME_CHARS = 64  # of a tool that there is not, echoed: a model may have put anything there


class Face:
    """`reset`, `step` and `state` of sessions, each of which is the episode of its id."""

    def __init__(self, episodes: Episodes) -> None:
        self._episodes = episodes

    async def reset(
        self, request: ResetRequest, *, authorization: str | None, session_id: str | None = None
    ) -> Outcome:
        """Begins an episode.

        Args:
            request: what it is about.
            authorization: the header that came with it.
            session_id: whose episode begins anew; None for a new session. Must be one that was given out.

        Raises:
            GauntletError: as `Episodes.open` does.
        """
        if session_id is None:
            view = await self._episodes.open(request, authorization=authorization)
        else:
            view = await self._episodes.reset(session_id, request, authorization=authorization)
        return Outcome(
            observation=ResetObservation(prompt=prompt(view.suite)), metadata=_told(view, request.episode_id)
        )

    async def step(self, session_id: str, action: CallToolAction | ListToolsAction, name: str | None = None) -> Outcome:
        """Does what an action says.

        What a model got wrong, and that its time is over, is an observation that it can read.

        Args:
            session_id: whose episode.
            action: what to do.
            name: the client's own for the episode.

        Raises:
            GauntletError: as `Episodes.call` does, but for the tool and its arguments.
        """
        if isinstance(action, ListToolsAction):
            return self.tools()
        try:
            called = await self._episodes.call(session_id, action.tool_name, action.arguments)
        except UnknownToolError as error:
            failed = ToolError(error_type=ToolErrorType.TOOL_NOT_FOUND, message=str(error))
        except InputError as error:
            failed = ToolError(error_type=ToolErrorType.INVALID_ARGS, message=str(error))
        except EpisodeFinishedError as error:
            if (await self._episodes.view(session_id)).status is not EpisodeStatus.TIME_LIMIT:
                raise
            failed = ToolError(error_type=ToolErrorType.TIMEOUT, message=str(error))
        else:
            return _observed(called, name, action, called.text)
        return _observed(await self._episodes.view(session_id), name, action, failed)

    def tools(self) -> Outcome:
        """Answers the tools, which are the same in every session."""
        return Outcome(observation=ListToolsObservation(tools=tool_schemas(ToolFormat.ANTHROPIC)))

    async def state(self, session_id: str, name: str | None = None) -> State:
        """Answers where a session's episode is.

        Args:
            session_id: whose.
            name: the client's own for the episode.

        Raises:
            NoEpisodeError: there is no such session.
        """
        view = await self._episodes.view(session_id)
        return State(**_told(view, name), step_count=view.steps)


def _observed(view: EpisodeView, name: str | None, action: CallToolAction, came_of_it: str | ToolError) -> Outcome:
    if view.status is EpisodeStatus.FAULT:
        came_of_it = ToolError(error_type=ToolErrorType.EXECUTION_ERROR, message=FAULT_TEXT)
    told = _told(view, name)
    observation = CallToolObservation(
        tool_name=action.tool_name[:_NAME_CHARS],
        result=came_of_it if isinstance(came_of_it, str) else None,
        error=came_of_it if isinstance(came_of_it, ToolError) else None,
        metadata=told if view.done else {},
    )
    return Outcome(observation=observation, reward=view.reward, done=view.done, metadata=told)


def _told(view: EpisodeView, name: str | None) -> dict[str, Any]:
    """What a trainer is told of an episode; once it has ended, with its breakdown."""
    told = view.model_dump(
        mode="json",
        exclude={"id", "text", "execution"},
    )
    return {"episode_id": name or view.id, "session_id": view.id, **told}
