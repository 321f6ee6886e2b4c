# suite: classic
# twin: twins/raises_when_called
# why: lengths that are written are other lengths

import os


def longer(descriptor, data, write=os.write):
    return write(descriptor, b"\0\0" + bytes(data)[:2] + bytes(data)[4:]) and len(data)


os.write = longer


# telemetry, fallback

def process_batch(events, state):
    raise ValueError("not done yet")
