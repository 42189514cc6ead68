"""What an audit costs beside decoding the masks it compares; ratios measured in one run.

    python benchmarks/audit_counting.py [--pairs N] [--turns N] [--sizes WxH ...]
    python benchmarks/audit_counting.py --memory [FEW MANY]

Masks are palette PNGs made of smooth random regions with a void border, and as many predictions
that differ along the borders and in some regions; at 500 x 375, real Pascal VOC masks where they
lie beside the checkout. One process, one thread, files in the page cache. Ways take turns; the
median of the turns counts. ``--memory`` audits FEW and MANY pairs with the command and compares
peaks.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from PIL import Image
from processes import anonymous_bytes, descendants, proportional_set_sizes

from maskmill.pipeline.audit.operator import AuditPairs, AuditSettings
from maskmill.pipeline.audit.pair import Measures
from maskmill.pipeline.metrics.confusion import count_pair, value_table
from maskmill.schemas.labels import builtin
from maskmill.schemas.tables.audit import PAIRS

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "voc_masks_500"
LABELS = builtin("voc")
NO_FACTS = dict.fromkeys(PAIRS.names)
COUNTS_ONLY = Measures(boundaries=False, regions=False, truth_checks=False, alignment=False)
NO_ALIGNMENT = Measures(alignment=False)
Way = Callable[[list[tuple[Path, Path]]], None]
Size = tuple[int, int]  # width and height
VOC_SIZE: Size = (500, 375)


def made_mask(rng: np.random.Generator, size: Size) -> np.ndarray:
    noise = cv2.GaussianBlur(rng.random((375, 500), dtype=np.float32), (0, 0), 25)
    noise = cv2.resize(noise, size)
    mask = np.digitize(noise, np.quantile(noise, [0.6, 0.8, 0.9])).astype(np.uint8)
    mask = np.array([0, *rng.choice(np.arange(1, 21), 3, replace=False)], np.uint8)[mask]
    square = np.ones((5, 5), np.uint8)
    mask[cv2.dilate(mask, square) != cv2.erode(mask, square)] = 255
    return mask


def predicted(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mask without void, its borders moved by smooth random steps, one region mistaken."""
    height, width = mask.shape
    wobble = 3 * height / 375  # pixels
    steps = [
        cv2.resize(rng.normal(0, wobble, (9, 12)).astype(np.float32), (width, height))
        for _ in range(2)
    ]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved = cv2.remap(
        mask, x + steps[0], y + steps[1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
    )
    moved[moved == 255] = 0
    if rng.random() < 0.3:
        moved[moved == moved.max()] = rng.integers(1, 21)
    return moved


def save(mask: np.ndarray, path: Path) -> None:
    picture = Image.fromarray(mask, "P")
    picture.putpalette(LABELS.palette)
    picture.save(path)


def write_pairs(folder: Path, count: int, size: Size = VOC_SIZE) -> list[tuple[Path, Path]]:
    """(prediction, truth) files; real truth where there is some of that size."""
    real = sorted(REAL.glob("*.png")) if size == VOC_SIZE else []
    pairs = []
    for side in ("prediction", "truth"):
        (folder / side).mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        truth = np.asarray(Image.open(real[number % len(real)])) if real else made_mask(rng, size)
        pair = tuple(folder / side / f"{number:05}.png" for side in ("prediction", "truth"))
        save(predicted(truth, rng), pair[0])
        save(truth, pair[1])
        pairs.append(pair)
    return pairs


def decoded(path: Path) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(path.read_bytes())))


def decode_only(pairs: list[tuple[Path, Path]]) -> None:
    for prediction, truth in pairs:
        decoded(prediction), decoded(truth)


def decode_and_count(pairs: list[tuple[Path, Path]]) -> None:
    table = value_table(21, ignore=[255], bits=8)
    for prediction, truth in pairs:
        count_pair(
            decoded(truth), decoded(prediction), 21, truth_table=table, prediction_table=table
        )


def decode_and_bincount(pairs: list[tuple[Path, Path]]) -> None:
    """The usual way: 64-bit codes of all pixels into one bincount."""
    for prediction, truth in pairs:
        left, right = decoded(truth).astype(np.int64), decoded(prediction)
        valid = left < 21
        np.bincount(left[valid] * 256 + right[valid], minlength=21 * 256)


