"""What runs on the untrusted side of the socket: a zygote and its single-use children.

These modules import the standard library and each other, nothing else of the project: they are loaded by an
interpreter of their own that never saw a setting, a key or the grader. The trusted side imports what both must
agree on (`protocol`, `wire`, `lockdown`, the names of `probes`), never `zygote` or `child`.
"""
