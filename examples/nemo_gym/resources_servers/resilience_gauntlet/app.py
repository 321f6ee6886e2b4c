"""Stands for the resources server while NeMo Gym runs: the service is it already, on the configured host and port."""

import signal

if __name__ == "__main__":
    signal.pause()
