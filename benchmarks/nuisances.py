"""Clients that misbehave: they hang, trickle, go away and send too much."""

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import urlsplit

__all__ = ["NUISANCES", "misbehave"]

_HEAD = b"POST /grade HTTP/1.1\r\nhost: gauntlet\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_WORK = b'{"code": "def process_batch(events, state):\\n    while True: pass"}'
_TOO_LONG = 64 << 20
_CHUNK = b" " * (64 << 10)
_HOLD_S = 2.0
_DRIP_S = 0.05
_ANSWER_S = 10.0

_Nuisance = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def misbehave(url: str, until: float, chance: random.Random) -> Counter[str]:
    """One bad client after the other.

    Args:
        url: of the service or its proxy.
        until: when to stop, by `time.monotonic`.
        chance: what is done next.

    Returns:
        How often each was done.

    Raises:
        AssertionError: a body over the limit was not refused.
    """
    address, done = urlsplit(url), Counter[str]()
    while time.monotonic() < until:
        name = chance.choice(list(NUISANCES))
        with contextlib.suppress(ConnectionError, TimeoutError):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            try:
                await NUISANCES[name](reader, writer)
            finally:
                writer.transport.abort()
            done[name] += 1
    return done


async def _says_nothing(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    await asyncio.sleep(_HOLD_S)


async def _trickles_a_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _drip(writer, itertools.chain([b"POST /grade HTTP/1.1\r\n"], itertools.repeat(b"a: b\r\n")))


async def _trickles_a_body(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _drip(writer, itertools.chain([_HEAD % 1000], itertools.repeat(b" ")))


async def _drip(writer: asyncio.StreamWriter, pieces: Iterable[bytes]) -> None:
    until = time.monotonic() + _HOLD_S
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(_DRIP_S)
        if time.monotonic() >= until:
            return


async def _goes_away(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """With work of five seconds and more begun."""
    writer.write(_HEAD % len(_WORK) + _WORK)
    await writer.drain()
    await asyncio.sleep(_DRIP_S)


async def _never_reads(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_HEAD % len(_WORK) + _WORK)
    await asyncio.sleep(_HOLD_S)


async def _sends_too_much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async def send() -> None:
        writer.write(_HEAD % _TOO_LONG)
        for _ in range(_TOO_LONG // len(_CHUNK)):
            writer.write(_CHUNK)
            await writer.drain()

    sending = asyncio.create_task(send())
    try:
        async with asyncio.timeout(_ANSWER_S):
            status = await reader.readline()
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await sending
    if status and b" 413 " not in status:
        raise AssertionError(f"a body of {_TOO_LONG} bytes was answered {status!r}")


NUISANCES: dict[str, _Nuisance] = {
    "says nothing": _says_nothing,
    "trickles a head": _trickles_a_head,
    "trickles a body": _trickles_a_body,
    "goes away": _goes_away,
    "never reads": _never_reads,
    "sends too much": _sends_too_much,
}
