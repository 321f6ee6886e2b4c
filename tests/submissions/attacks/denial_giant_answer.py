# suite: classic
# twin: twins/returns_nothing
# why: answers with more than an answer may have

# telemetry, fallback

def process_batch(events, state):
    return {}


plain = process_batch


def process_batch(events, state):
    return {"clean": [1.5] * 10**6, "passed": True}
