import re
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from runner.answers import Check, PassBand
from runner.errors import RunnerError
from runner.offline.policies import policy_for, script
from runner.records import SCRIPTED_NOTICE, Outcome, Usage
from runner.report.page import write_page
from tests.runner.claude import python, submit, text, thinking
from tests.runner.made import record
from tests.runner.reported import (
    PROMPT,
    Page,
    call,
    infra_error,
    kept,
    page_of,
    played,
    result,
    said,
    summary_of,
    talk,
    told,
)

HOSTILE = (
    "<script>alert(1)</script></pre></details></main><img src=x onerror=alert(1)>"
    "<style>body{display:none}</style><a href='http://evil.example'>x</a>"
    "\x00\x1b[31m\x85\u202ereversed\u2066\u200b\ud800 {{ 7 * 7 }} {% raw %} &lt;b&gt;"
    " \"'><!-- ]]> <textarea><base href=//evil.example>"
)
PIPELINE = (Path(__file__).parents[2] / "service" / "task" / "fragile_pipeline.py").read_text(encoding="utf-8")
TASK = f"{'Harden this pipeline. ' * 200}\n```python\n{PIPELINE}```"
ALLOWED = {
    "a",
    "body",
    "caption",
    "circle",
    "code",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "figcaption",
    "figure",
    "footer",
}
ALLOWED |= {
    "h1",
    "h2",
    "h3",
    "h4",
    "head",
    "header",
    "html",
    "i",
    "li",
    "line",
    "link",
    "main",
    "meta",
    "nav",
    "ol",
    "p",
}
ALLOWED |= {"pre", "rect", "section", "span", "strong", "style", "summary", "svg", "table", "tbody", "td", "text", "th"}
ALLOWED |= {"thead", "title", "tr", "ul"}


def test_the_numbers_are_those_of_the_summary(tmp_path: Path) -> None:
    records = [
        *(played(n, "tier1") for n in range(1, 7)),
        played(7, "tier1", "tier3", calls=[call(1, attempts=3, wait_s=90.0)], wait_s=90.0),
        *(played(n) for n in (8, 9)),
        infra_error(10),
        record(11, Outcome.CANCELLED),
        record(12, Outcome.LIMIT, 0.0, "No submission within 18 model calls", limit="steps"),
    ]
    run = kept(tmp_path, records, episodes=20)
    summary, shown = summary_of(run), Page(page_of(run)).text
    assert (summary.passed, summary.valid) == (2, 10)
    for words in (
        "Pass rate 20.0 % 95 % interval 5.7–51.0 % (Wilson); 2 of 10 episodes",
        f"Mean score {100 * summary.mean_score:.1f} % 95 % interval",  # type: ignore[operator]
        "Target inconclusive pass rate from 10 to 40 %: the interval reaches across an end of it",
        f"at this rate {summary.settled_at} valid episodes might settle it",
        "Valid episodes 10 of 20 1 invalid, 1 cancelled, 8 not run",
        "Cost $4.50 $0.3750 per episode",
        "Tokens 1.2k 1.1k in, 540 of them from cache (50 %); 90 out",
        "Model calls 17 2 failed attempts were made again; 1 min 30 s lost to waiting",
        "tier1 7 of 9, 77.8 %",
        "tier3 1 of 9, 11.1 %",
        "limit 1 8.3 %",
        "infra error 1 8.3 %",
        "Model call 17 2.0 s 4.0 s 4.0 s 50.0 s",
    ):
        assert words in shown, words


def test_every_k_has_its_two_chances(tmp_path: Path) -> None:
    shown = Page(page_of(kept(tmp_path, [played(1), *(played(n, "tier1") for n in (2, 3, 4))]))).text
    assert "k 1 2 4 pass@k one of k passes 25.0 % 50.0 % 100.0 % pass^k all of k pass 25.0 % 0.0 % 0.0 %" in shown


