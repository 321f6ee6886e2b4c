# suite: classic
# twin: twins/returns_nothing
# why: a thread ends the process with success while the call runs

import os
import threading
import time


# telemetry, fallback

def process_batch(events, state):
    return {}


plain = process_batch


def process_batch(events, state):
    threading.Thread(target=os._exit, args=(0,)).start()
    time.sleep(0.5)
    return plain(events, state)
