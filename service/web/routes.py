"""Serves the page and its files."""

import hashlib
import html
from collections.abc import Mapping
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.task import RUBRIC, SEEDS, RubricRow, Split, Suite, fragile_pipeline, prompt

__all__ = ["page_routes"]

_FILES = Path(__file__).with_name("static")
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
_HEADERS = {
    "Content-Security-Policy": "; ".join(f"{directive} {sources}" for directive, sources in _POLICY.items()),
    "Cache-Control": "no-cache",  # kept, but asked for again: an upgrade shows at once
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page_routes(version: str) -> list[BaseRoute]:
    """The routes of ``/`` and of the page's files, below ``/page``."""
    page = _page(version)
    tag = f'"{hashlib.sha256(page.encode()).hexdigest()[:32]}"'

    async def read_page(request: Request) -> Response:
        headers = {"ETag": tag}
        kept = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
        if tag in kept or kept == ["*"]:  # a proxy that compresses makes a tag a weak one
            return Response(status_code=304, headers=headers)
        return HTMLResponse(page, headers=headers)

    guarded = [Middleware(_Headers, _HEADERS), Middleware(GZipMiddleware)]
    return [
        Route("/", read_page, middleware=guarded, include_in_schema=False),
        Mount("/page", StaticFiles(directory=_FILES), middleware=guarded),
    ]


def _page(version: str) -> str:
    """The page with what a visitor sees before any script has run."""
    texts = {
        "version": version,
        "prompt": prompt(Suite.CLASSIC),
        "starter_code": fragile_pipeline(),
        "highest_seed": str(SEEDS[Split.TEST].high),
        "first_test_seed": str(SEEDS[Split.TEST].low),
    }
    page = _FILES.with_name("page.html").read_text(encoding="utf-8")
    page = page.replace("{{rows}}", "\n        ".join(map(_row, RUBRIC)))
    for name, text in texts.items():
        page = page.replace(f"{{{{{name}}}}}", html.escape(text))
    return page


def _row(row: RubricRow) -> str:
    return (
        f'<li id="row-{row.id}"><span class="sign" aria-hidden="true">·</span> <span class="title">'
        f'{html.escape(row.title)}</span> <span><span class="points">–</span> / {row.max_points}</span>'
        '<span class="detail"></span></li>'
    )


class _Headers:
    """ASGI middleware: headers for every answer."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, sent)