@pytest.mark.parametrize(
    ("passed", "words"),
    [
        (8, "Target met pass rate from 10 to 40 %: the whole interval lies in it"),
        (34, "Target missed pass rate from 10 to 40 %: the whole interval lies outside of it"),
    ],
)
def test_a_live_run_has_a_verdict(passed: int, words: str, tmp_path: Path) -> None:
    run = kept(tmp_path, [played(n, *(["tier1"] if n > passed else [])) for n in range(1, 35)])
    assert words in Page(page_of(run)).text


def test_a_scripted_run_says_so_in_plain_sight_and_costs_nothing(tmp_path: Path) -> None:
    scripted: Any = {"scripted": True, "notice": SCRIPTED_NOTICE}
    run = kept(tmp_path, [played(1, "tier1", **scripted)], **scripted)
    html = page_of(run)
    shown = Page(html).text
    assert f'<p class="notice">{SCRIPTED_NOTICE}</p>' in html
    assert html.index(SCRIPTED_NOTICE) < html.index("<h2")
    assert "(scripted)" in shown[: shown.index("Resilience Gauntlet")]
    assert "Cost none a scripted model is not paid" in shown
    assert "Target no verdict" in shown
    assert "$" not in shown


def test_an_unknown_cost_is_called_unknown(tmp_path: Path) -> None:
    records = [played(1, cost_usd=None, calls=[call(cost_usd=None)]), played(2)]
    shown = Page(page_of(kept(tmp_path, records))).text
    assert "Cost unknown no price is known for a model that answered" in shown
    assert "Episode: cost 1 $0.5000" in shown
    assert re.search(r"1 passed 100 % (✓ )*2 130 unknown 6\.5 s", shown)


def test_an_episode_is_told_in_full(tmp_path: Path) -> None:
    html = page_of(kept(tmp_path, [played(1, "tier1", seed=7, attempt=2)], suite="hardened"))
    shown = Page(html).text
    assert '<a href="#e1">1</a>' in html
    assert 'id="e1"' in html
    for words in (
        "Tokens 60 in, 60 from cache, 10 out",
        "Time 6.5 s of work, 0 s of waiting",
        "tier1 ✗ 0/20",
        "tier3 ✓ 20/20",
        "The prompt , the same in every episode.",
        "Model, step 1 Thinking It divides by zero. I will try it. Calls python_expression 1 / 0",
        "Result of python_expression is an error status: error error: ZeroDivisionError: division by zero",
        "Model, step 2 Calls submit_code with the submission above",
        "Result of submit_code ✓ All tiers stable",
        "Attempt 2 Seed 7",
        "req_1 req_2",
    ):
        assert words in shown, words
    assert html.count("It breaks.") == 1  # the prompt
    assert "<i class=k>def</i> <i class=f>process_batch</i>(events, state):\n    <i class=k>return</i>" in html
    assert html.count("<i class=k>def</i>") == 1  # the submission


def test_an_error_comes_with_its_request(tmp_path: Path) -> None:
    run = kept(tmp_path, [infra_error(1, transcript=talk()[:1])])
    assert "Error ModelError, status 529, request req_overloaded 529 overloaded_error" in Page(page_of(run)).text


def hostile_talk(words: str) -> Any:
    return [
        told(text(words)),
        said(
            thinking(words),
            text(words),
            python(words),
            {"type": "redacted_thinking", "data": words},
            {"type": "tool_use", "id": "toolu_2", "name": words, "input": {words: [words, None, 1]}},
            {"type": "tool_use", "id": "toolu_3", "name": "python_expression", "input": words},
            {"type": words},
        ),
        told(result(words), result([{"type": "text", "text": words}, {"type": words}], "toolu_2"), text(words)),
        {"role": "user", "content": words},
        said(submit(words)),
    ]


