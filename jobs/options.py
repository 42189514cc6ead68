"""What commands share: options, and how failures become messages and exit codes."""

import functools
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from maskmill.jobs.machine_failures import machine_failure
from maskmill.schemas.errors import MaskmillError
from maskmill.schemas.text import printable
from maskmill.signals import exit_code_of, sentence_of
from maskmill.streams import EXIT_BROKEN_PIPE, can_encode, readers_have_gone

if TYPE_CHECKING:
    from maskmill.jobs.engines.choice import RunOptions

EXIT_FAILED_ROWS = 3
EXIT_BELOW_THRESHOLD = 4

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one line of JSON on stdout instead of text."
)
_ENGINE_OPTIONS = (
    click.option(
        "--engine",
        type=click.Choice(["auto", "local", "ray"]),
        default="auto",
        show_default=True,
        help="local: this process; ray: processes of a Ray cluster; auto: what is done sooner.",
    ),
    click.option(
        "--address",
        metavar="auto|HOST:PORT",
        default=None,
        help="Join this running Ray cluster; SOURCE and OUT must lie on storage its nodes share.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1),
        help="Processes, or threads, that do the work. [default: one per core, or per GPU]",
    ),
    click.option(
        "--stall-minutes",
        type=click.FloatRange(0),
        default=60.0,
        show_default=True,
        help="End a run that has committed nothing for so long; 0: never.",
    ),
)


def with_options(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Several options, and whatever else decorates a command, as one decorator; the first first."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


engine_options = with_options(*_ENGINE_OPTIONS)
"""The options of every command that runs: --engine, --address, --workers, --stall-minutes."""


def failure_options(noun: str) -> Callable[[Command], Command]:
    """--retry-failed and --allow-failures of a command whose rows are ``noun``."""
    return with_options(
        click.option(
            "--retry-failed", is_flag=True, help=f"Do the failed {noun} of the run again."
        ),
        click.option(
            "--allow-failures", is_flag=True, help=f"Exit with 0 although some {noun} failed."
        ),
    )


def run_options(options: dict[str, Any]) -> "RunOptions":
    """Take out of a command's options those that say how a run is done."""
    from maskmill.jobs.engines.choice import RunOptions

    names = [name for name in RunOptions.__slots__ if name in options]
    return RunOptions(**{name: options.pop(name) for name in names})


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
    click.secho(f"maskmill: {printable(sentence, lines=True)}", fg=color, err=True)
    sys.exit(exit_code)
