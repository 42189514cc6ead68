"""VOC masks to COCO: ours beside datumaro's, per mask, start-up apart; ratios measured in one run.

    python benchmarks/conversion.py [--masks N] [--turns N]
    python benchmarks/conversion.py --memory FEW MANY [--to FORMAT] [--engine local ray]

Real Pascal VOC masks where they lie beside the checkout, else smooth random regions. Ours is
the whole job (read, map, write, rows committed, the document) by one thread of one process, its
imports apart. datumaro runs in .venv-oracles (tests/oracles/README.md): import of voc_segmentation
and export to coco_instances without pictures, timed inside its process. Ways take turns.

--memory runs the command over FEW and over MANY masks and gives its peak memory: summed
proportional set sizes of all its processes without the object store, and the driver's own.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image
from runs import peak_memory

from maskmill.jobs.engines.choice import RunOptions
from maskmill.jobs.run import run
from maskmill.pipeline.convert.conversion import ConversionRequest
from maskmill.pipeline.convert.job import ConvertJob
from maskmill.schemas.labels import builtin

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "voc_masks_500"
ORACLE = ROOT / ".venv-oracles/bin/python"
LABELS = builtin("voc")

DATUMARO = """
import sys, time, datumaro
started = time.perf_counter()
dataset = datumaro.Dataset.import_from(sys.argv[1], "voc_segmentation")
dataset.export(sys.argv[2], "coco_instances", save_media=False, segmentation_mode="mask")
print(len(dataset), time.perf_counter() - started)
"""


def random_mask(seed: int) -> np.ndarray:
    """Smooth regions of a few classes, 375 x 500, with a void border between them."""
    generator = np.random.default_rng(seed)
    coarse = generator.normal(size=(6, 7, 9))
    large = [
        np.asarray(Image.fromarray(plane.astype(np.float32)).resize((500, 375))) for plane in coarse
    ]
    mask = np.argmax(large, axis=0)
    classes = generator.permutation(21)[:6]
    return classes[mask].astype(np.uint8)


def write_source(folder: Path, count: int) -> int:
    """A VOC folder of ``count`` masks; the real ones again and again where there are fewer."""
    (folder / "SegmentationClass").mkdir(parents=True)
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    real = sorted(REAL.glob("*.png")) if REAL.is_dir() else []
    for number in range(count if real else 0):
        path = real[number % len(real)]
        name = f"{number // len(real):03d}_{path.name}" if count > len(real) else path.name
        shutil.copy(path, folder / "SegmentationClass" / name)
    for number in range(0 if real else count):
        image = Image.fromarray(random_mask(number), "P")
        image.putpalette(LABELS.palette)
        image.save(folder / f"SegmentationClass/{number:05d}.png")
    stems = sorted(path.stem for path in (folder / "SegmentationClass").iterdir())
    (folder / "ImageSets/Segmentation/train.txt").write_text("\n".join(stems) + "\n")
    return len(stems)


def ours(source: Path, out: Path) -> float:
    """Seconds of the whole job by one thread of this process, the look through the source too."""
    started = time.perf_counter()
    request = ConversionRequest(source=str(source), from_format="voc", to_format="coco")
    run(ConvertJob(request=request, out=str(out)), RunOptions(engine="local", workers=1))
    return time.perf_counter() - started


def theirs(source: Path, out: Path) -> float:
    """Seconds inside datumaro's process, its imports apart."""
    line = [str(ORACLE), "-W", "ignore", "-c", DATUMARO, str(source), str(out)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=3000)
    return float(done.stdout.split()[-1])


def report_memory(few: int, many: int, to_format: str, engine: str) -> None:
    """Print one JSON line: peaks of both runs, and their ratios."""
    peaks: dict[int, tuple[int, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in (few, many):
            source, out = Path(folder) / f"{count}", Path(folder) / f"out{count}"
            write_source(source, count)
            command = [sys.executable, "-m", "maskmill", "convert", str(source), str(out)]
            how = ["--from", "voc", "--to", to_format, "--check", "--engine", engine]
            peaks[count] = peak_memory([*command, *how])
    total, driver = ({count: peak[at] for count, peak in peaks.items()} for at in (0, 1))
    line = {
        "benchmark": f"peak memory of convert at {many} / {few} masks",
        "to": to_format,
        "engine": engine,
        "peak_mib": {count: round(size / 2**20) for count, size in total.items()},
        "driver_mib": {count: round(size / 2**20) for count, size in driver.items()},
        "ratio": round(total[many] / total[few], 4),
        "driver_ratio": round(driver[many] / driver[few], 4),
    }
    print(json.dumps(line))


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--masks", type=int, default=500)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs=2, metavar=("FEW", "MANY"))
    parser.add_argument("--to", default="coco")
    parser.add_argument("--engine", choices=("local", "ray"), nargs="*", default=("local", "ray"))
    options = parser.parse_args()
    if options.memory:
        for engine in options.engine:
            report_memory(*options.memory, options.to, engine)
        return
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "voc"
        count = write_source(source, options.masks)
        times: dict[str, list[float]] = {"ours": [], "datumaro": []}
        for turn in range(options.turns):
            times["ours"].append(ours(source, Path(folder) / f"ours{turn}"))
            if ORACLE.exists():
                times["datumaro"].append(theirs(source, Path(folder) / f"theirs{turn}"))
    ms = {name: 1000 * statistics.median(found) / count for name, found in times.items() if found}
    line = {"benchmark": "voc_to_coco", "masks": count, "ms_per_mask": ms}
    if "datumaro" in ms:
        line["times_datumaro"] = round(ms["datumaro"] / ms["ours"], 1)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
