"""`gauntlet run --dry-run`: what a run might cost, before anything is spent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from pydantic import ValidationError

from runner.local_service import open_service
from runner.providers import open_model
from runner.records import RunSummary, Usage, total_cost
from runner.tools import RESULT_LIMIT
from runner.wording import dollars, token_count

if TYPE_CHECKING:
    from pathlib import Path

    from runner.caller import Provider
    from runner.request import RunRequest

__all__ = ["Guess", "estimate_session", "past_cost_usd"]


@dataclass(frozen=True, slots=True)
class Guess:
    """How an episode goes.

    Attributes:
        calls: Of the model.
        answer_tokens: Of each of its answers.
        result_tokens: Of what the tools give back to each.
    """

    calls: int
    answer_tokens: int
    result_tokens: int

    def cost_usd(self, model: Provider, prompt_tokens: int) -> float | None:
        """What one episode costs, in US dollars, with everything but the latest exchange read from the cache."""
        exchange = self.answer_tokens + self.result_tokens
        usages = [
            Usage(
                cache_read_input_tokens=0 if call == 0 else prompt_tokens + (call - 1) * exchange,
                cache_creation_input_tokens=prompt_tokens if call == 0 else exchange,
                output_tokens=self.answer_tokens,
            )
            for call in range(self.calls)
        ]
        return total_cost(model.pricing.cost_usd(model.name, usage) for usage in usages)


_TYPICAL = Guess(calls=8, answer_tokens=1000, result_tokens=400)
_CHARACTERS_PER_TOKEN = 4


async def estimate_session(request: RunRequest, stream: TextIO) -> int:
    """Print the estimate.

    Returns:
        The exit status of the command.

    Raises:
        RunnerError: The service or the model's API cannot be asked.
    """
    async with open_model(request) as model, open_service(request.service) as service:
        task = await service.task(request.suite)
        prompt = [{"role": "user", "content": [{"type": "text", "text": task.prompt}]}]
        prompt_tokens = await model.count_tokens(prompt, task.tools)
    stream.write("\n".join([*_lines(request, model, prompt_tokens), ""]))
    return 0


def _lines(request: RunRequest, model: Provider, prompt_tokens: int) -> list[str]:
    worst = Guess(request.limits.steps, request.max_tokens, RESULT_LIMIT // _CHARACTERS_PER_TOKEN)
    dearest, guessed = worst.cost_usd(model, prompt_tokens), _TYPICAL.cost_usd(model, prompt_tokens)
    lines = [f"Prompt: {token_count(prompt_tokens)} tokens, {request.episodes} episodes with {model.name}"]
    if dearest is None or guessed is None:
        return [*lines, f"The price of {model.name} is unknown"]
    past = past_cost_usd(request.out, model.name, request.suite)
    if past is not None:
        mean_usd, episodes = past
        basis = f"{dollars(mean_usd)} each, the mean of {episodes} episodes in {request.out}"
    else:
        mean_usd = guessed
        basis = (
            f"{dollars(mean_usd)} each: a guess of {_TYPICAL.calls} calls with {_TYPICAL.answer_tokens} tokens, "
            f"for {request.out} has no run with this model"
        )
    lines.append(f"About {dollars(mean_usd * request.episodes)}: {basis}")
    lines.append(
        f"At most {dollars(dearest * request.episodes)}, "
        f"if every episode makes {worst.calls} calls and every answer has {worst.answer_tokens} tokens"
    )
    if request.max_cost_usd is not None:
        lines.append(f"--max-cost ends the run at {dollars(request.max_cost_usd)}")
    return lines


def past_cost_usd(out: Path, model: str, suite: str) -> tuple[float, int] | None:
    """What an episode of a model has cost in earlier live runs, and in how many of them; None where there is none."""
    cost_usd, episodes = 0.0, 0
    for path in out.glob("*/summary.json"):
        try:
            summary = RunSummary.model_validate_json(path.read_bytes())
            config = json.loads((path.parent / "config.json").read_bytes())
        except (OSError, ValueError, ValidationError):
            continue
        if summary.scripted or summary.cost_usd is None or (config.get("model"), config.get("suite")) != (model, suite):
            continue
        cost_usd += summary.cost_usd
        episodes += summary.valid
    return (cost_usd / episodes, episodes) if episodes else None
