"""CVAT "Segmentation mask 1.1": a zip that imports without errors and without a background object.

The recipe: class masks and object masks, object colours of the VOC colormap with 0 for nothing,
one object number per (class, object), a black background line, void written as background.
Facts: CVAT's format-smask.md and its importer.
"""

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import BinaryIO, Final

import numpy as np

from pipeline.datasets import voc
from pipeline.datasets.backgrounds import labels_with_first_background, without_ignore
from pipeline.datasets.class_masks import palette_png
from pipeline.datasets.labelmap_txt import importable_colors, labelmap_to_text, refuse_unwritable
from pipeline.datasets.samples import (
    DatasetReader,
    DatasetWriter,
    FinishedSample,
    OutputFolder,
    Sample,
    Target,
    WriteContext,
    Written,
)
from pipeline.masks.picture import index_png
from schemas.labels import LabelMap

ARCHIVE: Final = "segmentation_mask.zip"
PARTS: Final = "parts/"
MOST_OBJECTS: Final = 254
EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def write(sample: Sample, target: Target, context: WriteContext) -> Written:
    """Class and object mask of one picture; ignore becomes background, and is counted.

    Raises:
        SettingsError: a class name labelmap.txt cannot hold.
        MaskFailure: more than 255 classes.
    """
    refuse_unwritable(sample.labels)
    plain, notes = without_ignore(sample)
    labels = importable_colors(plain.labels)
    numbers = voc.renumbered(plain)
    if numbers.max(initial=0) > MOST_OBJECTS:
        numbers = voc.renumbered(replace(plain, objects=None))
        notes = (*notes, f"more than {MOST_OBJECTS} objects: one object per class instead")
    return Written(
        files={
            f"{PARTS}{voc.CLASSES}{target.stem}.png": palette_png(plain.mask, labels),
            f"{PARTS}{voc.OBJECTS}{target.stem}.png": index_png(
                numbers.astype(np.uint8), palette=voc.VOC_PALETTE
            ),
        },
        image_path=f"images/{sample.key}",
        notes=notes,
    )


def finish(samples: Iterable[FinishedSample], context: WriteContext, out: OutputFolder) -> None:
    """One zip per split, entries in sample order with a fixed time: same input, same bytes."""
    labels = importable_colors(labels_with_first_background(context.labels))
    for split in sorted({sample.split for sample in samples}) or [""]:
        chosen = [sample for sample in samples if sample.split == split]
        with out.open(f"{split}_{ARCHIVE}" if split else ARCHIVE) as stream:
            _write_zip(stream, chosen, labels, split or "default", out)


def _write_zip(
    stream: BinaryIO,
    samples: list[FinishedSample],
    labels: LabelMap,
    subset: str,
    out: OutputFolder,
) -> None:
    stems = "".join(f"{sample.stem}\n" for sample in samples)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in _entries(samples, labelmap_to_text(labels), subset, stems, out):
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)


def _entries(
    samples: list[FinishedSample], labelmap: str, subset: str, stems: str, out: OutputFolder
) -> Iterator[tuple[str, bytes]]:
    yield voc.LABELMAP, labelmap.encode()
    yield f"{voc.LISTS}{subset}.txt", stems.encode()
    for sample in samples:
        for path in sorted(sample.files):
            yield path.removeprefix(PARTS), out.read(path)


READER = DatasetReader(voc.index, voc.read)
WRITER = DatasetWriter(write, finish)
