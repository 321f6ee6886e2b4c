# suite: classic
# twin: twins/returns_nothing
# why: raises the limit of an answer for itself, and answers 4 MB

# telemetry, fallback
import sys

frame = sys._getframe()
while "Session" not in frame.f_globals:
    frame = frame.f_back
child, wire = frame.f_globals, frame.f_globals["wire"]

while "nonce" not in frame.f_locals:
    frame = frame.f_back
frame.f_locals["self"]._max_answer_bytes = 1 << 40


def process_batch(events, state):
    return {"clean": [], "telemetry": "x" * (4 << 20), "state": state}
