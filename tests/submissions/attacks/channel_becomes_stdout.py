# suite: classic
# twin: twins/returns_nothing
# why: puts stdout in the channel's place

import os


# telemetry, fallback

def process_batch(events, state):
    return {}


plain = process_batch


def process_batch(events, state):
    os.dup2(1, 3)
    print('{"passed": true}', flush=True)
    return plain(events, state)
