"""What a submission or a stranger can do to the page: nothing but be shown."""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser import NEEDED, Notes, opened
from tests.conftest import ServiceProcess
from tests.server import served
from tests.web.playground import grade, read, write

pytestmark = NEEDED

MARKUP = "</script></textarea><img src=http://127.0.0.1:9/x onerror=window.forged=1><script>window.forged=1</script>"
ESCAPES = "\x1b[31mred\x1b]0;title\x07 \x9b2J \u202egnp.exe\u2066 \u200b"
SHOWN = "\\x1b[31mred\\x1b]0;title\\x07 \\x9b2J \\u202egnp.exe\\u2066 \\u200b"


def forged(page: Page) -> bool:
    return bool(page.evaluate("'forged' in window || document.querySelectorAll('main img, main script').length > 0"))


def test_what_a_submission_says_is_shown_as_text(page: Page) -> None:
    notes = Notes(page)
    write(page, f"# {MARKUP}\ndef process_batch(events, state):\n    raise ValueError({MARKUP!r})\n")
    grade(page)
    expect(page.locator("#row-tier1 .detail")).to_contain_text("ValueError: </script></textarea><img src=")
    expect(page.locator("[data-case=dirty] .bad").first).to_contain_text("ValueError: </script></textarea><img src=")
    page.reload()
    page.wait_for_selector(".editor .cm-content")
    assert MARKUP in read(page)
    page.locator("#attempt-list").get_by_role("button", name="Open").click()
    assert not forged(page)
    assert not [url for url in notes.requests if ":9/" in url]
    # Chromium styles what is typed over a selection; that is blocked, too, and nothing is lost by it.
    assert not [each for each in notes.complaints if "Applying inline style" not in each]


def test_terminal_escapes_and_marks_of_direction_can_be_seen(page: Page) -> None:
    page.get_by_label("after the submission above").uncheck()
    page.get_by_label("python_expression").fill(
        f"import sys\nprint({ESCAPES!r} + {MARKUP!r})\nsys.stderr.write({ESCAPES!r})\nclass R:\n"
        f"    def __repr__(self): return {ESCAPES!r} + {MARKUP!r}\nR()"
    )
    page.get_by_role("button", name="Run", exact=True).click()
    for part in ("result", "stdout"):
        expect(page.get_by_label(part, exact=True)).to_have_text(SHOWN + MARKUP, use_inner_text=True)
    expect(page.get_by_label("stderr", exact=True)).to_have_text(SHOWN, use_inner_text=True)
    assert not forged(page)


VISIBLE = "async (text) => (await import('./page/dom.js')).visible(text)"


def test_what_cannot_be_seen_is_written_out(page: Page) -> None:
    """Fillers, selectors, tags, annotations and the like are not controls, but hide a text as well."""
    unseen = [
        *(chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in {"Cc", "Cf", "Zl", "Zp"}),
        *map(chr, (0x34F, 0x115F, 0x1160, 0x17B4, 0x2800, 0x3164, 0xFE00, 0xFE0F, 0xFFA0, 0xE0100, 0xE01EF)),
    ]
    escapes = [character.encode("unicode_escape").decode() for character in unseen if character not in "\t\n\r"]
    shown = page.evaluate(VISIBLE, "|".join(character for character in unseen if character not in "\t\n\r"))
    assert shown.split("|") == escapes
    assert page.evaluate(VISIBLE, "\r\n \r \t \ud83d") == "\n \\x0d \t \\ud83d"
    seen = "plain ünïcödé עברית हिन्दी \N{SNOWMAN} \N{GRINNING FACE} e\u0301\u0323\u0302\u0303"
    assert page.evaluate(VISIBLE, seen) == seen


def test_marks_do_not_pile_up(page: Page) -> None:
    assert page.evaluate(VISIBLE, "Z" + "\u0301" * 6 + "y\u0301") == "Z" + "\u0301" * 4 + "\\u0301\\u0301y\u0301"


def test_a_trace_shows_tags_and_readings_as_text(page: Page) -> None:
    """What an answer of the service says, whatever it is, is text."""
    case = {
        "id": "<img src=x onerror=window.forged=1>", "row": "tier1", "broken": MARKUP, "spread_broken": ESCAPES,
        "events": [{
            "ts": 1, "tag": MARKUP, "given": ESCAPES, "value": None, "is_text": True,
            "fate": "dropped", "became": None, "position": None,
        }],
        "strangers": 1,
        "calls": [{
            "error": MARKUP, "rows": None, "mean": None, "std": None, "seen": None,
            "buffer": None, "given_buffer": None, "telemetry": False,
        }],
    }  # fmt: skip
    page.route("**/trace", lambda route: route.fulfill(json={"buffer_limit": 240, "cases": [case]}))
    page.get_by_role("button", name="Trace my submission").click()
    expect(page.locator(".case .bad").nth(1)).to_contain_text(SHOWN.rstrip("\u200b"))
    page.locator(".case summary").click()
    expect(page.locator(".case table").first).to_contain_text("</script></textarea><img src=")
    assert not forged(page)


