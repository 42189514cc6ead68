"""A set that can be learnt: coloured discs and squares on noise, with their masks."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from maskmill.schemas.labels import LabelMap

LABELS = LabelMap.from_names("made", ("background", "disc", "square"))


def made_pair(rng: np.random.Generator, size_hw: tuple[int, int] = (48, 64)):
    """(H, W, 3) picture and (H, W) mask."""
    height, width = size_hw
    pixels = rng.integers(60, 120, (height, width, 3)).astype(np.uint8)
    mask = np.zeros(size_hw, dtype=np.uint8)
    ys, xs = np.mgrid[:height, :width]
    for index, color in ((1, (210, 60, 50)), (2, (50, 80, 220))):
        y, x, r = rng.integers(10, height - 10), rng.integers(10, width - 10), rng.integers(7, 12)
        disc = (ys - y) ** 2 + (xs - x) ** 2 < r * r
        square = (abs(ys - y) < r) & (abs(xs - x) < r)
        inside = disc if index == 1 else square
        mask[inside] = index
        noise = rng.integers(-30, 30, (int(inside.sum()), 3))
        pixels[inside] = np.clip(np.array(color) + noise, 0, 255)
    return pixels, mask


def write_made_set(folder: Path, count: int, seed: int = 0) -> Path:
    """images/, masks/ and labels.json, as `convert` writes a folder of masks."""
    rng = np.random.default_rng(seed)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        pixels, mask = made_pair(rng)
        Image.fromarray(pixels).save(folder / "images" / f"{number:03}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number:03}.png")
    (folder / "labels.json").write_text(json.dumps(LABELS.to_dict()))
    return folder
