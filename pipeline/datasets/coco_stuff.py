"""COCO stuff: the instances document of a labelling without overlaps, and pixel maps.

Facts: cocostuffapi. One segment per class; a pixel map is a palette PNG of category ids.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from pipeline.datasets import coco
from pipeline.datasets.samples import (
    DatasetWriter,
    FinishedSamples,
    OutputFolder,
    Sample,
    Target,
    WriteContext,
    Written,
)
from pipeline.masks.picture import index_png
from schemas.labels import VOID_COLOR, LabelMap, voc_color

LARGEST_ID: Final = 255


def write(sample: Sample, target: Target, context: WriteContext) -> Written:
    """One annotation per class, area as a float; a pixel map where the ids fit 8 bits."""
    plain = coco.write_rle(replace(sample, objects=None), target, context)
    record = [{**entry, "area": float(entry["area"])} for entry in plain.record]
    ids = [entry.category_id for entry in sample.labels.classes]
    if max(ids) > LARGEST_ID:
        notes = (f"no pixel map: category ids go to {max(ids)}, beyond 8 bits",)
        return replace(plain, record=record, notes=notes)
    table = np.zeros(sample.labels.ignore_index + 1, dtype=np.uint8)
    table[: len(ids)] = ids
    path = f"annotations/stuff_{target.split or 'default'}_pixelmaps/{target.stem}.png"
    data = index_png(table[sample.mask], palette=_palette(sample.labels))
    return replace(plain, record=record, files={path: data})


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """``annotations/stuff_<split>.json`` per split."""
    for split, chosen in samples.by_split("default"):
        with out.open(f"annotations/stuff_{split}.json") as stream:
            categories = context.labels.coco_categories()
            for piece in coco.document_pieces(chosen, categories, context):
                stream.write(piece)


def _palette(labels: LabelMap) -> bytes:
    colors = [voc_color(index) for index in range(256)]
    colors[255] = VOID_COLOR
    for entry in labels.classes:
        colors[entry.category_id] = entry.color
    return bytes(channel for color in colors for channel in color)


READER = coco.READER
WRITER = DatasetWriter(write, finish)
