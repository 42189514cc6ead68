"""Weights on their way to workers elsewhere: through the run folder, which they all reach."""

import tempfile
from pathlib import Path

from maskmill.pipeline.runs.layout import RunLayout

STAGED = "work/weights"


def stage_weights(layout: RunLayout, path: Path | None) -> None:
    """Put the weights where every worker can read them."""
    if path is not None:
        with path.open("rb") as stream:
            layout.write_stream(STAGED + path.suffix, stream)


def local_weights(layout: RunLayout, path: Path | None) -> Path | None:
    """The weights as a file of this machine: ``path`` itself where it is, else the staged ones.

    The caller checks the hash; a file of the same name and other content is refused there.

    Raises:
        FileNotFoundError: neither is there.
    """
    if path is None or path.is_file():
        return path
    with tempfile.NamedTemporaryFile(suffix=path.suffix, delete=False) as copy:
        copy.write(layout.read(STAGED + path.suffix))
    return Path(copy.name)
