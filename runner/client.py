"""The grading service over HTTP; the only file that speaks to it."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from runner.answers import Execution, Grade, Json, TaskSpec
from runner.errors import ServiceError, ServiceGoneError, ServiceRefusedError, shortened
from runner.retry import RetryPolicy, parse_retry_after

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

__all__ = ["GraderClient", "checked_service_url"]

_Answer = TypeVar("_Answer", bound=BaseModel)

# The service's own deadlines end a call long before this; the margin is for its queue.
_TIMEOUT = httpx.Timeout(120.0, connect=5.0)
_TOTAL_TIMEOUT_S = 180.0
_TRANSIENT = frozenset({429, 500, 502, 503, 504})
# For every request, a pool looks through all of its connections: at 64 of them, many small pools cost a quarter.
_POOLS = 16
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


def checked_service_url(url: str) -> str:
    """Return the service's base URL without a trailing slash.

    Raises:
        ValueError: The URL is not one the client can use; the message says why.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is not a URL ({error})") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ValueError(f"{url!r} is not an http URL: write it like http://127.0.0.1:8000")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise ValueError("leave user, query and fragment out of the URL; a token goes into RUNNER_TOKEN")
    return str(parsed).rstrip("/")


class GraderClient:
    """One service, reached over connections that all episodes share.

    Args:
        url: Where the service listens.
        token: What the service asks of its callers.
        evaluation_token: What it asks of those who use seeds of its test split; without it, they send `token`.
        retry: How patiently a busy service is waited for.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        evaluation_token: str | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        self.url = checked_service_url(url)
        self._retry = retry or RetryPolicy(attempts=7, first_delay_s=0.5, max_delay_s=30.0)
        self._reached = False
        verify = _verification(self.url)
        self._token = token
        self._evaluation_token = evaluation_token
        self._task: TaskSpec | None = None
        self._pools = [_pool(httpx.URL(self.url), verify) for _ in range(_POOLS)]
        self._next_pool = itertools.cycle(self._pools)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in self._pools:
            await pool.aclose()

    async def task(self, suite: str) -> TaskSpec:
        """The prompt and the tools of a suite, as the Messages API takes them."""
        self._task = _parsed(TaskSpec, await self.task_json(suite, "anthropic"), self.url)
        return self._task

    async def task_json(self, suite: str, shape: str) -> Json:
        """The whole answer of `GET /task`, its tools in the shape `anthropic`, `openai` or `mcp`."""
        query = {"suite": suite, "format": shape}
        try:
            return await self._call("GET", "/task", query=query)
        except ServiceRefusedError as error:
            if error.status not in {400, 422}:
                raise
            raise ServiceError(f"--suite {suite} is not offered here: {error}", status=error.status) from error

    async def grader_version(self) -> str:
        """Which cases and rules grade here."""
        return str((await self._call("GET", "/health")).get("grader_version", "unknown"))

    async def execute(self, expression: str) -> Execution:
        """Run an expression in the sandbox; what the code did is in the answer, never an exception."""
        return _parsed(Execution, await self._call("POST", "/execute", body={"expression": expression}), self.url)

    async def grade(self, code: str, suite: str, seed: int | None) -> Grade:
        """Grade a submission.

        Raises:
            ServiceError: There is no grade, or it is for other cases than were asked for.
        """
        grade = _parsed(Grade, await self.grade_json(code, suite, seed), self.url)
        if (grade.suite, grade.seed) != (suite, seed):
            raise ServiceError(f"{self.url} graded on suite {grade.suite}, seed {grade.seed}: not what was asked for")
        return grade

    async def grade_json(self, code: str, suite: str, seed: int | None) -> Json:
        """The whole answer of `POST /grade`."""
        body: Json = {"code": code, "suite": suite}
        if seed is not None:
            body["seed"] = seed
        return await self._call("POST", "/grade", body=body, token=await self._token_for(suite, seed))

    async def _token_for(self, suite: str, seed: int | None) -> str | None:
        """What a grade takes; the service itself says which seeds are of the test split."""
        if seed is None or self._evaluation_token in {None, self._token}:
            return self._token
        task = self._task or await self.task(suite)
        return self._evaluation_token if task.is_test_seed(seed) else self._token

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        query: dict[str, str] | None = None,
        token: str | None = None,
    ) -> Json:
        """Make one call, again while the service is merely busy.

        Every call is safe to repeat: `/execute` and `/grade` start from a fresh process and keep nothing.
        """
        # ASCII-only JSON carries the lone surrogates that a model may write, and lets the service refuse them.
        content = None if body is None else json.dumps(body).encode("ascii")
        pool = next(self._next_pool)
        headers = {"Content-Type": "application/json"} if body else {}
        if shown := token or self._token:
            headers["Authorization"] = f"Bearer {shown}"
        request = pool.build_request(method, path, params=query, content=content, headers=headers)
        for attempt in range(1, self._retry.attempts + 1):
            retry_after: float | None = None
            try:
                async with asyncio.timeout(_TOTAL_TIMEOUT_S):  # httpx bounds each read, not the whole answer
                    response = await pool.send(request)
            except (httpx.HTTPError, TimeoutError) as error:
                failure: ServiceError = ServiceGoneError(f"{self.url} did not answer {method} {path}: {_reason(error)}")
                if isinstance(error, _UNSENT) and not self._reached:
                    # An address where nobody listens is a mistake to report, not to wait for.
                    raise failure from error
            else:
                self._reached = True
                if response.status_code not in _TRANSIENT:
                    return _json_object(response, self.url)
                failure = _failure(response, self.url)
                retry_after = parse_retry_after(response.headers.get("retry-after"))
            if attempt < self._retry.attempts:
                await asyncio.sleep(self._retry.delay_s(attempt, retry_after))
        raise failure


def _pool(url: httpx.URL, verify: ssl.SSLContext | bool) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    trusted = not _is_loopback(url.host)
    return httpx.AsyncClient(base_url=url, timeout=_TIMEOUT, limits=limits, verify=verify, trust_env=trusted)


def _verification(url: str) -> ssl.SSLContext | bool:
    """One context for all pools: to make one takes as long as twenty calls."""
    return httpx.create_ssl_context() if url.startswith("https:") else False


def _is_loopback(host: str) -> bool:
    """Whether a proxy from the environment could only lead away from the host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _json_object(response: httpx.Response, url: str) -> Json:
    if response.is_success:
        answer = _json(response)
        if isinstance(answer, dict):
            return answer
        raise ServiceError(f"{url} does not answer as a grading service does: is the URL right?")
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        raise ServiceGoneError(f"{_failure(response, url)} {_of_tokens(response.request)}")
    if response.is_client_error:
        refused = _failure(response, url)
        raise ServiceRefusedError(refused.args[0], status=response.status_code, fields=_problem_fields(response))
    raise _failure(response, url)


