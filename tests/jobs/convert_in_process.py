"""`maskmill convert` in this process: all of the command but Ray, whose place a loop takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from click.testing import CliRunner, Result
from PIL import Image

from maskmill.jobs.cli import main
from maskmill.jobs.runtime import Capacity
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.labels import builtin


@contextmanager
def _no_cluster(address: str | None) -> Iterator[Capacity]:
    yield Capacity(cpus=1, gpus=0, is_local=False)


def _one_by_one(
    layout: RunLayout, work: str, operator: Any, workers: int
) -> Iterator[list[dict[str, Any]]]:
    table = layout.read_table(work)
    for row in range(table.num_rows):
        yield operator(table.slice(row, 1)).to_pylist()


def convert_in_process(*arguments: object) -> Result:
    """The command's exit code, its line of JSON as ``stdout``, its messages as ``stderr``."""
    from maskmill.jobs import convert_run

    with (
        patch.object(convert_run, "cluster", _no_cluster),
        patch.object(convert_run, "_blocks", _one_by_one),
    ):
        line = ["convert", *(str(argument) for argument in arguments), "--json"]
        return CliRunner().invoke(main, line)


def write_voc(folder: Path, count: int, side: int = 40) -> dict[str, np.ndarray]:
    """VOC class masks with rings, parts and single pixels; index arrays by key."""
    generator = np.random.default_rng(5)
    masks = {}
    for number in range(count):
        mask = generator.integers(0, 21, (side // 4, side // 4)).repeat(4, 0).repeat(4, 1)
        mask[5, 7] = 3
        key = f"{'sub/' if number % 2 else ''}photo {number:03d}"
        masks[key] = mask.astype(np.uint8)
        path = folder / f"SegmentationClass/{key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(masks[key], "P")
        image.putpalette(builtin("voc").palette)
        image.save(path)
    return masks
