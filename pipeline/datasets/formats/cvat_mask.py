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

from maskmill.pipeline.datasets.backgrounds import labels_with_first_background, without_ignore
from maskmill.pipeline.datasets.class_masks import palette_png
from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.documents.cvat_validator import validate
from maskmill.pipeline.datasets.documents.labelmap_txt import (
    importable_colors,
    labelmap_to_text,
    refuse_unwritable,
)
from maskmill.pipeline.datasets.formats import voc
from maskmill.pipeline.datasets.packages import packaged
from maskmill.pipeline.datasets.samples import (
    DatasetReader,
    DatasetWriter,
    FinishedSample,
    FinishedSamples,
    OutputFolder,
    Sample,
    Target,
    WriteContext,
    Written,
)
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.pipeline.masks.picture import index_png
from maskmill.pipeline.pictures.names import cvat_name
from maskmill.schemas.labels import LabelMap

ARCHIVE: Final = "segmentation_mask"
ENTRY_BYTES: Final = 256
"""What a zip spends on the headers of one file, names included, as a rule."""
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
    stem = cvat_name(target.stem)
    files = {
        f"{PARTS}{voc.CLASSES}{stem}.png": palette_png(plain.mask, labels),
        f"{PARTS}{voc.OBJECTS}{stem}.png": index_png(
            numbers.astype(np.uint8), palette=voc.VOC_PALETTE
        ),
    }
    return Written(
        files=files,
        record={"bytes": sum(len(data) + 2 * ENTRY_BYTES for data in files.values())},
        image_path=f"images/{sample.key}",
        notes=notes,
    )


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """One zip per split (and package), entries in sample order with a fixed time: same bytes."""
    labels = importable_colors(labels_with_first_background(context.labels))
    for split, chosen in samples.by_split():
        stem = f"{split}_{ARCHIVE}" if split else ARCHIVE
        for name, part in packaged(chosen, stem, ".zip", context.limits, _bytes_of):
            with out.open(name) as stream:
                _write_zip(stream, part, labels, split or "default", out)


def _bytes_of(sample: FinishedSample) -> int:
    return int(sample.record["bytes"])


def _write_zip(
    stream: BinaryIO,
    samples: Iterable[FinishedSample],
    labels: LabelMap,
    subset: str,
    out: OutputFolder,
) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in _entries(samples, labelmap_to_text(labels), subset, out):
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)


def _entries(
    samples: Iterable[FinishedSample], labelmap: str, subset: str, out: OutputFolder
) -> Iterator[tuple[str, bytes]]:
    yield voc.LABELMAP, labelmap.encode()
    stems = []
    for sample in samples:
        stems.append(f"{cvat_name(sample.stem)}\n")
        for path in sorted(path for path in sample.files if path.startswith(PARTS)):
            yield path.removeprefix(PARTS), out.read(path)
    yield f"{voc.LISTS}{subset}.txt", "".join(stems).encode()


def recognise(tree: FileTree) -> str | None:
    """CVAT's export: ``labelmap.txt`` beside SegmentationClass."""
    if tree.tops() >= {voc.LABELMAP, voc.CLASSES.rstrip("/")}:
        return f"{voc.LABELMAP} beside {voc.CLASSES}"
    return None


CVAT_MASK = DatasetFormat(
    reader=DatasetReader(voc.index, voc.read),
    writer=DatasetWriter(write, finish),
    recogniser=recognise,
    validator=validate,
    max_classes=254,
    import_command='cvat-cli task import-dataset --format "Segmentation mask 1.1" TASK_ID ',
    package_suffix=".zip",
)
