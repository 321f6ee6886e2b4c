# suite: classic
# twin: twins/returns_nothing
# why: every mark for what is no data calls it a dict

# telemetry, fallback
import sys

wire = sys.modules["service.sandbox.inside.wire"]
child = sys.modules["service.sandbox.inside.child"]

wire._name_of = lambda kind: "dict"


def process_batch(events, state):
    thing = object()
    return {"clean": thing, "mean": thing, "std": thing, "telemetry": thing, "state": thing}
