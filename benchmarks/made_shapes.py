"""A set that can be learnt from nothing: discs, squares and triangles on textures, with masks."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from maskmill.schemas.labels import LabelMap

LABELS = LabelMap.from_names("shapes", ("background", "disc", "square", "triangle"))
COLORS = ((200, 70, 60), (60, 90, 210), (230, 200, 70))
Pixels = npt.NDArray[np.uint8]


def write_shapes(folder: Path, count: int, seed: int, size_hw: tuple[int, int]) -> Path:
    """images/, masks/ and labels.json."""
    rng = np.random.default_rng(seed)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        pixels, mask = shapes(rng, size_hw)
        Image.fromarray(pixels).save(folder / "images" / f"{number:04}.png", compress_level=1)
        Image.fromarray(mask).save(folder / "masks" / f"{number:04}.png", compress_level=1)
    (folder / "labels.json").write_text(json.dumps(LABELS.to_dict()))
    return folder


def shapes(rng: np.random.Generator, size_hw: tuple[int, int]) -> tuple[Pixels, Pixels]:
    """(H, W, 3) and (H, W): up to five shapes; later ones lie over earlier ones."""
    height, width = size_hw
    pixels = texture(rng, size_hw)
    mask = np.zeros(size_hw, dtype=np.uint8)
    ys, xs = np.mgrid[:height, :width]
    for _ in range(rng.integers(2, 6)):
        index = int(rng.integers(1, 4))
        y, x = rng.integers(0, height), rng.integers(0, width)
        radius = rng.uniform(0.12, 0.28) * min(size_hw)
        up, across = ys - y, xs - x
        inside = {
            1: up**2 + across**2 < radius**2,
            2: (abs(up) < radius * 0.9) & (abs(across) < radius * 0.9),
            3: (up < radius * 0.7) & (up > 2 * abs(across) - radius),
        }[index]
        color = np.array(COLORS[index - 1]) * rng.uniform(0.7, 1.1)
        noise = rng.normal(0, 18, (int(inside.sum()), 3))
        pixels[inside] = np.clip(color + noise, 0, 255)
        mask[inside] = index
    return pixels, mask


def texture(rng: np.random.Generator, size_hw: tuple[int, int]) -> Pixels:
    """(H, W, 3) stripes of a random direction and colour under noise."""
    ys, xs = np.mgrid[: size_hw[0], : size_hw[1]]
    angle, wave = rng.uniform(0, np.pi), rng.uniform(4, 20)
    stripes = np.sin((np.cos(angle) * xs + np.sin(angle) * ys) * 2 * np.pi / wave)
    color = rng.uniform(60, 190, 3)
    noise = rng.normal(0, 20, (*size_hw, 3))
    return np.clip(color + 35 * stripes[..., None] + noise, 0, 255).astype(np.uint8)
