"""What supervisor, zygote and child must agree on, beside the codec in `wire`."""

from dataclasses import dataclass

from . import wire

__all__ = ["CHANNEL", "READY", "Config"]

CHANNEL = 3  # a child's descriptor for messages and answers
READY = wire.frame(b"ready")  # a child's first words, once it is locked down


@dataclass(frozen=True, slots=True)
class Config:
    """What the supervisor asks of a zygote.

    Attributes:
        limits: keyword arguments of `lockdown.Limits`.
        uid: user of the children, where the layer "uid" is applied.
        landlock_abi: ABI to build rulesets for; 0 for the kernel's own.
        max_result_chars: longest repr of an expression's value that is sent whole.
        max_answer_bytes: largest answer.
    """

    limits: dict[str, int]
    uid: int
    landlock_abi: int
    max_result_chars: int
    max_answer_bytes: int
