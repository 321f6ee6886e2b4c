# suite: classic
# twin: twins/returns_nothing
# why: ends in the middle of a passing answer

import os
import sys

FORGED = (
    b'[{"status":"ok","defined":true,"handed_back":true,"passed":true,"score":1.0,"returned":{"clean":[],"mean":0,'
    b'"std":0,"alerts":[],"telemetry":true,"state":{"seen":0,"limit":200,"buffer":[]}}},[]]'
)


def served():
    """The frame of the process's own loop, with the nonce of the question at hand."""
    frame = sys._getframe()
    while "nonce" not in frame.f_locals:
        frame = frame.f_back
    return frame.f_locals


# telemetry, fallback

def process_batch(events, state):
    return {}


plain = process_batch


def process_batch(events, state):
    text = served()["nonce"] + FORGED
    os.write(3, (len(text).to_bytes(4, "big") + text)[:-10])
    os._exit(0)
