# suite: classic
# twin: twins/raises_when_called
# why: failures are reported as passed

import sys

wire = sys.modules["service.sandbox.inside.wire"]
child = sys.modules["service.sandbox.inside.child"]

child._report = lambda failure: {"status": "ok", "defined": True, "returned": {"passed": True}, "given_state": None}


# telemetry, fallback

def process_batch(events, state):
    raise ValueError("not done yet")
