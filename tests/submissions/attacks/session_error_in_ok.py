# suite: classic
# twin: twins/raises_when_called
# why: a failure's status is ok, beside its error

import sys

wire = sys.modules["service.sandbox.inside.wire"]
child = sys.modules["service.sandbox.inside.child"]

child._report = lambda failure: {"status": "ok", "defined": True, "error": failure.error, "passed": True}


# telemetry, fallback

def process_batch(events, state):
    raise ValueError("not done yet")
