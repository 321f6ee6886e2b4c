# suite: classic
# twin: twins/returns_nothing
# why: sends marks that claim a length, a type and a value

# telemetry, fallback
import sys

frame = sys._getframe()
while "Session" not in frame.f_globals:
    frame = frame.f_back
child, wire = frame.f_globals, frame.f_globals["wire"]

wire._Walk._opaque = lambda self, name, path: self.marks.append(["opaque", path, name, {"length": 1, "type_name": "dict"}])


def process_batch(events, state):
    return {"clean": object(), "telemetry": object(), "state": {"buffer": object()}}
