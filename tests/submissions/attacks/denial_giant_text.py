# suite: classic
# twin: twins/returns_nothing
# why: answers with a text of 50 MB

# telemetry, fallback

def process_batch(events, state):
    return {}


plain = process_batch


def process_batch(events, state):
    return {"clean": "x" * (50 << 20), "passed": True}
