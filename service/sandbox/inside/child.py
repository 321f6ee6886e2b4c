"""A single-use child: locked down, it takes one submission's messages, answers them and waits to be killed.

Every message carries a nonce that its answer must repeat, so that nothing can be answered before it was asked.
The answers are claims, nothing more: this process is the submission's from the moment its code runs.

==========  ==========================================  ==========================================================
``op``      members of the message                      members of the answer, beside ``status``, ``error``, ``line``
==========  ==========================================  ==========================================================
execute     ``code``                                    ``result``: str or null, ``truncated``
compile     ``code``, ``words``                         ``compiled``: str, or null where it would be too long;
                                                        ``found``: those of the words that are in its names
load        ``code``, ``entry_point``, ``compiled``     ``defined``: whether there is such a callable
            (str or null)
call        ``events``, ``state`` or ``hand_on``,       ``returned``, ``given_state`` as the call left it, or
            ``whole``: bool                             ``handed_back``: it is the very state that was returned;
                                                        lists and deques in them only measured, if not ``whole``
probe       ``forbidden``: names of probes              ``succeeded``: those that were not forbidden after all
==========  ==========================================  ==========================================================
"""

import atexit
import binascii
import marshal
import mmap
import os
import pickle
import sys
import threading
from collections import deque
from typing import Any

from . import memory, probes, running, wire
from .names import words_in_names
from .protocol import CHANNEL

__all__ = ["Session"]

_HEADER_BYTES = 4 + wire.NONCE_BYTES
_CHUNK_BYTES = 1 << 16
_RESERVE_BYTES = 2 << 20
_REHEARSALS = 64

# Touches what most submissions touch: in a child that waits for its job, those pages are its own already.
_REHEARSAL = pickle.dumps({"op": "execute", "code": "float('1.5')"})