def hostile_run(path: Path, words: str) -> Any:
    check = Check(id=words, title=words, passed=False, points=0, max_points=20, detail=words)
    changes: dict[str, Any] = dict.fromkeys(("feedback", "code", "model", "limit"), words)
    changes |= {"stop_reasons": [words], "request_ids": [words], "transcript": hostile_talk(words)}
    episode = played(1, "tier1", **changes, checks=[check], calls=[call(model=words)])
    failed = infra_error(2)
    error = failed.error.model_copy(update={"kind": words, "message": words, "request_id": words})
    return kept(
        path,
        [episode, failed.model_copy(update={"error": error, "feedback": words})],
        model=words,
        suite=words,
        service=words,
        endpoint=words,
        notice=words,
        versions={words: words},
        grader_version=words,
    )


def test_foreign_text_is_neither_markup_nor_a_command(tmp_path: Path) -> None:
    html = page_of(hostile_run(tmp_path, HOSTILE))
    page = Page(html)
    assert {tag for tag, _ in page.elements} <= ALLOWED
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert set(re.findall(r"[^\n -~]", html)) <= set(
        "\xa0–…✓✗\ufffd"
    )  # the last is what pydantic makes of a key's half
    assert "<script>alert(1)</script>" in page.text
    assert r"\x00\x1b[31m\x85\u202ereversed\u2066\u200b\ud800 {{ 7 * 7 }} {% raw %} &lt;b&gt;" in page.text
    assert page.ids.count("e1") == 1


def test_lines_and_tabs_stay(tmp_path: Path) -> None:
    run = kept(tmp_path, [played(1, code="\n\nif 1:\n\tpass\n", transcript=[told(text("\na\n\tb"))])])
    html = page_of(run)
    assert "<code>\n\n<i class=k>if</i> <i class=m>1</i>:\n\t<i class=k>pass</i>\n</code>" in html
    assert "<pre>\n\na\n\tb</pre>" in html  # the first line break after the tag is not part of the text


def test_the_page_needs_nothing_from_anywhere(tmp_path: Path) -> None:
    html = page_of(hostile_run(tmp_path, "see https://example.com and url(http://example.com)"))
    page = Page(html)
    policy = {"http-equiv": "Content-Security-Policy"}
    policy["content"] = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert ("meta", policy) in page.elements
    links = [
        attributes[name]
        for _, attributes in page.elements
        for name in ("href", "src", "action", "srcset", "data", "poster", "xlink:href", "formaction", "background")
        if name in attributes
    ]
    assert links
    assert all(link is not None and link.startswith(("#", "data:,")) for link in links)
    style = html[html.index("<style>") : html.index("</style>")]
    assert not re.search(r"url\(|@import|//", style)


def test_every_link_leads_somewhere_and_no_id_is_there_twice(tmp_path: Path) -> None:
    page = Page(page_of(kept(tmp_path, [played(1), played(2, "tier1"), infra_error(3)])))
    targets = {attributes["href"] for tag, attributes in page.elements if tag == "a"}
    assert len(page.ids) == len(set(page.ids))
    assert targets <= {f"#{name}" for name in page.ids}
    labels = [attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes]
    assert set(labels) <= set(page.ids)


def test_who_cannot_see_the_page_finds_the_way(tmp_path: Path) -> None:
    page = Page(page_of(kept(tmp_path, [played(1), played(2, "tier1"), infra_error(3)])))
    tags = [tag for tag, _ in page.elements]
    assert (
        all(tags.count(tag) == 1 for tag in ("header", "nav", "main", "footer", "h1", "title"))
        or tags.count("title") > 1
    )
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(deeper <= level + 1 for level, deeper in pairwise(levels))
    assert all("scope" in attributes for tag, attributes in page.elements if tag == "th")
    drawings = [a for tag, a in page.elements if tag == "svg" and "role" in a]
    assert len(drawings) == 10  # intervals, scores, six rows, durations, costs
    assert all(a["role"] == "img" and a["aria-label"] for a in drawings)
    boxes = [a for tag, a in page.elements if (a.get("class") or "").startswith("wide")]
    assert all(a["tabindex"] == "0" and (a.get("aria-label") or a["aria-labelledby"]) for a in boxes)


