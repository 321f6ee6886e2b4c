"""One step of GRPO on the service's episodes: TRL's `environment_factory`, with the rows logged beside the reward.

pip install trl httpx
python examples/trl_grpo.py [SUBMISSION.py]      # against GAUNTLET_URL, by default http://127.0.0.1:8000

It runs offline, on a toy model whose tool calls are scripted. To train yours, paste what stands above "The stand-in"
and call `gauntlet_trainer("Qwen/Qwen3-4B-Instruct-2507", num_generations=8).train()`.
"""

import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

SERVICE = os.environ.get("GAUNTLET_URL", "http://127.0.0.1:8000")
UNFIT = (413, 422)  # arguments that the model got wrong
TRAINING_SEEDS = range(1_000_000_000)


class GauntletEnvironment:
    """One rollout's episode. What is public, except `reset`, is a tool of the model."""

    def __init__(self) -> None:
        self._service = httpx.Client(base_url=SERVICE, timeout=120)
        self.episode: dict[str, Any] = {}
        self.reward: float | None = 0.0

    def reset(self, seed: int, **_: Any) -> str:
        """Begins an episode on the example's seed, the same for its whole group; answers what the model is asked."""
        if self.episode:
            self._service.delete(f"/episodes/{self.episode['id']}")
        self.episode = self._service.post("/episodes", json={"seed": seed}).raise_for_status().json()
        self.reward = 0.0  # of an episode in which nothing is handed in
        return self.episode["prompt"]

    def python_expression(self, expression: str) -> str:
        """Run Python in a fresh sandboxed process, with math and statistics (also as stats) imported.

        Args:
            expression: Python source; what it prints and the value of a last bare expression are answered.
        """
        return self._call("python_expression", {"expression": expression})

    def submit_code(self, code: str) -> str:
        """Hand in the whole source of process_batch. Ends the episode: there is one submission.

        Args:
            code: Plain Python source that defines process_batch(events, state).
        """
        return self._call("submit_code", {"code": code})

    def _call(self, tool: str, arguments: dict[str, str]) -> str:
        try:
            answer = self._service.post(f"/episodes/{self.episode['id']}/tools/{tool}", json=arguments)
            if answer.status_code in UNFIT:
                return answer.json()["detail"]
            if answer.status_code == httpx.codes.CONFLICT:  # the episode has ended, by its time for instance
                answer = self._service.get(f"/episodes/{self.episode['id']}")
            told = answer.raise_for_status().json()
        except httpx.HTTPError:
            self.reward = None  # the service's fault, unless a later call makes up for it
            raise
        if told["done"]:
            self.episode, self.reward = told, told["reward"]
        return told.get("text", "The episode has ended.")


def gauntlet_reward(
    environments: list[GauntletEnvironment], log_metric: Callable[[str, float], None], **_: Any
) -> list[float | None]:
    """The episodes' rewards. One that the service failed has None, which TRL leaves out: never a zero."""
    for environment in environments:
        for row, points in (environment.episode.get("rows") or {}).items():
            log_metric(f"rows/{row}", points)
    return [environment.reward for environment in environments]


def gauntlet_trainer(model: Any, tokenizer: Any = None, **settings: Any) -> GRPOTrainer:
    """A trainer for a model, which may be a name on the hub."""
    asked = [{"role": "user", "content": ""}]  # `reset` fills it
    seeds = random.sample(TRAINING_SEEDS, 1000)
    return GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        environment_factory=GauntletEnvironment,
        reward_funcs=gauntlet_reward,
        train_dataset=Dataset.from_list([{"prompt": asked, "seed": seed} for seed in seeds]),
        args=GRPOConfig(max_completion_length=8192, logging_steps=1, **settings),
    )


# The stand-in: a toy model that TRL trains like any other, but that says what a script says.

SUBMISSION = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("solution.py"))


def scripted_model() -> tuple[Any, Any]:
    """A random Qwen3 of one layer, with a tokenizer of its own, that tries one thing out and hands in a file."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM  # noqa: PLC0415
    from trl.chat_template_utils import qwen3_instruct_2507_chat_template  # noqa: PLC0415

    calls = [
        {"name": "python_expression", "arguments": {"expression": "stats.median([5.0, 8.0])"}},
        {"name": "submit_code", "arguments": {"code": SUBMISSION.read_text()}},
    ]
    script = [*(f"<tool_call>\n{json.dumps(call)}\n</tool_call><|im_end|>" for call in calls), "Done.<|im_end|>"]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(script, trainers.BpeTrainer(vocab_size=1000, initial_alphabet=alphabet))
    special = {"eos_token": "<|im_end|>", "pad_token": "<|pad|>", "additional_special_tokens": ["<|im_start|>"]}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, padding_side="left", chat_template=qwen3_instruct_2507_chat_template, **special
    )

    class ScriptedModel(Qwen3ForCausalLM):
        def generate(self, input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
            turns = [text.count("<tool_response>") for text in tokenizer.batch_decode(input_ids)]
            said = tokenizer([script[turn] for turn in turns], padding_side="right", padding=True, return_tensors="pt")
            return torch.cat([input_ids, said.input_ids.to(input_ids)], dim=1)

    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, head_dim=16, max_position_embeddings=32768,
        num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1,
    )  # fmt: skip
    return ScriptedModel(config), tokenizer


def main() -> None:
    """Trains the stand-in for one step, on the CPU."""
    model, tokenizer = scripted_model()
    size = {"max_steps": 1, "num_generations": 2, "per_device_train_batch_size": 2}
    with TemporaryDirectory() as place:
        settings = {"output_dir": place, "use_cpu": True, "bf16": False, "report_to": "none", "save_strategy": "no"}
        trainer = gauntlet_trainer(model, tokenizer, **size, **settings)
        trainer.train()
    logged = trainer.state.log_history[0]
    episode = trainer.environments[0].episode
    rows = {name.removeprefix("rows/"): points for name, points in logged.items() if name.startswith("rows/")}
    print(json.dumps({"reward": logged["reward"], "seed": episode["seed"], "split": episode["split"], "rows": rows}))


if __name__ == "__main__":
    main()
