# suite: classic
# loses: none
# why: an abstract base class per stage, chained over a shared context object

import math
import statistics
from abc import ABC, abstractmethod
from collections import deque


class Context:
    def __init__(self, events, state):
        self.events = events
        self.state = state
        self.rows = []
        self.alerts = []
        self.telemetry = {}
        self.mean = 0.0
        self.std = 0.0


class Stage(ABC):
    @property
    def name(self):
        return type(self).__name__.lower()

    def __call__(self, context):
        before = len(context.rows)
        self.apply(context)
        context.telemetry[self.name] = {"rows_before": before, "rows_after": len(context.rows)}
        return context

    @abstractmethod
    def apply(self, context): ...


class Parse(Stage):
    def apply(self, context):
        for event in context.events:
            number = self.number(event.get("reading"))
            if number is not None:
                row = dict(event)
                row["reading"] = number
                context.rows.append(row)

    @staticmethod
    def number(raw):
        if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
            return None
        try:
            number = float(raw)
        except (OverflowError, ValueError):
            return None
        return number if math.isfinite(number) else None


class Order(Stage):
    def apply(self, context):
        context.rows = sorted(context.rows, key=lambda row: row["ts"])


class SpikeGuardrail(Stage):
    reach = 16

    def apply(self, context):
        values = [row["reading"] for row in context.rows]
        if len(values) < 8:
            return
        center = statistics.median(values)
        distances = sorted(abs(value - center) for value in values)
        unit = distances[math.ceil(0.6 * len(distances)) - 1]
        if not unit:
            return
        kept = []
        for row in context.rows:
            if abs(row["reading"] - center) > self.reach * unit:
                context.alerts.append({"stage": self.name, "ts": row["ts"], "reading": row["reading"]})
            else:
                kept.append(row)
        context.rows = kept


class Describe(Stage):
    def apply(self, context):
        values = [row["reading"] for row in context.rows]
        if values:
            low, high = min(values), max(values)
            context.mean = low if low == high else max(low, min(high, statistics.fmean(values)))
            context.std = 0.0 if low == high else statistics.pstdev(values)


class Remember(Stage):
    capacity = 240

    def apply(self, context):
        buffer = deque(context.state["buffer"], maxlen=self.capacity)
        buffer.extend(context.rows)
        context.state = {
            **context.state,
            "buffer": buffer,
            "seen": context.state["seen"] + len(context.events),
        }


STAGES = (Parse(), Order(), SpikeGuardrail(), Describe(), Remember())


def process_batch(events, state):
    context = Context(events, state or {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0})
    for stage in STAGES:
        context = stage(context)
    return {
        "clean": context.rows,
        "mean": context.mean,
        "std": context.std,
        "alerts": context.alerts,
        "telemetry": context.telemetry,
        "state": context.state,
    }
