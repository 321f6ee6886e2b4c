"""What the grader needs of a sandbox."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from service.task.contract import ENTRY_POINT

__all__ = ["CodeProcess", "Executor", "ProcessOutcome", "load_failure"]


class ProcessOutcome(Protocol):
    """What came of one message to the submission's process: exact builtin types, whatever the submission did."""

    @property
    def ok(self) -> bool:
        """Whether it answered."""

    @property
    def summary(self) -> str:
        """Why it did not, in one line that the author of the code can act on."""

    @property
    def compiled(self) -> str | None:
        """After compiling: what spares other processes the same, where it can be had."""

    @property
    def found(self) -> list[str]:
        """After compiling: the words that the source's names hold."""

    @property
    def defined(self) -> bool:
        """After loading: whether the entry point is there and callable."""

    @property
    def returned(self) -> Any:
        """After a call: what it returned."""

    @property
    def given_state(self) -> Any:
        """After a call: the state that was passed in, as the call left it behind."""


class CodeProcess(Protocol):
    """A fresh process that has run nobody else's code."""

    async def compile(self, code: str, words: Sequence[str]) -> ProcessOutcome:
        """Compiles the submission's source, looks for words in its names, and runs nothing of it."""

    async def load(self, code: str, entry_point: str, compiled: str | None) -> ProcessOutcome:
        """Runs the submission's source, which another process may have compiled."""

    async def call(self, events: Sequence[Any], state: Any, *, whole_state: bool) -> ProcessOutcome:
        """Calls the entry point.

        Args:
            events: the batch.
            state: the state.
            whole_state: False where lists and deques of the state need only be measured: something with a ``length``
                stands for each.
        """

    async def call_again(self, events: Sequence[Any], *, whole_state: bool) -> ProcessOutcome:
        """Calls it with the very state that its last call returned."""


class Executor(Protocol):
    """Gives processes, one for each case; raises where it cannot, and then there is no grade."""

    def process(self) -> AbstractAsyncContextManager[CodeProcess]:
        """A process that is gone when the block is left."""


def load_failure(loaded: ProcessOutcome) -> str | None:
    """Why a source could not be loaded, in one line; None where it could."""
    if loaded.ok:
        return None if loaded.defined else f"{ENTRY_POINT} missing"
    return loaded.summary if loaded.summary.startswith("Syntax error") else f"Import failed: {loaded.summary}"
