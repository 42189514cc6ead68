"""Near-duplicates: 100,000 hashes compared, and which copies of a folder's pictures are found.

python benchmarks/duplicates.py [FOLDER OF PICTURES]
"""

import io
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from maskmill.pipeline.pictures.names import IMAGE_EXTENSIONS
from maskmill.pipeline.selection.alike import THRESHOLD, Looks, find_copies
from maskmill.pipeline.selection.looks import keeping_order, look_at, looks_of

HASHES = 100_000


def hashes_compared() -> dict[str, object]:
    """Random hashes, every tenth within the threshold of another: seconds of CPU, peak memory."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, HASHES, np.uint64)
    planted = np.arange(5, HASHES, 10)
    flips = np.zeros((len(planted), 64), bool)
    for row in flips:
        row[rng.choice(64, rng.integers(1, THRESHOLD + 1), replace=False)] = True
    hashes[planted] = hashes[planted - 1] ^ np.packbits(flips, axis=1).view(np.uint64)[:, 0]
    looks = Looks(
        sha256=[b"f%d" % place for place in range(HASHES)],
        pixels_sha256=[b"p%d" % place for place in range(HASHES)],
        hashes=hashes,
        hashed=np.ones(HASHES, bool),
        tones=np.zeros((HASHES, 48), np.uint8),
        proportions=np.zeros(HASHES, np.float32),
    )
    started = time.process_time()
    found = {copy.place for copy in find_copies(looks)}
    return {
        "hashes": HASHES,
        "cpu_seconds": round(time.process_time() - started, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        "recall": round(len(found & set(planted.tolist())) / len(planted), 4),
    }


def copies_of(picture: Image.Image) -> Iterator[tuple[str, bytes]]:
    """(kind, file) of a picture in other qualities, formats and sizes."""
    for quality in (90, 50, 30):
        yield f"quality {quality}", _encoded(picture, "JPEG", quality)
    yield "webp 60", _encoded(picture, "WEBP", 60)
    for scale in (0.25, 0.5, 2.0):
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        resized = picture.resize(size, Image.Resampling.LANCZOS)
        yield f"scale {scale:g}", _encoded(resized, "JPEG", 80)


def _encoded(picture: Image.Image, kind: str, quality: int) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, quality=quality)
    return stream.getvalue()


def planted_copies(folder: Path, scratch: Path) -> dict[str, object]:
    """Recall by kind of copy, and groups among the pictures themselves."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_EXTENSIONS)
    entries = [{"key": str(path), "uri": str(path), "bytes": None} for path in paths]
    own = look_at(entries, max_pixels=2**27, max_bytes=2**31)
    alone = find_copies(looks_of(own.take(pa.array(keeping_order(own)))))
    planted = []
    for place, path in enumerate(paths):
        for kind, data in copies_of(Image.open(path).convert("RGB")):
            copy = scratch / f"{place}-{kind}"
            copy.write_bytes(data)
            planted.append({"key": f"{place}/{kind}", "uri": str(copy), "bytes": len(data)})
    every = pa.concat_tables([own, look_at(planted, max_pixels=2**27, max_bytes=2**31)])
    found = {one.place: one.of for one in find_copies(looks_of(every), always_kept=len(paths))}
    hits: Counter[str] = Counter()
    for row, entry in enumerate(planted, len(paths)):
        place, _, kind = entry["key"].partition("/")
        of = found.get(row, -1)
        same = of >= 0 and own["pixels_sha256"][of] == own["pixels_sha256"][int(place)]
        hits[kind] += of == int(place) or same
    recall = {kind: round(count / len(paths), 4) for kind, count in hits.items()}
    return {"pictures": len(paths), "alike_by_themselves": len(alone), "recall": recall}


def main() -> None:
    import tempfile

    print(json.dumps(hashes_compared()))
    if len(sys.argv) > 1:
        with tempfile.TemporaryDirectory() as scratch:
            print(json.dumps(planted_copies(Path(sys.argv[1]), Path(scratch))))


if __name__ == "__main__":
    main()
