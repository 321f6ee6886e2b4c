# suite: classic
# twin: twins/raises_when_called
# why: answers with the status 'passed', which no code may claim

import os


def claimed(descriptor, data, write=os.write):
    text = bytes(data)[4:20] + b'[{"status":"passed","defined":true,"returned":{"passed":true}},[]]'
    write(descriptor, len(text).to_bytes(4, "big") + text)
    return len(data)


os.write = claimed


# telemetry, fallback

def process_batch(events, state):
    raise ValueError("not done yet")
