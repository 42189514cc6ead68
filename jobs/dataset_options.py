"""What the commands share that read any data set: its classes, its pictures, its names."""

import click

from maskmill.jobs.options import with_options

_OPTIONS = (
    click.option(
        "--labels",
        metavar="FILE",
        help="Classes of data that names none, else of what is made: a file, or a built-in name.",
    ),
    click.option(
        "--map",
        "map_file",
        metavar="FILE",
        help="Rename, merge and drop classes: lines `old = new`, `* = @keep`; see docs/formats.md.",
    ),
    click.option(
        "--unknown",
        type=click.Choice(["error", "ignore", "nearest"]),
        default="error",
        show_default=True,
        help="Values and colours that the label map lacks.",
    ),
    click.option("--images", metavar="DIR", help="Where the pictures are, if not in the data set."),
    click.option(
        "--mask-suffix",
        metavar="TEXT",
        help="What names of masks have beyond those of their pictures: _mask, or mask_ in front. "
        "Found by itself where most names agree.",
    ),
)


dataset_options = with_options(*_OPTIONS)
"""--labels, --map, --unknown, --images and --mask-suffix."""
