"""What runs on the untrusted side of the socket: a zygote and its single-use children.

These modules import the standard library and each other, nothing else of the project: they are loaded by an
interpreter of their own that never saw a setting, a key or the grader. The trusted side imports `wire` (the
codec that both sides speak) and `policy` (what is forbidden), and never `zygote` or `child`.
"""
