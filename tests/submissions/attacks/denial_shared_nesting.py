# suite: classic
# twin: twins/returns_nothing
# why: answers with lists that double thirty times

nested = [1.0]
for _ in range(30):
    nested = [nested, nested]


# telemetry, fallback

def process_batch(events, state):
    return {}


plain = process_batch


def process_batch(events, state):
    return {"clean": nested, "state": nested}