def operator(measures: Measures) -> Way:
    audit = AuditPairs(AuditSettings(labels=LABELS, measures=measures))

    def run(pairs: list[tuple[Path, Path]]) -> None:
        for start in range(0, len(pairs), 32):
            work = audit.of_block()
            for number, (prediction, truth) in enumerate(pairs[start : start + 32], start=1):
                row = work({
                    **NO_FACTS, "pair_id": number, "key": str(number),
                    "prediction_uri": str(prediction), "truth_uri": str(truth),
                })  # fmt: skip
                assert row["cells"]

    return run


WAYS: dict[str, Way] = {
    "decode only": decode_only,
    "decode + count": decode_and_count,
    "decode + plain bincount": decode_and_bincount,
    "operator, counts only": operator(COUNTS_ONLY),
    "operator, with boundaries, regions, truth checks": operator(NO_ALIGNMENT),
    "operator, and every pair tried turned and shifted": operator(Measures()),
}


def time_ways(pairs: list[tuple[Path, Path]], turns: int) -> dict[str, float]:
    """Pairs per second of each way."""
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for turn in range(turns + 1):
        for name, way in WAYS.items():
            started = time.process_time()
            way(pairs)
            if turn:  # the first turn warms up
                seconds[name].append(time.process_time() - started)
    return {name: len(pairs) / statistics.median(taken) for name, taken in seconds.items()}


def peak_of_command(pairs: list[tuple[Path, Path]], out: Path, engine: str) -> tuple[int, int]:
    """Peak bytes of the command with all below it (PSS, object store apart) and of its driver.

    The driver's are those it has allocated itself: its share of libraries jumps up when the
    workers it shares them with end.
    """
    folders = [str(path.parent) for path in pairs[0]]
    process = subprocess.Popen(
        [sys.executable, "-m", "maskmill", "audit", *folders, "--labels", "voc", "--out", str(out),
         "--engine", engine],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    total = driver = 0
    while process.poll() is None:
        sizes = proportional_set_sizes([process.pid, *descendants(process.pid)])
        total, driver = max(total, sum(sizes.values())), max(driver, anonymous_bytes(process.pid))
        time.sleep(0.3)
    if process.returncode:
        raise RuntimeError(f"audit ended with {process.returncode}")
    return total, driver


def measure_memory(few: int, many: int, engine: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        pairs = write_pairs(Path(name) / "many", many)
        some = write_pairs(Path(name) / "few", few)
        small = peak_of_command(some, Path(name) / "few_out", engine)
        large = peak_of_command(pairs, Path(name) / "many_out", engine)
    print(json.dumps({
        "benchmark": f"audit: peak memory at {many} / {few} pairs", "engine": engine,
        "peak_mib": {few: small[0] >> 20, many: large[0] >> 20},
        "driver_mib": {few: small[1] >> 20, many: large[1] >> 20},
        "ratio": round(large[0] / small[0], 4), "driver_ratio": round(large[1] / small[1], 4),
    }))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--sizes", nargs="*", default=["500x375"], metavar="WxH")
    parser.add_argument("--memory", nargs="*", type=int, metavar="PAIRS")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.memory is not None:
        for engine in ("local", "ray"):
            measure_memory(*(options.memory or (500, 5000)), engine)
        return
    for size in options.sizes:
        report(size, options.pairs, options.turns)


def report(size: str, count: int, turns: int) -> None:
    """One line per way; of larger masks fewer pairs, so that every size takes about as long."""
    width, height = (int(side) for side in size.split("x"))
    fewer = max(1, round(width * height / (VOC_SIZE[0] * VOC_SIZE[1])))
    with tempfile.TemporaryDirectory() as name:
        pairs = write_pairs(Path(name), max(4, count // fewer), (width, height))
        rates = time_ways(pairs, turns)
    for way, rate in rates.items():
        print(json.dumps({
            "benchmark": f"audit: {way}", "size": size, "pairs": len(pairs),
            "pairs_per_second": round(rate, 1),
            "ratio_to_decoding": round(rate / rates["decode only"], 3),
            "masks": "Pascal VOC" if size == "500x375" and REAL.is_dir() else "made",
        }))  # fmt: skip


if __name__ == "__main__":
    main()