VIOLATED = """
(act) => new Promise((resolve) => {
  document.addEventListener('securitypolicyviolation', (event) => resolve(event.effectiveDirective), { once: true });
  setTimeout(() => resolve('nothing was blocked'), 3000);
  try { window.acts[act](); } catch { /* as it should */ }
})
"""
ACTS = """
const made = (name, attributes = {}) => Object.assign(document.createElement(name), attributes);
window.acts = {
  inline: () => document.body.append(made('script', { text: 'window.forged = 1' })),
  foreign: () => document.body.append(made('script', { src: FOREIGN })),
  handler: () => made('a').setAttribute('onclick', 'window.forged = 1'),
  style: () => document.head.append(made('style', { textContent: 'body { display: none }' })),
  markup: () => { document.body.innerHTML = '<img src=x onerror=window.forged=1>'; },
  image: () => document.body.append(made('img', { src: FOREIGN })),
  request: () => fetch(FOREIGN).catch(() => {}),
  frame: () => document.body.append(made('iframe', { src: FOREIGN })),
  base: () => document.head.append(made('base', { href: FOREIGN })),
};
"""


@contextmanager
def foreign_server() -> Iterator[tuple[str, list[str]]]:
    """Another origin, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("content-type", "text/javascript")
            self.send_header("access-control-allow-origin", "*")
            self.end_headers()
            self.wfile.write(b"window.forged = 1")

        def log_message(self, *_: object) -> None:
            pass

    with served(Handler) as url:
        yield f"{url}/foreign.js", asked


@pytest.mark.parametrize(
    ("act", "directive"),
    [
        ("inline", "require-trusted-types-for"),
        ("foreign", "require-trusted-types-for"),
        ("handler", "require-trusted-types-for"),
        ("style", "style-src-elem"),
        ("markup", "require-trusted-types-for"),
        ("image", "img-src"),
        ("request", "connect-src"),
        ("frame", "frame-src"),
        ("base", "base-uri"),
    ],
)
def test_the_policy_blocks_what_is_not_the_pages_own(page: Page, act: str, directive: str) -> None:
    with foreign_server() as (address, asked):
        page.evaluate(ACTS.replace("FOREIGN", repr(address)))
        violated = page.evaluate(VIOLATED, act)
        page.wait_for_timeout(200)
    assert violated == directive
    assert asked == []
    assert page.evaluate("window.forged") is None


ACTS_OF_MODULES = {
    "act_click.js": "document.querySelector('a[onclick]').click()",
    "act_eval.js": "eval('window.forged = 1')",
}


@pytest.mark.parametrize(
    ("script", "directive"),
    [
        ("<script>window.forged = 1</script>", "script-src-elem"),
        ("<script src=FOREIGN></script>", "script-src-elem"),
        ("<a onclick='window.forged = 1'></a><script type=module src=page/act_click.js></script>", "script-src-attr"),
        ("<script type=module src=page/act_eval.js></script>", "require-trusted-types-for"),
    ],
)
def test_a_script_that_stood_in_the_page_itself_would_not_run(
    browser: Browser, service: ServiceProcess, script: str, directive: str
) -> None:
    """As if the service had been tricked into writing it: the policy is the real one."""
    with foreign_server() as (address, asked), opened(browser) as page:
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation', (event) => { (window.violated ??= [])"
            ".push(event.effectiveDirective) })"
        )

        def act(route: Route) -> None:
            body = ACTS_OF_MODULES[route.request.url.rpartition("/")[2]]
            route.fulfill(body=body, content_type="text/javascript")

        def infected(route: Route) -> None:
            answer = route.fetch()
            route.fulfill(response=answer, body=answer.text().replace("<main>", script.replace("FOREIGN", address)))

        page.route("**/page/act_*.js", act)
        page.route(f"{service.url}/", infected)
        page.goto(service.url)
        page.wait_for_function("() => window.violated")
        assert directive in page.evaluate("window.violated")
        assert page.evaluate("window.forged") is None
        assert asked == []


def test_the_page_cannot_be_framed(browser: Browser, service: ServiceProcess) -> None:
    with opened(browser) as page:
        page.route(
            "**/outer",
            lambda route: route.fulfill(body=f"<iframe src={service.url}/></iframe>", content_type="text/html"),
        )
        with page.expect_event("requestfailed"):
            page.goto("http://127.0.0.1:9/outer")


def test_nothing_is_asked_of_anybody_else_and_nothing_complains(browser: Browser, service: ServiceProcess) -> None:
    with opened(browser) as page:
        notes = Notes(page)
        page.goto(service.url)
        page.wait_for_selector(".editor .cm-content")
        grade(page)
        page.get_by_role("button", name="Run", exact=True).click()
        page.locator("#live").scroll_into_view_if_needed()
        page.wait_for_selector("#gauges .panel")
        page.wait_for_selector(".case[data-holds]")
        page.keyboard.press("ControlOrMeta+f")
    assert all(url.startswith(f"{service.url}/") for url in notes.requests)
    assert notes.complaints == []
