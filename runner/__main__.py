"""`python -m runner` is `gauntlet`."""

from runner.cli import main

if __name__ == "__main__":
    main()
