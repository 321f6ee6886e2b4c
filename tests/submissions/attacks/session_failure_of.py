# suite: classic
# twin: twins/raises_when_called
# why: there is no failure of anything

import sys

wire = sys.modules["service.sandbox.inside.wire"]
child = sys.modules["service.sandbox.inside.child"]

child.running.Failure = type("Passed", (BaseException,), {"status": "ok", "error": None, "line": 0})
child.running.failure_of = lambda error: child.running.Failure()


# telemetry, fallback

def process_batch(events, state):
    raise ValueError("not done yet")
