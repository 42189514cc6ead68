"""Options about videos in a source: which of their frames are taken."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--every", type=click.IntRange(1), metavar="N", help="Of videos: every Nth frame."
    ),
    click.option(
        "--fps", metavar="F", help="Of videos: so many frames a second, as 2, 0.5 or 30000/1001."
    ),
    click.option(
        "--from",
        "from_time",
        metavar="TIME",
        help="Of videos: from this second on; 90, 1:30, 0:01:30.5.",
    ),
    click.option("--to", "to_time", metavar="TIME", help="Of videos: up to this second."),
)


def video_options(command: Command) -> Command:
    """The options of every command that takes videos: --every, --fps, --from, --to."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
