# suite: classic
# twin: twins/returns_nothing
# why: everything that it returns hangs when it is looked at

import time


class Slow(list):
    def __repr__(self):
        time.sleep(60)

    __iter__ = __len__ = __eq__ = __str__ = __bool__ = __hash__ = __repr__


# telemetry, fallback

def process_batch(events, state):
    return {}


plain = process_batch


def process_batch(events, state):
    return {"clean": Slow(), "state": Slow(), "mean": Slow()}
