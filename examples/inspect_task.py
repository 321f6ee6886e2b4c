"""Episodes as an Inspect AI task: its tools come over MCP, its score is each episode's reward.

pip install inspect-ai mcp
inspect eval examples/inspect_task.py --model anthropic/claude-sonnet-5-5 -T split=validation -T episodes=20
python examples/inspect_task.py [SUBMISSION.py]      # offline, a script as the model; prints the reward

It runs against GAUNTLET_URL, by default http://127.0.0.1:8000. Offline, Inspect's own command is
`inspect eval examples/inspect_task.py --model mockllm/model -T submission=solution.py`.

Where the package is installed (`pip install '.[inspect]'` in the repository), the task is known by its name:
`inspect eval resilience_gauntlet/resilience_gauntlet`.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx
from inspect_ai import Task, eval, task  # noqa: A004
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageAssistant, Model, ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, generate, solver
from inspect_ai.tool import mcp_server_http

SERVICE = os.environ.get("GAUNTLET_URL", "http://127.0.0.1:8000")


@task
def resilience_gauntlet(
    split: str = "validation", episodes: int = 1, first: int = 0, submission: str | None = None
) -> Task:
    """The task.

    Args:
        split: what the seeds are for: train, validation or test.
        episodes: how many, each on a seed of its own.
        first: the first of these seeds, counted from the split's first.
        submission: a file that a script hands in, in place of a model; relative to this one.
    """
    about = httpx.get(f"{SERVICE}/task", params={"suite": "hardened"}).raise_for_status().json()
    if split not in about["seeds"]:
        raise ValueError(f"split: one of {', '.join(about['seeds'])}")
    seeds = range(about["seeds"][split]["low"], about["seeds"][split]["high"] + 1)[first : first + episodes]
    return Task(
        dataset=MemoryDataset([Sample(about["prompt"], id=seed, metadata={"seed": seed}) for seed in seeds]),
        setup=open_episode(),
        solver=generate(),  # calls tools until the model says something without a call
        scorer=episode_reward(),
        model=scripted_model(Path(__file__).parent / submission) if submission else None,
    )


@solver
def open_episode() -> Solver:
    """Opens an episode of the sample's seed, and gives the model its tools."""

    async def solve(state: TaskState, _: Generate) -> TaskState:
        async with httpx.AsyncClient(base_url=SERVICE, headers=authorization()) as service:
            opened = (await service.post("/episodes", json={"seed": state.metadata["seed"]})).json()
        if "id" not in opened:
            raise RuntimeError(opened["detail"])
        episode = opened["id"]
        state.store.set("episode", episode)
        state.tools = await mcp_server_http(url=f"{SERVICE}/mcp?episode={episode}", timeout=120).tools()
        return state

    return solve


@scorer(metrics=[mean(), stderr()])
def episode_reward() -> Scorer:
    """The reward of the episode, which is 0 without a submission. One without a reward, by a fault, is an error."""

    async def score(state: TaskState, _: Target) -> Score:
        async with httpx.AsyncClient(base_url=SERVICE) as service:
            read = await service.get(f"/episodes/{state.store.get('episode')}")
        episode = read.raise_for_status().json()
        if episode["status"] == "fault":
            raise RuntimeError("the service failed to grade the submission: there is no score")
        feedback = episode["grade"]["feedback"] if episode["grade"] else "nothing was submitted"
        told = {name: episode[name] for name in ("seed", "split", "rows")}
        return Score(value=episode["reward"] or 0.0, explanation=feedback, metadata=told)

    return score


def authorization() -> dict[str, str]:
    """The header that seeds of the test split need, where the service has an evaluation token."""
    token = os.environ.get("GAUNTLET_EVALUATION_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def scripted_model(submission: Path) -> Model:
    """A model that tries one thing out, hands in what stands in a file, and then has no more to say."""
    calls = [
        ("python_expression", {"expression": "stats.median([5.0, 8.0])"}),
        ("submit_code", {"code": submission.read_text()}),
    ]

    def reply(messages: list[ChatMessage], *_: Any) -> ModelOutput:
        turn = sum(isinstance(message, ChatMessageAssistant) for message in messages)
        if turn < len(calls):
            output = ModelOutput.for_tool_call("mockllm/model", *calls[turn])
        else:
            output = ModelOutput.from_content("mockllm/model", "Done.")
        output.usage = ModelUsage()  # without it the mock model downloads a tokenizer
        return output

    return get_model("mockllm/model", custom_outputs=reply)


def main() -> None:
    """Evaluates a script in place of a model, and prints what its episode earned."""
    submission = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("solution.py")).absolute()
    log = eval(resilience_gauntlet(submission=str(submission)), display="plain")[0]
    if log.status != "success" or not log.samples:
        sys.exit(f"the evaluation failed: {log.error.message if log.error else log.status}")
    score = log.samples[0].scores["episode_reward"]
    print(json.dumps({"reward": score.value, **score.metadata}))


if __name__ == "__main__":
    main()
