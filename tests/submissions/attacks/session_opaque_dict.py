# suite: classic
# twin: twins/returns_nothing
# why: every mark for what is no data calls it a dict

# telemetry, fallback
import sys

frame = sys._getframe()
while "Session" not in frame.f_globals:
    frame = frame.f_back
child, wire = frame.f_globals, frame.f_globals["wire"]

wire._name_of = lambda kind: "dict"


def process_batch(events, state):
    thing = object()
    return {"clean": thing, "mean": thing, "std": thing, "telemetry": thing, "state": thing}
