"""Options about videos in a source: which of their frames are taken."""

import click

from maskmill.jobs.options import with_options

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


video_options = with_options(*_OPTIONS)
"""The options of every command that takes videos: --every, --fps, --from, --to."""
