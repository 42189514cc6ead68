"""The benchmark's pictures: seeded 640x480 crops of real photographs."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared/data"
SIZE = (640, 480)
SEED = 0

sys.path.insert(0, str(ROOT / "examples"))
from photographs import packaged_photographs  # noqa: E402


def write_crops(folder: Path, count: int, size: tuple[int, int] = SIZE) -> Path:
    """``count`` JPEG crops of the packaged photographs, and of the shared ones where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    photographs = [Image.fromarray(picture) for picture in packaged_photographs().values()]
    shared = sorted(SHARED.glob("voc/*.jpg")) + sorted(SHARED.glob("ade20k/**/*.jpg"))
    photographs += [Image.open(path).convert("RGB") for path in shared]
    rng = np.random.default_rng(SEED)
    for number in range(count):
        _crop(photographs[number % len(photographs)], rng, size).save(
            folder / f"{number:05}.jpg", quality=88
        )
    return folder


def _crop(photograph: Image.Image, rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    width = int(photograph.width * rng.uniform(0.5, 1.0))
    height = min(photograph.height, round(width * size[1] / size[0]))
    x = int(rng.integers(photograph.width - width + 1))
    y = int(rng.integers(photograph.height - height + 1))
    crop = photograph.crop((x, y, x + width, y + height)).resize(size, Image.Resampling.BICUBIC)
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop
