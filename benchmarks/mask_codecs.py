"""Mask codecs against their limits, each a ratio measured in one run; prints JSON lines.

    python benchmarks/mask_codecs.py [--masks FOLDER] [--limit N] [--rounds N]

FOLDER holds palette masks of Pascal VOC (default: ../shared/data/voc_masks_500 beside the
checkout); they are first turned into RGB files in a temporary folder. The things compared take
turns on every item and the best turn of each counts, so that a busy machine favours none.
"""

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from maskmill.pipeline.masks.color import packed_to_mask
from maskmill.pipeline.masks.picture import index_png
from maskmill.pipeline.masks.reading import read_mask
from maskmill.pipeline.masks.registry import MASK_FORMATS, DecodeOptions
from maskmill.pipeline.masks.rle import class_runs, counts_to_strings, runs_to_counts
from maskmill.pipeline.masks.segments import class_statistics, segments_of
from maskmill.schemas.arrays import LabelMask, RgbImage
from maskmill.schemas.labels import LabelMap, builtin

MASKS = Path(__file__).resolve().parents[2] / "shared" / "data" / "voc_masks_500"
VOC = builtin("voc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--masks", type=Path, default=MASKS)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    paths = sorted(options.masks.glob("*.png"))[: options.limit]
    if not paths:
        parser.error(f"no PNG masks in {options.masks}")
    masks = [np.array(Image.open(path)) for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        colored = write_colored(masks, Path(folder))
        report_conversion(colored, masks, options.rounds)
    report_against_loop(masks[:100], options.rounds)
    report_runs([resized(mask) for mask in masks[:100]], options.rounds)


def write_colored(masks: Iterable[LabelMask], folder: Path) -> list[Path]:
    """The masks as RGB PNG files, written by Pillow with its own settings."""
    palette = np.frombuffer(VOC.palette, np.uint8).reshape(256, 3)
    paths = []
    for position, mask in enumerate(masks):
        paths.append(folder / f"{position:05d}.png")
        Image.fromarray(palette[mask]).save(paths[-1])
    return paths


def report_conversion(paths: list[Path], masks: list[LabelMask], rounds: int) -> None:
    """Colour file -> index file, against decoding the one and encoding the other."""
    color = MASK_FORMATS["color"]

    def limit(pair: tuple[bytes, LabelMask]) -> None:
        np.asarray(Image.open(io.BytesIO(pair[0])))
        index_png(pair[1])

    def convert(pair: tuple[bytes, LabelMask]) -> None:
        index_png(color.decode(pair[0], VOC, name="m"))

    def convert_auto(pair: tuple[bytes, LabelMask]) -> None:
        index_png(read_mask(pair[0], VOC, name="m")[0])

    pairs = [(path.read_bytes(), mask) for path, mask in zip(paths, masks, strict=True)]
    for data, mask in pairs:
        assert np.array_equal(color.decode(data, VOC, name="m"), mask)
    best = best_of([limit, convert, convert_auto], pairs, rounds)
    per_second = [round(len(pairs) / seconds, 1) for seconds in best]
    for name, at in (("color_to_index", 1), ("color_to_index_auto", 2)):
        emit(
            name,
            best[0] / best[at],
            masks=len(pairs),
            masks_per_s=per_second[at],
            limit_masks_per_s=per_second[0],
            limit="decode RGB PNG + encode index PNG",
        )


def report_against_loop(masks: list[LabelMask], rounds: int) -> None:
    """Colours -> indices in memory, against one comparison per class."""
    palette = np.frombuffer(VOC.palette, np.uint8).reshape(256, 3)
    pictures = [palette[mask] for mask in masks]
    for picture, mask in zip(pictures, masks, strict=True):
        assert np.array_equal(per_class(picture, VOC), mask)
        assert np.array_equal(by_table(picture), mask)
    best = best_of(
        [by_table, lambda p: per_class(p, VOC)],
        pictures,
        rounds,
    )
    emit("color_to_index_vs_loop", best[1] / best[0], ms=1000 * best[0] / len(masks))


def by_table(pixels: RgbImage) -> LabelMask:
    """Our way: colours as integers, one look-up per run of them."""
    channels = pixels.astype(np.uint32)
    packed = channels[..., 0] | channels[..., 1] << np.uint32(8) | channels[..., 2] << np.uint32(16)
    return packed_to_mask(packed, VOC, name="m", options=DecodeOptions())


def per_class(pixels: RgbImage, labels: LabelMap) -> LabelMask:
    """The plain way: every class is compared with every pixel."""
    mask = np.full(pixels.shape[:2], labels.ignore_index, np.uint8)
    for entry in labels.classes:
        mask[(pixels == np.array(entry.color, np.uint8)).all(axis=-1)] = entry.index
    return mask


def report_runs(masks: list[LabelMask], rounds: int) -> None:
    """RLE of all classes of 640 x 480 masks, against one pycocotools encode per class."""

    def one_pass(mask: LabelMask) -> None:
        counts = [runs_to_counts(runs, mask.size) for runs in class_runs(mask).values()]
        counts_to_strings(counts, (mask.shape[0], mask.shape[1]))

    def each_class(mask: LabelMask) -> None:
        for value in np.unique(mask):
            coco_mask.encode(np.asfortranarray((mask == value).astype(np.uint8)))

    def described(mask: LabelMask) -> None:
        runs = class_runs(mask)
        segments_of(mask, VOC, runs=runs)
        class_statistics(mask, VOC, runs=runs)

    seconds = best_of([one_pass, each_class, described], masks, rounds)
    best = [1000 * total / len(masks) for total in seconds]
    emit("rle_vs_pycocotools_per_class", best[1] / best[0], ms=best[0], size="640x480")
    emit("segments_and_statistics_vs_rle", best[0] / best[2], ms=best[2], size="640x480")


def resized(mask: LabelMask) -> LabelMask:
    return np.asarray(Image.fromarray(mask).resize((640, 480), Image.Resampling.NEAREST))


def best_of(things: list[Callable[[Any], object]], items: list[Any], rounds: int) -> list[float]:
    """Seconds of each thing over all items: per item the best of ``rounds``, taken in turns."""
    best = np.full((len(items), len(things)), np.inf)
    for _ in range(rounds):
        for row, item in enumerate(items):
            for column, thing in enumerate(things):
                started = time.perf_counter()
                thing(item)
                best[row, column] = min(best[row, column], time.perf_counter() - started)
    return [float(seconds) for seconds in best.sum(axis=0)]


def emit(name: str, ratio: float, **facts: object) -> None:
    rounded = {
        key: round(fact, 3) if isinstance(fact, float) else fact for key, fact in facts.items()
    }
    print(json.dumps({"benchmark": name, "ratio": round(ratio, 3), **rounded}), flush=True)


if __name__ == "__main__":
    main()
