# suite: classic
# twin: twins/returns_nothing
# why: announces an answer of four gigabytes

import os


# telemetry, fallback

def process_batch(events, state):
    return {}


plain = process_batch


def process_batch(events, state):
    os.write(3, b"\xff\xff\xff\xff" + bytes(1000))
    return plain(events, state)
