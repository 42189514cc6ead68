"""A set that can be learnt from nothing: classes of examples/shapes.py, told by their colours."""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from shapes import Pixels, write_shapes

COLORS = ((200, 70, 60), (60, 90, 210), (230, 200, 70))
Mask = npt.NDArray[np.uint8]


def write_colored_shapes(folder: Path, count: int, seed: int, size_hw: tuple[int, int]) -> Path:
    """images/, masks/ and labels.json."""
    return write_shapes(folder, count, seed=seed, size_hw=size_hw, made=colored_shapes)


def colored_shapes(
    rng: np.random.Generator, size_hw: tuple[int, int], triangles: float = 1.0
) -> tuple[Pixels, Mask]:
    """(H, W, 3) and (H, W): up to five shapes; later ones lie over earlier ones.

    Only this share of the ``triangles`` is drawn, the others become discs.
    """
    height, width = size_hw
    pixels = texture(rng, size_hw)
    mask = np.zeros(size_hw, dtype=np.uint8)
    ys, xs = np.mgrid[:height, :width]
    for _ in range(rng.integers(2, 6)):
        index = int(rng.integers(1, 4))
        if index == 3 and triangles < 1 and rng.random() >= triangles:
            index = 1
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
