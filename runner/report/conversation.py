"""An episode's conversation, made ready for the page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from runner.report.highlighting import highlighted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from markupsafe import Markup

    from runner.answers import Json

__all__ = ["LONGEST", "Block", "Kind", "Message", "Shown", "blocks_of", "conversation", "shown"]

LONGEST = 20_000
"""Characters of one text on the page; what is cut off is named, and is in the run's records."""

_LONGEST_CONVERSATION = 200_000


class Kind(StrEnum):
    """What a block of a message is."""

    PROMPT = "prompt"
    TEXT = "text"
    THINKING = "thinking"
    CALL = "call"
    SUBMISSION = "submission"
    RESULT = "result"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Shown:
    """A text as far as it is shown; `code` is its markup where it is Python."""

    text: str
    cut: int = 0
    code: Markup | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """One block; `name` is the tool's, `body` is None where the page has the text elsewhere."""

    kind: Kind
    name: str = ""
    body: Shown | None = None
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """One side's turn; `step` counts the model's, and is 0 for the other side's."""

    step: int
    blocks: Sequence[Block]


def shown(text: str, *, is_code: bool = False, most: int = LONGEST) -> Shown:
    """Cut a text to `most` characters."""
    kept = text[:most]
    return Shown(kept, len(text) - len(kept), highlighted(kept) if is_code else None)


def conversation(messages: Sequence[Json], *, prompt: str, submission: str | None) -> list[Message]:
    """Make messages ready, as the Messages API has them.

    Args:
        messages: From a transcript.
        prompt: The run's prompt, which the page shows once for all episodes.
        submission: The code that was graded, which stands above the conversation.
    """
    return list(_Reader(prompt, submission).read(messages))


def blocks_of(message: Json) -> Sequence[Json]:
    """The content of a message; the Messages API lets a string stand for a single block of text."""
    content: str | Sequence[Json] = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class _Reader:
    """Goes through one conversation; remembers who called what, and how much of the page is used up."""

    def __init__(self, prompt: str, submission: str | None) -> None:
        self._prompt = prompt
        self._submission = submission
        self._names: dict[object, str] = {}
        self._left = _LONGEST_CONVERSATION

    def read(self, messages: Sequence[Json]) -> Iterator[Message]:
        step = 0
        for message in messages:
            is_model = message["role"] == "assistant"
            step += is_model
            yield Message(step if is_model else 0, [self._block(block) for block in blocks_of(message)])

    def _block(self, block: Json) -> Block:
        match block:
            case {"type": "text", "text": str(text)}:
                is_prompt = text == self._prompt
                return Block(Kind.PROMPT) if is_prompt else Block(Kind.TEXT, body=self._shown(text))
            case {"type": "thinking", "thinking": str(text)}:
                return Block(Kind.THINKING, body=self._shown(text))
            case {"type": "tool_use", "name": str(name), "input": given}:
                self._names[block.get("id")] = name
                return self._call(name, given)
            case {"type": "tool_result"}:
                name = self._names.get(block.get("tool_use_id"), "")
                text = _result_text(block.get("content", ""))
                return Block(Kind.RESULT, name, self._shown(text), is_error=block.get("is_error") is True)
        return Block(Kind.OTHER, str(block.get("type", "")), self._shown(_written(block)))

    def _call(self, name: str, given: Any) -> Block:
        match given:
            case {"code": str(code)} if len(given) == 1 and code == self._submission:
                return Block(Kind.SUBMISSION, name)
            case {"code": str(code)} | {"expression": str(code)} if len(given) == 1:
                return Block(Kind.CALL, name, self._shown(code, is_code=True))
        return Block(Kind.CALL, name, self._shown(_written(given)))

    def _shown(self, text: str, *, is_code: bool = False) -> Shown:
        body = shown(text, is_code=is_code, most=min(LONGEST, self._left))
        self._left -= len(body.text)
        return body


def _result_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(
        part["text"] if isinstance(part, dict) and isinstance(part.get("text"), str) else _written(part)
        for part in content
    )


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
