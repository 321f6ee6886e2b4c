"""What supervisor, zygote and child must agree on, beside the codec in `wire`.

Supervisor and zygote speak over a SOCK_SEQPACKET socket. The first message each way is JSON: the members of `Config`,
and, once the zygote is warm, ``landlock_abi`` and ``mapped_bytes``. From then on the supervisor sends `ORDER` records
and gets one `FORKED` record for each, in the order asked:

===============  =====================================================================================
order            what it brings, beside `FORKED`
===============  =====================================================================================
`CHILD`          a child, with three descriptors: its channel, stdout and stderr
`WARM_CHILD`     the same; it runs a job of its own before it says READY, so that the first is fast
`ZYGOTE`         another zygote, as warm as this one, with one descriptor: its socket
===============  =====================================================================================
"""

import struct
from dataclasses import dataclass

from . import wire

__all__ = ["CHANNEL", "CHILD", "FORKED", "ORDER", "READY", "WARM_CHILD", "ZYGOTE", "Config"]

CHANNEL = 3  # a zygote's socket, and a child's descriptor for messages and answers
READY = wire.frame(b"ready")  # a child's first words, once it is locked down

ORDER = struct.Struct("=IBB")  # number of the order, what to fork, bits of `lockdown.LAYERS`
FORKED = struct.Struct("=Ii")  # number of the order, process id, or the negated errno of why not
CHILD, WARM_CHILD, ZYGOTE = range(3)


@dataclass(frozen=True, slots=True)
class Config:
    """What the supervisor asks of a zygote.

    Attributes:
        limits: keyword arguments of `lockdown.Limits`.
        uid: user of the children, where the layer "uid" is applied.
        landlock_abi: ABI to build rulesets for; 0 for the kernel's own.
        max_result_chars: longest repr of an expression's value that is sent whole.
        max_answer_bytes: largest answer.
    """

    limits: dict[str, int]
    uid: int
    landlock_abi: int
    max_result_chars: int
    max_answer_bytes: int
