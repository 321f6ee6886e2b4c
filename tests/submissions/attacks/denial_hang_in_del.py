# suite: classic
# twin: twins/returns_nothing
# why: hangs in a finalizer of what it returns

import time


class Slow:
    def __del__(self):
        time.sleep(60)


# telemetry, fallback

def process_batch(events, state):
    return {}


plain = process_batch


def process_batch(events, state):
    Slow()
    return plain(events, state)
