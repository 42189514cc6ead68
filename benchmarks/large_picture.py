"""Peak memory of `prelabel` on one picture of 100 megapixels: it must stay within 4 GiB.

    python benchmarks/large_picture.py [OPTION OF PRELABEL …]

Proportional set sizes (PSS) of the command and every process below it, summed ten times a second:
with Ray's shared object store, and without it. Rows, mask and notes are checked to be there.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from pictures import packaged_photographs
from PIL import Image
from processes import descendants, memory_rollup

ROOT = Path(__file__).resolve().parents[1]
SIZE_HW = (8400, 12000)
LIMIT_GIB = 4
SAMPLE_SECONDS = 0.1


def write_sheet(path: Path, size_hw: tuple[int, int] = SIZE_HW) -> Path:
    """A JPEG of ``size_hw`` pixels, a packaged photograph over and over."""
    tile = packaged_photographs()["animals/chelsea_the_cat"]
    repeats = [-(-size // side) for size, side in zip(size_hw, tile.shape[:2], strict=True)]
    Image.fromarray(np.tile(tile, (*repeats, 1))[: size_hw[0], : size_hw[1]]).save(path, quality=90)
    return path


def peaks_of(command: list[str], timeout_s: float = 280) -> tuple[int, int]:
    """Greatest summed PSS in bytes while a command runs: in all, and without shared memory.

    Raises:
        RuntimeError: the command failed, or took longer.
    """
    total = private = 0
    started = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said)
        try:
            while process.poll() is None and time.monotonic() - started < timeout_s:
                sizes = [memory_rollup(p) for p in (process.pid, *descendants(process.pid))]
                total = max(total, sum(size.get("Pss", 0) for size in sizes))
                private = max(
                    private, sum(size.get("Pss", 0) - size.get("Pss_Shmem", 0) for size in sizes)
                )
                time.sleep(SAMPLE_SECONDS)
        finally:
            process.kill()
        if process.wait():
            said.seek(0)
            raise RuntimeError(
                f"{command} ended with {process.returncode}: {said.read()[-2000:]!r}"
            )
    return total, private


def main(*options: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        sheet, out = write_sheet(Path(name) / "large.jpg"), Path(name) / "out"
        command = [sys.executable, "-m", "maskmill", "prelabel", str(sheet), str(out), *options]
        started = time.monotonic()
        total, private = peaks_of(command)
        (row,) = pq.read_table(out / "metadata").to_pylist()
        Image.MAX_IMAGE_PIXELS = None  # Pillow warns of pictures this large
        with Image.open(out / row["mask_path"]) as mask:
            assert mask.size == SIZE_HW[::-1], mask.size
        line = {
            "benchmark": "peak memory at 100 megapixels",
            "options": list(options),
            "megapixels": SIZE_HW[0] * SIZE_HW[1] / 1e6,
            "seconds": round(time.monotonic() - started, 1),
            "peak_gib": round(total / 2**30, 3),
            "peak_gib_without_object_store": round(private / 2**30, 3),
            "limit_gib": LIMIT_GIB,
            "notes": row["notes"],
        }
        print(json.dumps(line))


if __name__ == "__main__":
    main(*sys.argv[1:])
