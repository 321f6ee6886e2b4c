#!/bin/sh
# -I: nothing that the agent left is imported.
exec python3 -I /tests/verify.py