def test_a_run_without_an_episode_has_a_page(tmp_path: Path) -> None:
    shown = Page(page_of(kept(tmp_path, [], finished=False, episodes=10))).text
    assert "Pass rate unknown no valid episode" in shown
    assert "Valid episodes 0 of 10 0 invalid, 0 cancelled, 10 not run" in shown
    assert "No episode has ended." in shown


def test_a_run_without_a_valid_episode_has_a_page(tmp_path: Path) -> None:
    shown = Page(page_of(kept(tmp_path, [infra_error(1), record(2, Outcome.CANCELLED)]))).text
    assert "Mean score unknown no valid episode" in shown
    assert "Target no verdict pass rate from 10 to 40 %; no valid episode" in shown
    assert "No episode was graded." in shown
    assert "Its conversation is not on disk." in shown


def test_an_episode_without_a_grade_has_no_marks(tmp_path: Path) -> None:
    limit = record(2, Outcome.LIMIT, 0.0, "No submission within 18 model calls", limit="steps")
    shown = Page(page_of(kept(tmp_path, [played(1, "tier1"), limit]))).text
    assert "2 limit 0 % – – – – – – 1" in shown
    assert "tier1 1 of 1, 100.0 %" in shown


def test_why_a_run_ended_early_stands_at_its_head(tmp_path: Path) -> None:
    run = kept(tmp_path, [played(1)], episodes=5)
    summary = summary_of(run).model_copy(update={"error": "the key is <wrong>"})
    write_page(run, summary, run.path / "report.html")
    html = (run.path / "report.html").read_text()
    assert '<p class="notice">The run ended early: the key is &lt;wrong&gt;</p>' in html


def test_intervals_are_drawn_where_they_lie(tmp_path: Path) -> None:
    run = kept(
        tmp_path,
        [played(n, *(["tier1"] if n > 8 else [])) for n in range(1, 35)],
        target_pass_band=PassBand(low=0.1, high=0.4),
    )
    html, interval = page_of(run), summary_of(run).pass_rate_interval
    assert interval is not None
    assert '<rect class="band" x="10.000%" y="0" width="30.000%"' in html
    assert f'<line class="interval" x1="{100 * interval.low:.3f}%" x2="{100 * interval.high:.3f}%"' in html
    assert f'<circle class="point" cx="{100 * 8 / 34:.3f}%"' in html


def test_strips_add_up_and_have_one_order(tmp_path: Path) -> None:
    lost = {1: ("tier1",), 2: (), 3: ("tier1", "tier3"), 4: ("tier1",)}
    html = page_of(kept(tmp_path, [played(n, *rows) for n, rows in lost.items()]))
    strips = re.findall(r'<svg width="100%" height="20".*?</svg>', html, re.DOTALL)
    orders = [re.findall(r"<title>Episode (\d+): (held|lost)</title>", strip) for strip in strips]
    assert [[number for number, _ in order] for order in orders] == [["2", "1", "4", "3"]] * 6
    assert [what for _, what in orders[0]] == ["held", "lost", "lost", "lost"]
    assert [what for _, what in orders[3]] == ["held", "held", "held", "lost"]


@pytest.mark.timed
def test_hundreds_of_episodes_make_few_segments_and_few_patterns(tmp_path: Path) -> None:
    rows = [(), ("tier1",), ("tier1", "tier2_flat")]
    records = [played(n, *rows[n % 3], transcript=[], code=None) for n in range(1, 401)]
    began = time.monotonic()
    html = page_of(kept(tmp_path, records))
    assert time.monotonic() - began < 20
    assert html.count('<rect class="lost"') + html.count('<rect class="held"') < 20
    assert html.count('href="#e400"') == 1
    shown = Page(html).text
    assert "134 33.5 % 80 % ✗ ✓ ✓ ✓ ✓ ✓ 1 , 4 , 7 , 10 , 13 , 16 , 19 , 22 , …" in shown


