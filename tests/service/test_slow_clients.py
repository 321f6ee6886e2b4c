"""Connections on which nothing comes, or not fast enough, are not kept for ever; those that work are left alone."""

import asyncio
import time
from collections.abc import Iterator

import httpx
import pytest
from websockets.asyncio.client import connect

from service.http import REQUEST_S, BoundedHttpProtocol
from tests.conftest import running_service
from tests.service.impatient_service import LIMIT_S

pytestmark = [pytest.mark.anyio, pytest.mark.timed]

POST = b"POST /execute HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 19\r\n\r\n"
BODY = b'{"expression": "1"}'


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running_service(module="tests.service.impatient_service") as process:
        yield int(process.url.rpartition(":")[2])


async def seconds_until_closed(port: int, *pieces: bytes, every_s: float = 0.1) -> tuple[float, bytes]:
    """Sends pieces one by one, and says when the connection was closed and what had come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    started = time.monotonic()

    async def send() -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every_s)

    sending = asyncio.create_task(send())
    async with asyncio.timeout(20):
        answer = await reader.read()
    sending.cancel()
    writer.close()
    return time.monotonic() - started, answer


async def test_a_connection_on_which_nothing_comes_is_closed(port: int) -> None:
    seconds, answer = await seconds_until_closed(port)
    assert 0.9 * LIMIT_S < seconds < 4 * LIMIT_S
    assert answer == b""


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET /health HTTP/1.1\r\n", *[b"a: b\r\n"] * 200],
        [POST, *[BODY[at : at + 1] for at in range(len(BODY) - 1)] * 10],
        [POST.replace(b"content-length: 19", b"transfer-encoding: chunked"), *[b"1\r\n \r\n"] * 200],
    ],
    ids=["a head byte by byte", "a body byte by byte", "chunk by chunk"],
)
async def test_a_request_that_trickles_in_is_refused(port: int, pieces: list[bytes]) -> None:
    seconds, answer = await seconds_until_closed(port, *pieces, every_s=0.2)
    assert 0.9 * LIMIT_S < seconds < 6 * LIMIT_S
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer
    assert b"within 1 s" in answer


async def test_empty_lines_are_no_way_to_stay(port: int) -> None:
    answered = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
    seconds, answer = await seconds_until_closed(port, answered, *[b"\r\n"] * 300, every_s=0.1)
    assert seconds < 8
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1


async def test_who_was_refused_early_and_goes_on_slowly_gets_one_answer(port: int) -> None:
    too_long = POST.replace(b"content-length: 19", b"content-length: 99999999")
    _, answer = await seconds_until_closed(port, too_long, *[b" "] * 100, every_s=0.1)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.count(b"HTTP/1.1") == 1


async def test_what_takes_long_to_answer_is_answered(port: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for _ in range(2):  # on one connection
            slow = {"expression": f"__import__('time').sleep({2.5 * LIMIT_S}) or 7"}
            assert (await client.post("/execute", json=slow)).json()["result"] == "7"


async def test_a_connection_that_is_kept_and_a_websocket_stay_open(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with connect(f"ws://127.0.0.1:{port}/ws") as socket:
        for _ in range(2):
            writer.write(POST + BODY)
            async with asyncio.timeout(10):
                assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
                assert b'"result":"1"' in await reader.readuntil(b"}")
            await asyncio.sleep(2 * LIMIT_S)
        await socket.send('{"type": "state"}')
        async with asyncio.timeout(10):
            assert await socket.recv()
    writer.close()


def test_the_service_gives_a_minute() -> None:
    assert BoundedHttpProtocol.request_s == REQUEST_S == 60
