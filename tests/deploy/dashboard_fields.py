"""Run by the Python that has Grafana's SDK: prints what of a dashboard (standard input) that does not know."""

import importlib
import json
import sys
from collections.abc import Iterator
from typing import Any


def unknown(given: Any, read: Any, path: str = "") -> Iterator[str]:
    """Where what was given is missing or another in what was read of it."""
    if isinstance(given, dict) and isinstance(read, dict):
        for name, value in given.items():
            yield from unknown(value, read[name], f"{path}/{name}") if name in read else [f"{path}/{name}"]
    elif isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        for number, (one, other) in enumerate(zip(given, read, strict=True)):
            yield from unknown(one, other, f"{path}/{number}")
    elif given != read:
        yield path


def main() -> None:
    """Reads it into the SDK's types, and compares what these write."""
    sdk = importlib.import_module
    sdk("grafana_foundation_sdk.cog.plugins").register_default_plugins()
    encoder = sdk("grafana_foundation_sdk.cog.encoder").JSONEncoder()
    given = json.load(sys.stdin)
    read = json.loads(encoder.encode(sdk("grafana_foundation_sdk.models.dashboard").Dashboard.from_json(given)))
    known = set(map(str, vars(sdk("grafana_foundation_sdk.models.units")).values()))
    used = {panel["fieldConfig"]["defaults"]["unit"] for panel in given["panels"] if panel["type"] != "row"}
    json.dump({"fields": list(unknown(given, read)), "units": sorted(used - known)}, sys.stdout)


if __name__ == "__main__":
    main()
