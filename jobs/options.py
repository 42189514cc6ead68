"""What commands share: options, and how failures become messages and exit codes."""

import functools
import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from maskmill.jobs.machine_failures import machine_failure
from maskmill.schemas.errors import MaskmillError
from maskmill.schemas.text import printable

EXIT_FAILED_ROWS = 3
EXIT_BELOW_THRESHOLD = 4
EXIT_INTERRUPTED = 130

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one line of JSON on stdout instead of text."
)
address_option = click.option(
    "--address",
    metavar="auto|HOST:PORT",
    default=None,
    help="Join this running Ray cluster; SOURCE and OUT must lie on storage its nodes share. "
    "Without it, a cluster of this machine's cores is started and stopped.",
)


def exits_cleanly(command: Command) -> Command:
    """Turn our own failures into one message and their exit code; leave bugs loud.

    Ctrl-C ends with 130 and a sentence: nothing committed is lost.
    """

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except MaskmillError as error:
            click.secho(f"maskmill: {printable(error, lines=True)}", fg="red", err=True)
            sys.exit(error.exit_code)
        except OSError as error:
            sentence = machine_failure(error)
            if sentence is None:
                raise
            click.secho(f"maskmill: {printable(sentence, lines=True)}", fg="red", err=True)
            sys.exit(MaskmillError.exit_code)
        except KeyboardInterrupt:
            click.secho(
                "maskmill: stopped; what is committed stays. The same command continues.",
                fg="yellow",
                err=True,
            )
            sys.exit(EXIT_INTERRUPTED)

    return wrapper  # type: ignore[return-value]


def say_json(document: Any) -> None:
    """One machine-readable line on stdout."""
    click.echo(json.dumps(document, ensure_ascii=False, sort_keys=True))
