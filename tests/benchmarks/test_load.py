"""The load generator believes no answer that it has not checked."""

import itertools
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from benchmarks.http import Client, judge, post
from benchmarks.load import drive
from benchmarks.window import Window
from benchmarks.worker import MeasureError
from tests.server import served


class Handler(BaseHTTPRequestHandler):
    """Answers as its path says."""

    protocol_version = "HTTP/1.1"
    arrivals = itertools.count()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/closes":
            self.close_connection = True
            return
        status, body = {"/fails": (500, b'"right"'), "/lies": (200, b'"wrong"')}.get(self.path, (200, b'"right"'))
        if self.path == "/leaves":
            self.close_connection = True
            time.sleep(0.03 * next(self.arrivals))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:3])
        if self.path == "/slow":
            time.sleep(0.02)
        self.wfile.write(body[3:])

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with served(Handler) as url:
        yield int(url.rpartition(":")[2])


def driven(port: int, path: str, clients: int = 3, limit: int = 12) -> Window:
    window = Window(at=time.perf_counter(), ramp_s=0.0, seconds=30.0, limit=limit)
    drive(post(port, path, {"a": "é"}, '"right"'), clients, window)
    return window


@pytest.mark.parametrize("path", ["/", "/slow"])
def test_right_answers_count_whole_or_in_pieces(port: int, path: str) -> None:
    answer = driven(port, path).answer()
    assert (answer["done"], len(answer["latencies_us"]), answer["errors"]) == (12, 12, 0)


@pytest.mark.parametrize(("path", "says"), [("/fails", "HTTP/1.1 500"), ("/lies", '"wr'), ("/closes", "closed")])
def test_wrong_answers_are_errors_and_no_jobs(port: int, path: str, says: str) -> None:
    answer = driven(port, path).answer()
    assert (answer["done"], answer["latencies_us"], answer["errors"]) == (0, [], 12)
    assert says in answer["fault"]


def test_a_connection_that_ends_after_its_clients_last_answer_is_no_error(port: int) -> None:
    answer = driven(port, "/leaves", clients=3, limit=3).answer()
    assert (answer["done"], answer["errors"]) == (3, 0)


@pytest.mark.timed
def test_clients_work_side_by_side(port: int) -> None:
    started = time.perf_counter()
    driven(port, "/slow", clients=8, limit=32)
    assert time.perf_counter() - started < 32 * 0.02


def test_a_latency_is_the_time_until_the_whole_answer(port: int) -> None:
    client = Client(post(port, "/slow", {}, '"right"'))
    assert 0.02 <= client.sample() < 1
    client.close()


@pytest.mark.parametrize("path", ["/fails", "/lies", "/closes"])
def test_a_sample_of_a_wrong_answer_is_a_fault(port: int, path: str) -> None:
    client = Client(post(port, path, {}, '"right"'))
    with pytest.raises(MeasureError, match="a wrong answer"):
        client.sample()
    client.close()


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-le", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd", True),
        (b"HTTP/1.1 200 OK\r\nx: bc\r\ncontent-length: 4\r\n\r\nabxd", False),
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nabcd", False),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nabcd", False),
    ],
)
def test_an_answer_is_judged_by_status_and_body_once_it_is_whole(data: bytes, verdict: bool | None) -> None:
    assert judge(data, b"bc") is verdict
