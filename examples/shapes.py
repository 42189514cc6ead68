"""A set that can be learnt, made here: shapes with textures on textures, and their masks.

Colours tell nothing: every texture has random ones. What a shape is, its outline and texture say.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from maskmill.schemas.labels import LabelMap

LABELS = LabelMap.from_names("shapes", ("background", "disc", "square", "triangle"))
SHARES = (0.75, 0.6, 0.12)
"""In how many pictures there is a disc, a square, a triangle: one class is rare."""

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]
Made = Callable[[np.random.Generator, tuple[int, int]], tuple[Pixels, Mask]]


def shapes_picture(rng: np.random.Generator, size_hw: tuple[int, int]) -> tuple[Pixels, Mask]:
    """(H, W, 3) picture and (H, W) mask."""
    height, width = size_hw
    ys, xs = np.mgrid[:height, :width].astype(float)
    pixels = _texture(rng, 0, ys, xs)
    mask = np.zeros(size_hw, np.uint8)
    for index in 1 + np.flatnonzero(rng.random(len(SHARES)) < SHARES):
        radius = rng.uniform(0.13, 0.24) * min(size_hw)
        y, x = (rng.uniform(radius, side - radius) for side in size_hw)
        inside = _outline(int(index), ys - y, xs - x, radius)
        pixels[inside] = _texture(rng, int(index), ys, xs)[inside]
        mask[inside] = index
    noisy = pixels + rng.normal(0, 12, pixels.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), mask


def write_shapes(
    folder: Path,
    count: int,
    *,
    seed: int = 0,
    size_hw: tuple[int, int] = (96, 128),
    made: Made = shapes_picture,
    labels: LabelMap = LABELS,
) -> Path:
    """images/, masks/ and labels.json, which `finetune`, `audit` and `convert` take.

    ``made`` makes each picture and its mask, in classes of ``labels``.
    """
    rng = np.random.default_rng(seed)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels, mask = made(rng, size_hw)
        Image.fromarray(pixels).save(folder / "images" / f"{number:04}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number:04}.png")
    write_labels(folder, labels)
    return folder


def write_labels(folder: Path, labels: LabelMap = LABELS) -> None:
    """The classes, beside images/ and masks/."""
    (folder / "labels.json").write_text(json.dumps(labels.to_dict()))


def _outline(index: int, y: npt.NDArray[np.float64], x: npt.NDArray[np.float64], r: float) -> Mask:
    if index == 1:
        return y**2 + x**2 < r**2
    if index == 2:
        return (abs(y) < 0.85 * r) & (abs(x) < 0.85 * r)
    return (y < 0.8 * r) & (y + r > 1.8 * abs(x))


def _texture(
    rng: np.random.Generator, index: int, ys: npt.NDArray[np.float64], xs: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(H, W, 3): soft waves, stripes, checks or dots, between two colours."""
    first, second = rng.uniform(30, 225, (2, 3))
    period, turn = rng.uniform(7, 11), rng.uniform(0, np.pi)
    u, v = np.cos(turn) * xs + np.sin(turn) * ys, np.cos(turn) * ys - np.sin(turn) * xs
    waves = {
        0: 0.5 + 0.25 * (np.sin(u / 3 / period) + np.sin(v / 4 / period)),
        1: np.sin(2 * np.pi * u / period) > 0,
        2: (np.sin(2 * np.pi * u / period) > 0) ^ (np.sin(2 * np.pi * v / period) > 0),
        3: (np.sin(2 * np.pi * u / period) > 0.2) & (np.sin(2 * np.pi * v / period) > 0.2),
    }[index]
    share = waves.astype(float)[..., None]
    mixed: npt.NDArray[np.float64] = first * share + second * (1 - share)
    return mixed
