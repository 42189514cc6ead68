"""A small finished run with masks that are known, made without a network."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from maskmill.pipeline.masks.segments import class_statistics
from maskmill.pipeline.prelabel.writers.mask_file import mask_to_png
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import RunRecord
from maskmill.schemas.labels import LabelMap, labels_with_background
from maskmill.schemas.tables.prelabel import METADATA

LABELS = labels_with_background("things", ["cat", "dog & co"])
MODEL = {"name": "toy", "weights_sha256": "ab" * 32}
SIZE = (24, 32)  # height, width


def known_mask(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Two rectangles whose place depends on the number; the last of every five has none."""
    mask = np.zeros(size, dtype=np.uint8)
    if number % 5 != 4:
        mask[2 : 6 + number % 7, 3:11] = 1
        mask[8:15, 9 : 12 + number % 9] = 2
    return mask


def labelled_run(
    folder: Path, count: int, *, labels: LabelMap = LABELS, suffix: str = ".png"
) -> Path:
    """RUN with ``count`` pictures a/000.png, b/001.png, … of a source beside it."""
    out, rows = RunLayout(str(folder / "run")), []
    for number in range(count):
        key = f"{'ab'[number % 2]}/{number:03d}{suffix}"
        picture = folder / "photos" / key
        picture.parent.mkdir(parents=True, exist_ok=True)
        shade = np.full((*SIZE, 3), number % 250, dtype=np.uint8)
        Image.fromarray(shade).save(picture, "PNG" if suffix == ".tif" else None)
        mask = known_mask(number)
        path = f"masks/{key.rpartition('.')[0]}.png"
        out.write(path, mask_to_png(mask, labels))
        statistics = class_statistics(mask, labels, [0.9, 0.8, 0.7][: len(labels.classes)])
        rows.append(
            {
                "image_id": number + 1, "key": key, "uri": str(picture), "block": 0,
                "status": "ok", "mask_path": path, "classes": statistics,
                "mean_entropy": (number * 7 % count) / count, "mean_margin": 0.5,
                "low_confidence_fraction": 0.1,
            }
        )  # fmt: skip
    out.write_table(out.block_path(0), pa.Table.from_pylist(rows, schema=METADATA))
    record = RunRecord(command="prelabel", identity={}, state="finished", model=MODEL)
    record.label_map = labels.to_dict()
    record.save(out)
    assert json.loads(out.read("run.json"))["state"] == "finished"
    return folder / "run"
