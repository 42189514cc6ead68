"""Photographs of 12 megapixels: `prelabel`, with all pixels decoded and without, and plain loops.

    python benchmarks/large_photographs.py [IMAGES]

Prints JSON lines; both sides of each ratio are measured in this run, in turns. Steady rates, that
is between the commits at a tenth and nine tenths of a run.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from pictures import packaged_photographs
from PIL import Image
from prelabel_throughput import agreement, interpolated, plain_loop, sampled, say
from runs import watch_prelabel

SIZE = (4000, 3000)
BLOCK = 4
LOOP_IMAGES = 6
LOOPS = {"loop": sampled, "interpolating_loop": interpolated}
_ORIENTATION = 0x0112


def write_photographs(folder: Path, count: int, size: tuple[int, int] = SIZE) -> Path:
    """``count`` JPEGs of ``size`` as they are stored: packaged photographs, cropped and enlarged.

    Every fourth is progressive, and every fourth stored on its side, which its EXIF says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    originals = [Image.fromarray(picture) for picture in packaged_photographs().values()]
    rng = np.random.default_rng(12)
    for number in range(count):
        picture = _cropped(originals[number % len(originals)], rng, size[0] / size[1])
        exif = Image.Exif()
        if number % 4 == 3:
            picture = picture.transpose(Image.Transpose.ROTATE_90)
            exif[_ORIENTATION] = 6
        shape = size if number % 4 != 3 else size[::-1]
        picture.resize(shape, Image.Resampling.BICUBIC).save(
            folder / f"{number:04}.jpg", quality=90, exif=exif, progressive=number % 4 == 1
        )
    return folder


def _cropped(picture: Image.Image, rng: np.random.Generator, aspect: float) -> Image.Image:
    width = min(picture.width, round(picture.height * aspect)) * rng.uniform(0.7, 1.0)
    height = width / aspect
    left = rng.uniform(0, picture.width - width)
    top = rng.uniform(0, picture.height - height)
    return picture.crop(tuple(map(round, (left, top, left + width, top + height))))


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        photographs = write_photographs(work / "photographs", count)
        few = write_photographs(work / "few", LOOP_IMAGES + 4)
        rates: dict[str, list[float]] = {kind: [] for kind in ("exact", "reduced", *LOOPS)}
        for turn in range(2):
            for kind, options in (("exact", ["--exact-decode"]), ("reduced", [])):
                run = watch_prelabel(
                    photographs, work / f"{kind}{turn}", *options, "--block-images", BLOCK,
                    block_images=BLOCK,
                )  # fmt: skip
                rates[kind].append(run.steady_rate)
            for kind, enlarge in LOOPS.items():
                rate = plain_loop(few, work / f"{kind}{turn}", LOOP_IMAGES, enlarge)
                rates[kind].append(rate)
        means = {kind: float(np.mean(values)) for kind, values in rates.items()}
        shares = agreement(work / "exact0/masks", work / "reduced0/masks")
        say(
            benchmark="prelabel of 12 megapixels",
            images=count,
            **means,
            ratio_to_exact_decode=means["reduced"] / means["exact"],
            ratio_to_loop=means["reduced"] / means["loop"],
            ratio_to_interpolating_loop=means["reduced"] / means["interpolating_loop"],
            labels_equal=float(np.mean(shares)),
            labels_equal_worst=min(shares),
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
