# suite: classic
# twin: twins/raises_when_called
# why: a finalizer writes claims and ends the process

# telemetry, fallback
import os
import sys


class Last:
    def __del__(self, write=os.write, leave=os._exit):
        write(3, b"\0\0\0\x18" + bytes(16) + b'{"ok":1}')
        leave(0)


last = Last()


def process_batch(events, state):
    global last
    last = None
