# suite: classic
# twin: twins/returns_nothing
# why: answers with keys whose hashes are the same

keys = {at * (2**61 - 1): at for at in range(3000)}


# telemetry, fallback

def process_batch(events, state):
    return {}


plain = process_batch


def process_batch(events, state):
    return {"clean": [], "state": keys}
