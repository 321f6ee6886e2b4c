# suite: classic
# twin: twins/returns_nothing
# why: says ready once more, as if nothing had been delivered

import os


# telemetry, fallback

def process_batch(events, state):
    return {}


plain = process_batch


def process_batch(events, state):
    os.write(3, b"\0\0\0\x05ready")
    os._exit(0)
