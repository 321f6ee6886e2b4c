"""docs/frameworks.md against what there is."""

import re

from service.episodes import EpisodeRequest, EpisodeStatus
from service.task import SEEDS
from tests.conformance.clients import EXAMPLES, ROOT

TEXT = (ROOT / "docs" / "frameworks.md").read_text()


def test_every_example_is_listed_and_every_link_leads_somewhere() -> None:
    linked = {link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", TEXT)}
    assert [link for link in linked if not (ROOT / "docs" / link).exists()] == []
    examples = {path.name for path in EXAMPLES.iterdir() if not path.name.startswith("__")} - {"solution.py"}
    assert {name for name in examples if f"../examples/{name}" not in TEXT} == set()


def test_every_option_and_every_status_of_an_episode_is_described() -> None:
    assert set(re.findall(r"^\| `(\w+)` \| .* \| .* \|$", TEXT, re.MULTILINE)) >= set(EpisodeRequest.model_fields)
    assert [status for status in EpisodeStatus if f"`{status}`" not in TEXT] == []
    assert [bound for span in SEEDS.values() for bound in (span.low, span.high) if f"{bound:,}" not in TEXT] == []
