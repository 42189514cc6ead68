"""What commands share: options, and how failures become messages and exit codes."""

import functools
import json
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import click

from maskmill.jobs.machine_failures import machine_failure
from maskmill.jobs.signals import exit_code_of, sentence_of
from maskmill.jobs.streams import EXIT_BROKEN_PIPE, can_encode, printable, readers_have_gone
from maskmill.schemas.errors import MaskmillError

EXIT_FAILED_ROWS = 3
EXIT_BELOW_THRESHOLD = 4

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

    Ctrl-C and other signals end with a sentence: nothing committed is lost. A reader that went
    away (``| head``) ends it without one.
    """

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except MaskmillError as error:
            _end(str(error), error.exit_code)
        except KeyboardInterrupt as stop:
            _end(sentence_of(stop), exit_code_of(stop), color="yellow")
        except OSError as error:
            if isinstance(error, BrokenPipeError) and readers_have_gone():
                sys.exit(EXIT_BROKEN_PIPE)
            sentence = machine_failure(error)
            if sentence is None:
                raise
            _end(sentence, MaskmillError.exit_code)

    return wrapper  # type: ignore[return-value]


def say_json(document: Any) -> None:
    """One machine-readable line on stdout; in ASCII where its encoding lacks a character."""
    text = json.dumps(document, ensure_ascii=False, sort_keys=True)
    if not can_encode(text, sys.stdout.encoding):
        text = json.dumps(document, sort_keys=True)
    click.echo(text)


def _end(sentence: str, exit_code: int, *, color: str = "red") -> NoReturn:
    click.secho(f"maskmill: {printable(sentence)}", fg=color, err=True)
    sys.exit(exit_code)
