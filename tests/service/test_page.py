"""The page's files as the service hands them out."""

import gzip
import html
import re
from pathlib import Path

import httpx
import pytest

from service.task import RUBRIC, SEEDS, Split, Suite, fragile_pipeline, prompt
from tests.conftest import running_service

pytestmark = pytest.mark.anyio

STATIC = Path(__file__).parents[2] / "service/web/static"
OWN = sorted(path.name for path in STATIC.iterdir() if not path.name.startswith("editor."))


async def test_the_page_shows_the_task_before_any_script_has_run(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    page = html.unescape(response.text)
    assert fragile_pipeline() in page
    assert prompt(Suite.CLASSIC) in page
    rows = re.findall(r'<li id="row-(\w+)">.*?<span class="title">(.*?)</span>.*?/ (\d+)</span>', page)
    assert rows == [(row.id, row.title, str(row.max_points)) for row in RUBRIC]
    assert f'max="{SEEDS[Split.TEST].high}" data-test-from="{SEEDS[Split.TEST].low}"' in page
    assert "{{" not in page


async def test_every_answer_carries_the_policy(client: httpx.AsyncClient) -> None:
    for path in ("/", "/page/main.js", "/page/style.css"):
        headers = (await client.get(path)).headers
        assert headers["content-security-policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
            "trusted-types 'none'"
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("written", ["{}", "W/{}", '"other", {}', 'W/"other",W/{}', "*"])
@pytest.mark.parametrize("path", ["/", "/page/main.js"])
async def test_what_the_visitor_has_is_not_sent_again(client: httpx.AsyncClient, path: str, written: str) -> None:
    first = await client.get(path)
    assert first.headers["cache-control"] == "no-cache"
    again = await client.get(path, headers={"if-none-match": written.format(first.headers["etag"])})
    assert (again.status_code, again.content) == (304, b"")
    assert "content-security-policy" in again.headers


@pytest.mark.parametrize("tags", ["", '"other"', "W/", ",,,"])
@pytest.mark.parametrize("path", ["/", "/page/main.js"])
async def test_what_the_visitor_does_not_have_is_sent(client: httpx.AsyncClient, path: str, tags: str) -> None:
    assert (await client.get(path, headers={"if-none-match": tags})).status_code == 200


async def test_files_come_compressed_to_who_asks(client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/page/style.css", headers={"accept-encoding": "gzip"}) as response:
        packed = b"".join([part async for part in response.aiter_raw()])
    assert response.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed) == (STATIC / "style.css").read_bytes()
    plain = await client.get("/page/style.css", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers


async def test_scripts_and_styles_have_their_types(client: httpx.AsyncClient) -> None:
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    for name in OWN:
        response = await client.get(f"/page/{name}")
        assert response.status_code == 200
        assert response.headers["content-type"].partition(";")[0] == types[Path(name).suffix]


@pytest.mark.parametrize(
    "path",
    [
        "/page/",
        "/page",
        "/page/../routes.py",
        "/page/%2e%2e/routes.py",
        "/page/..%2froutes.py",
        "/page/%2fetc/passwd",
        "/page/x%00",
    ],
)
async def test_nothing_outside_of_the_pages_folder_is_served(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(client.base_url.copy_with(raw_path=path.encode()))
    assert response.status_code in (400, 404)
    assert "import" not in response.text


@pytest.mark.parametrize("path", ["/", "/page/main.js"])
async def test_the_page_is_only_read(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.post(path, json={})).status_code == 405
    assert (await client.head(path)).status_code == 200


def test_an_operator_can_do_without_the_page() -> None:
    with running_service(GAUNTLET_PAGE="false") as service, httpx.Client(base_url=service.url) as client:
        assert client.get("/").status_code == 404
        assert client.get("/page/main.js").status_code == 404
        assert client.post("/trace", json={"code": ""}).status_code == 404
        assert client.post("/grade/rows", json={"code": ""}).status_code == 404
        assert client.post("/grade", json={"code": ""}).status_code == 200
        assert {"/grade/rows", "/trace"}.isdisjoint(client.get("/openapi.json").json()["paths"])


def test_the_pages_own_files_name_nothing_that_is_elsewhere() -> None:
    for name in OWN:
        found = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", (STATIC / name).read_text(encoding="utf-8")))
        assert found <= {"http://www.w3.org"}, name
