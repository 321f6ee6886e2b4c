"""`python -m runner` is `gauntlet`."""

import signal
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command; Ctrl-C ends it quietly even while it is still being imported."""
    try:
        from runner.cli import main as run  # noqa: PLC0415 - within the try

        run()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
