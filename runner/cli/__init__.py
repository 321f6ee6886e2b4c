"""The `gauntlet` command."""

from __future__ import annotations

import os
import signal
import sys
from io import StringIO, TextIOWrapper

import click

from runner.cli.models import models
from runner.cli.printing import print_error
from runner.cli.runs import calibrate, run
from runner.cli.service import grade, task
from runner.cli.stored import compare, report

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="resilience-gauntlet", prog_name="gauntlet")
def cli() -> None:
    """Let Claude harden a fragile sensor pipeline, and grade what it hands in."""


for command in (run, calibrate, report, compare, grade, task, models):
    cli.add_command(command)


def main() -> None:
    """Run the command and exit: 2 for a wrong call, 1 for a failed run, 130 for Ctrl-C."""
    sys.stdout = sys.stdout or StringIO()  # a closed one is None: then nobody reads
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # "✅" must not end a run on an ASCII terminal
    try:
        status = cli.main(prog_name="gauntlet", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        status = error.exit_code
    except click.ClickException as error:
        print_error(error.format_message())
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = 128 + signal.SIGINT
    except OSError as error:
        print_error(f"the output cannot be written ({error.strerror})")
        status = 1
    sys.exit(_flushed(status))


def _flushed(status: int) -> int:
    """Have the interpreter's last flush fail nowhere; what a reader did not wait for is not its error."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status
