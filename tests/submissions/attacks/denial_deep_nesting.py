# suite: classic
# twin: twins/returns_nothing
# why: answers with 100,000 lists within each other

nested = []
for _ in range(100_000):
    nested = [nested]


# telemetry, fallback

def process_batch(events, state):
    return {}


plain = process_batch


def process_batch(events, state):
    return {"clean": nested, "state": nested}