def _of_tokens(request: httpx.Request) -> str:
    if "Authorization" in request.headers:
        return (
            "The token that was sent, from RUNNER_TOKEN or GAUNTLET_EVALUATION_TOKEN, is none of the service's, or has "
            "ended."
        )
    return "No token was sent: the runner takes it from RUNNER_TOKEN."


def _failure(response: httpx.Response, url: str) -> ServiceError:
    """Read a problem document (RFC 9457), or make do without one."""
    status = response.status_code
    problem = _json(response)
    words = _problem_words(problem) if isinstance(problem, dict) else response.reason_phrase
    return ServiceError(f"{url} answered {status}: {words}", status=status)


def _problem_words(problem: Json) -> str:
    words = problem.get("detail") or problem.get("title")
    return shortened(str(words or json.dumps(problem.get("errors") or "no reason given")))


def _problem_fields(response: httpx.Response) -> tuple[str, ...]:
    """What of the request a problem document is about, as far as it tells."""
    problem = _json(response)
    errors = problem.get("errors") if isinstance(problem, dict) else None
    named = errors if isinstance(errors, list) else []
    return tuple(str(each.get("field")) for each in named if isinstance(each, dict))


def _json(response: httpx.Response) -> Any:
    """The body, None where it is no JSON or too deep to be read."""
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def _parsed(model: type[_Answer], answer: Json, url: str) -> _Answer:
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        fields = ", ".join(".".join(str(part) for part in item["loc"]) or item["msg"] for item in error.errors())
        raise ServiceError(f"{url} does not answer as a grading service does (wrong or missing: {fields})") from error
