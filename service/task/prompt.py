"""The prompt: what a model reads before its first call."""

from functools import cache
from importlib.resources import files

from service.task.contract import BUFFER_LIMIT, Suite

__all__ = ["fragile_pipeline", "prompt"]

_TEMPLATE = '''\
You maintain a preprocessing pipeline for streaming sensor readings. It works on clean data and falls apart in \
production. Harden it: hand in a complete replacement for `process_batch(events, state)` that survives three \
cascading tiers of failure.

This is the fragile pipeline as it runs today:

```python
{source}```

## The three tiers

1. Data integrity: NaN storms, strings where numbers belong, timestamps out of order. Corrupt readings must not stop \
the batch or reach the output; every valid reading must survive with its value.
2. Statistical stability: flat segments (the deviation is zero), heavy-tailed spikes that mask themselves in a plain \
z-score while legitimate minority patterns near the core are lost, and trimming so hard that it destroys signal.
3. Resilience: buffers that blow up under a flood of redelivered batches, unbounded retries, and no telemetry to see \
any of it.

## Data contract

`events` is a list of dicts `{{"ts": number, "reading": anything, "tag": str}}`. A reading is valid when it is an int or \
float (not a bool), or a string that `float()` parses, and the number is finite. All else is corrupt.

`state` is a dict `{{"seen": int, "limit": int, "buffer": deque or list, "z_cutoff": number}}`, or None on a first call. \
`buffer` may arrive as a list or as a deque with any maxlen (or none), and already full.

Return a dict with these keys:

- `clean`: list of event dicts, each with a finite numeric `reading`, in `ts` order. Every row keeps its `ts` and `tag`. \
Corrupt rows may be dropped or imputed; extreme spikes (far outside the bulk of the batch) must not remain, though \
they may be clipped into its range; flat segments keep all but at most one of their rows; small groups whose \
readings lie near the core stay.
- `mean`, `std`: finite numbers that describe the batch; `mean` lies within the range of its valid readings, and \
`0 <= std <=` that range. If the batch has no valid reading, both are 0.
- `alerts`: list.
- `telemetry`: a dict of what happened in this call (counts of what was dropped, coerced, trimmed, …).
- `state`: the dict to pass to the next call, with `seen`, `limit` and `buffer` still in it. `seen` grows by at \
least the rows kept and at most the events given. After every call `buffer` holds at most {buffer_limit} rows, and \
so does the one that was passed in unless it came with more.

Batches can be redelivered, many times over, with the state of the last call handed on. Beyond these results, the \
source itself must show its guardrails: name what it does (a guardrail, telemetry, a monitor, backpressure, a \
fallback); at least two of these.

## How to work

- `python_expression` runs Python in a fresh, sandboxed process with `math` and `statistics` (also as `stats`) \
imported. Nothing is kept between calls, so each call must define what it uses. There is no network, no file \
system and a time limit of a few seconds.
- `submit_code` hands in your whole `process_batch` source, and ends the episode. You have one submission: try your \
code with `python_expression` first.
- Standard library only. Submit plain Python source: no Markdown fence, no prose. `math`, `statistics` and `stats` \
are there for it, too; imports of your own are fine.
'''


@cache
def fragile_pipeline() -> str:
    """Source of the pipeline that the agent is to harden, without the note on it."""
    source = files("service.task").joinpath("fragile_pipeline.py").read_text(encoding="utf-8")
    return source[source.index("import math") :]


@cache
def prompt(suite: Suite) -> str:
    """The whole prompt for a suite; it shows no grader input."""
    del suite  # the classic suite's contract holds for every suite there is
    return _TEMPLATE.format(source=fragile_pipeline(), buffer_limit=BUFFER_LIMIT)
