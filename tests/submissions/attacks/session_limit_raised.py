# suite: classic
# twin: twins/returns_nothing
# why: raises the limit of an answer for itself, and answers 4 MB

# telemetry, fallback
import sys

wire = sys.modules["service.sandbox.inside.wire"]
child = sys.modules["service.sandbox.inside.child"]

frame = sys._getframe()
while type(frame.f_locals.get("self")) is not child.Session:
    frame = frame.f_back
frame.f_locals["self"]._max_answer_bytes = 1 << 40


def process_batch(events, state):
    return {"clean": [], "telemetry": "x" * (4 << 20), "state": state}
