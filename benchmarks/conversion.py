"""VOC masks to COCO: ours beside datumaro's, per mask, start-up apart; ratios measured in one run.

    python benchmarks/conversion.py [--masks N] [--turns N]

Real Pascal VOC masks where they lie beside the checkout, else smooth random regions. Ours is what a
worker does (read, map, write, rows committed) and the finisher's document, in one process with one
thread. datumaro runs in .venv-oracles (tests/oracles/README.md): import of voc_segmentation and
export to coco_instances without pictures, timed inside its process. Ways take turns.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image

from pipeline.conversion import ConversionRequest, plan_conversion
from pipeline.conversion_finish import finish_conversion
from pipeline.conversion_manifest import manifest_file, pending_blocks
from pipeline.layout import RunLayout
from pipeline.operators.convert_masks import ConvertMasks
from schemas.labels import builtin

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
    """A VOC folder of up to ``count`` masks."""
    (folder / "SegmentationClass").mkdir(parents=True)
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    real = sorted(REAL.glob("*.png"))[:count] if REAL.is_dir() else []
    for path in real:
        shutil.copy(path, folder / "SegmentationClass" / path.name)
    for number in range(0 if real else count):
        image = Image.fromarray(random_mask(number), "P")
        image.putpalette(LABELS.palette)
        image.save(folder / f"SegmentationClass/{number:05d}.png")
    stems = sorted(path.stem for path in (folder / "SegmentationClass").iterdir())
    (folder / "ImageSets/Segmentation/train.txt").write_text("\n".join(stems) + "\n")
    return len(stems)


def ours(source: Path, out: Path) -> float:
    """Seconds for all masks, the look through the source included."""
    started = time.perf_counter()
    request = ConversionRequest(source=str(source), from_format="voc", to_format="coco")
    plan, items = plan_conversion(request)
    layout = RunLayout(str(out))
    with manifest_file(items) as manifest:
        manifest.put(layout)
    convert = ConvertMasks(
        layout=layout, session="bench", plan=plan, fingerprint="", tool_version="bench"
    )
    convert(pending_blocks(layout, retry_failed=False))
    finish_conversion(layout, plan)
    return time.perf_counter() - started


def theirs(source: Path, out: Path) -> float:
    """Seconds inside datumaro's process, its imports apart."""
    line = [str(ORACLE), "-W", "ignore", "-c", DATUMARO, str(source), str(out)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=3000)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--masks", type=int, default=500)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
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
