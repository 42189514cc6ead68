"""`maskmill convert` in this process, by the local engine."""

from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result
from PIL import Image

from maskmill.jobs.cli import main
from maskmill.schemas.labels import builtin


def convert_in_process(*arguments: object) -> Result:
    """The command's exit code, its line of JSON as ``stdout``, its messages as ``stderr``."""
    line = ["convert", *(str(argument) for argument in arguments), "--json", "--engine", "local"]
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