class Session:
    """What one child keeps between the messages of its one submission."""

    def __init__(self, max_result_chars: int, max_answer_bytes: int) -> None:
        self._max_result_chars = max_result_chars
        self._max_answer_bytes = max_answer_bytes
        self._scope = running.main_module()
        self._entry_point: Any = None
        self._state: Any = None
        self._measured: tuple[Any, ...] = ()

    def rehearse(self) -> None:
        """Runs a job of our own that leaves nothing behind but warm code and memory."""
        message = _loads(_REHEARSAL)
        shown = self._shown(repr(running.evaluate(message["code"], self._scope)))
        wire.frame(self._encoded(shown))

    def rehearse_at_length(self) -> None:
        """The same with an answer of many rows, often enough for the interpreter to specialise the code."""
        rows = [{"ts": number, "reading": number / 7, "tag": "rehearsal"} for number in range(20)]
        for _ in range(_REHEARSALS):
            self.rehearse()
            self._encoded({"status": "ok", "returned": {"clean": rows, "state": {"buffer": deque(rows, 20)}}})

    def serve(self) -> None:
        """Answers messages on the channel until the supervisor closes it or kills this process."""
        while message := _read():
            nonce, payload = message[4:_HEADER_BYTES], message[_HEADER_BYTES:]
            request = _loads(payload)
            _write(wire.frame(nonce + self._answer(request)))
            if request["op"] == "execute":  # nothing more is asked: dying while the answer is read saves time
                return

    def _answer(self, message: dict[str, Any]) -> bytes:
        """Handles one message; what fails is an answer too."""
        reserve = mmap.mmap(-1, _RESERVE_BYTES, memory.PRIVATE)  # given back where memory has run out; never touched
        try:
            answer = self._handle(message)
        except running.Failure as failure:
            reserve.close()
            answer = _report(failure)
        except BaseException as error:
            reserve.close()
            answer = _report(running.failure_of(error))
        return self._encoded(answer)

    def _handle(self, message: dict[str, Any]) -> dict[str, Any]:
        match message:
            case {"op": "execute", "code": code}:
                return self._execute(code)
            case {"op": "compile", "code": code, "words": words}:
                return self._compile(code, words)
            case {"op": "load", "code": code, "entry_point": entry_point, "compiled": compiled}:
                return self._load(code, entry_point, compiled)
            case {"op": "call", "events": events, "whole": whole, "hand_on": True}:
                return self._call(events, self._state, whole=whole)
            case {"op": "call", "events": events, "whole": whole, "state": state}:
                return self._call(events, state, whole=whole)
            case {"op": "probe", "forbidden": names}:
                return {"status": "ok", "succeeded": probes.not_forbidden(names)}
        raise running.Failure("error", f"unknown message: {sorted(message)}")

    def _execute(self, code: str) -> dict[str, Any]:
        failure, shown = None, None
        try:
            value = running.evaluate(code, self._scope)
            shown = None if value is None else repr(value)
            del value
        except running.Failure as caught:
            failure = caught
        except BaseException as error:  # of the value's own __repr__
            failure = running.failure_of(error)
        self._finish()
        if failure is not None:
            return _report(failure)
        return self._shown(shown)

    def _shown(self, text: str | None) -> dict[str, Any]:
        limit = self._max_result_chars
        if text is None or len(text) <= limit:
            return {"status": "ok", "result": text, "truncated": False}
        answer = {"status": "ok", "result": text[:limit], "truncated": True}
        if len(text) > self._max_answer_bytes:
            answer |= {"status": "output_limit", "error": f"the result's repr has {len(text)} characters"}
        return answer

    def _finish(self) -> None:
        """Ends the code as the end of a process would: threads, exit handlers, finalizers, buffers."""
        if len(threading._active) > 1:  # type: ignore[attr-defined]  # noqa: SLF001
            threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
        atexit._run_exitfuncs()  # noqa: SLF001
        self._scope.clear()
        for stream in (_stdout, _stderr):
            try:
                stream.flush()
            except Exception:  # noqa: S112 - the submission closed or broke it: its output is lost to itself
                continue

    def _compile(self, code: str, words: list[str]) -> dict[str, Any]:
        compiled = binascii.b2a_base64(marshal.dumps(running.compiled(code)), newline=False).decode("ascii")
        found = words_in_names(running.parsed(code), words) if words else []
        fits = len(compiled) < self._max_answer_bytes // 2
        return {"status": "ok", "compiled": compiled if fits else None, "found": found}

    def _load(self, code: str, entry_point: str, compiled: str | None) -> dict[str, Any]:
        program = running.compiled(code) if compiled is None else marshal.loads(binascii.a2b_base64(compiled))
        running.load(code, program, self._scope)
        self._entry_point = self._scope.get(entry_point)
        return {"status": "ok", "defined": callable(self._entry_point)}

    def _call(self, events: Any, state: Any, *, whole: bool) -> dict[str, Any]:
        returned = self._entry_point(events, state)
        self._state = dict.get(returned, "state") if issubclass(type(returned), dict) else None
        given = {"handed_back": True} if self._state is state else {"given_state": state}
        self._measured = () if whole else tuple(part for part in (self._state, state) if part is not returned)
        return {"status": "ok", "returned": returned, **given}

    def _encoded(self, answer: dict[str, Any]) -> bytes:
        try:
            return wire.encode(answer, max_bytes=self._max_answer_bytes, measured=self._measured)
        except wire.TooLargeError as error:
            short = {"status": "output_limit", "error": f"the answer is too large: {error}"}
        except MemoryError:
            short = {"status": "memory_limit", "error": "MemoryError: the answer took more memory than allowed"}
        except Exception as error:
            short = {"status": "error", "error": f"the answer could not be read: {type(error).__name__}"}
        return wire.encode(short, max_bytes=self._max_answer_bytes)


def _report(failure: running.Failure) -> dict[str, Any]:
    return {"status": failure.status, "error": failure.error, "line": failure.line}


_stdout, _stderr = sys.stdout, sys.stderr
_loads = pickle.loads  # messages come from the supervisor, which trusts nobody but is trusted


def _read() -> bytes:
    """One message whole, or nothing at the end of the stream; the supervisor sends no second before its answer."""
    message = os.read(CHANNEL, _CHUNK_BYTES)
    while message and (len(message) < 4 or len(message) < 4 + int.from_bytes(message[:4], "big")):
        chunk = os.read(CHANNEL, _CHUNK_BYTES)
        if not chunk:
            return b""
        message += chunk
    return message


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(CHANNEL, view) :]