def test_a_rare_pattern_is_counted_not_listed(tmp_path: Path) -> None:
    ids = ["tier1", "tier2_flat", "tier2_heavy_tail", "tier3", "validity", "guardrails"]
    records = [played(n, *(row for bit, row in enumerate(ids) if n & 1 << bit)) for n in range(1, 31)]
    assert "18 more episodes have patterns that are rarer." in Page(page_of(kept(tmp_path, records))).text


def test_long_texts_are_cut_and_the_cut_is_named(tmp_path: Path) -> None:
    long = "x = 1\n" * 10_000
    chatter = [told(text(PROMPT)), *[said(text("y" * 19_000)), told(text("ok"))] * 30]
    run = kept(
        tmp_path, [played(1, code=long), played(2, transcript=[told(text(long))]), played(3, transcript=chatter)]
    )
    html = page_of(run)
    shown = Page(html).text
    assert "… 40000 more characters are in episodes.jsonl." in shown
    assert "… 40000 more characters are in every transcript." not in shown
    assert "… 40000 more characters are in transcripts/0002-1.json." in shown
    assert shown.count("… 19000 more characters are in transcripts/0003-1.json.") == 19
    assert len(html) < 500_000


@pytest.mark.timed
@pytest.mark.parametrize("source", ["match" + " " * 19_000 + "x", "  \n" * 6000, 'f"\\N{' * 4000, "(" * 20_000])
def test_no_source_keeps_the_highlighter_busy(source: str, tmp_path: Path) -> None:
    began = time.monotonic()
    html = page_of(kept(tmp_path, [played(1, code=source)]))
    assert time.monotonic() - began < 3
    assert len(html) < 200_000


def test_a_hundred_scripted_episodes_fit_into_three_megabytes(tmp_path: Path) -> None:
    html = page_of(kept(tmp_path, [scripted(n) for n in range(1, 101)]))
    assert 1_000_000 < len(html) < 3_000_000


def scripted(episode: int) -> Any:
    """What a scripted policy says, with long results."""
    policy = policy_for(0, episode)
    messages = [told(text(TASK))]
    for step in script(policy, TASK):
        uses: list[Any] = [
            {"type": "tool_use", "id": f"toolu_{number}", "name": use.name, "input": use.input}
            for number, use in enumerate(step.tool_uses)
        ]
        messages.append(said(thinking(step.thinking), text(step.text), *uses))
        messages.append(told(*(result("x" * 1000, use["id"]) for use in uses)))
    return played(episode, "tier1", code=policy.source, transcript=messages)


def test_a_page_that_cannot_be_written_names_the_option(tmp_path: Path) -> None:
    run = kept(tmp_path, [played(1)])
    with pytest.raises(
        RunnerError, match=r"missing/report\.html cannot be written \(No such file or directory\); .*--out"
    ):
        write_page(run, summary_of(run), tmp_path / "missing" / "report.html")


def test_usage_without_input_has_no_cache_share(tmp_path: Path) -> None:
    shown = Page(page_of(kept(tmp_path, [played(1, usage=Usage(output_tokens=7))]))).text
    assert "Tokens 7 0 in, 0 of them from cache; 7 out" in shown


def test_an_earlier_page_outlives_one_that_cannot_be_made(tmp_path: Path) -> None:
    run = kept(tmp_path, [played(1), played(2)])
    before = page_of(run)
    (run.path / "transcripts" / "0002-1.json").write_text("{")
    with pytest.raises(RunnerError, match=r"0002-1\.json is damaged"):
        page_of(run)
    assert (run.path / "report.html").read_text(encoding="utf-8") == before
