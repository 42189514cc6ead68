"""labelme JSON, one per picture, with mask or polygon shapes.

Facts: labelme 6.3.1. A mask's two points are the inclusive corners of its box; sizes are after
EXIF orientation, or labelme refuses the file. ``__ignore__`` is labelme's own name for ignore.
"""

import json
import posixpath
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from maskmill.pipeline.datasets.class_lists import class_list, is_class_list, read_labels
from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.documents.binary_png import (
    base64_to_bytes,
    bytes_to_base64,
    mask_to_png,
    png_to_mask,
)
from maskmill.pipeline.datasets.documents.heads import heads
from maskmill.pipeline.datasets.guards import document_reader
from maskmill.pipeline.datasets.item_spool import ItemSpool
from maskmill.pipeline.datasets.left_out import BOXES, KEYPOINTS, SHAPES, Omission
from maskmill.pipeline.datasets.painting import Region, class_regions, paint
from maskmill.pipeline.datasets.samples import (
    DatasetIndex,
    DatasetWriter,
    FinishedSamples,
    OutputFolder,
    ReadContext,
    ReadOptions,
    Sample,
    SampleItem,
    Target,
    WriteContext,
    Written,
)
from maskmill.pipeline.datasets.trees import FileTree, documents
from maskmill.pipeline.datasets.vocabulary import (
    index_by_name,
    known_index,
)
from maskmill.pipeline.masks.declared_size import declared_size
from maskmill.pipeline.masks.polygons import mask_to_polygons, parts_to_rings, rings_to_mask
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.json_text import parse_json
from maskmill.schemas.labels import LabelMap, labels_with_background

VERSION: Final = "6.3.1"
IGNORE_NAME: Final = "__ignore__"
LABELS_FILE: Final = "labels.txt"
KINDS: Final = ("mask", "polygon")
BARE: Final = {"rectangle": BOXES, "point": KEYPOINTS, "points": KEYPOINTS}
OTHER_FIELD: Final = re.compile(r'"(?:version|imagePath|shape_type)"')
LARGEST: Final = 1e7  # no picture is so wide; NaN is not below it either


def index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """The JSON files. Labels: a class list beside them, or the names in use (all are read)."""
    items = ItemSpool()
    used: set[str] = set()
    known = _listed_labels(tree)
    for name in documents(tree, ".json"):
        if tree.selected is None and is_class_list(name):
            continue
        if known is None:
            used.update(_names_in(tree, name))
        items.append(SampleItem(key=name.removesuffix(".json"), payload=name))
    labels = known or labels_with_background("labelme", sorted(used - {IGNORE_NAME}))
    return DatasetIndex(labels=labels, items=items)


def read(item: SampleItem, context: ReadContext) -> Sample:
    """Paint the shapes in their order.

    Raises:
        DocumentFailure: an unknown label, a mask that does not fit its box, a bad polygon.
    """
    name = item.payload
    document = _document(context.tree, name)
    size_hw = declared_size(document.get("imageHeight"), document.get("imageWidth"), name=name)
    by_name = {**index_by_name(context.labels), IGNORE_NAME: context.labels.ignore_index}
    shapes = _shapes(document, name)
    drawn = [shape for shape in shapes if _kind_of(shape) in KINDS]
    others = [shape for shape in shapes if _kind_of(shape) not in KINDS]
    regions = [
        _region(shape, number, by_name, size_hw, name) for number, shape in enumerate(drawn, 1)
    ]
    painted = paint(regions, size_hw, context.labels, name=name)
    return Sample(
        key=_key(document, name),
        mask=painted.mask,
        labels=context.labels,
        image=_key(document, name),
        embedded=_embedded(document, name) if context.takes_pictures else None,
        objects=painted.objects,
        overlap=painted.overlap,
        left_out=Counter(map(_omission, others)) + _flags(document) + painted.left_out,
    )


def _kind_of(shape: Mapping[str, Any]) -> str:
    """labelme before 3.0 wrote no type for polygons, or null."""
    return str(shape.get("shape_type") or "polygon")


def _omission(shape: Mapping[str, Any]) -> Omission:
    kind = _kind_of(shape)
    return Omission(BARE[kind]) if kind in BARE else Omission(SHAPES, kind)


def _flags(document: Mapping[str, Any]) -> Counter[Omission]:
    """What is said of the picture as a whole, as labelme's classification does."""
    flags = document.get("flags")
    told = list(flags.values()).count(True) if isinstance(flags, Mapping) else 0
    return Counter({Omission(SHAPES, "flag"): told} if told else {})


def write_masks(sample: Sample, target: Target, context: WriteContext) -> Written:
    """Mask shapes, ignore included: exact."""
    shapes = []
    for region in (*class_regions(sample), *_ignore_region(sample)):
        height, width = region.inside.shape
        corners = [
            [region.left, region.top],
            [region.left + width - 1, region.top + height - 1],
        ]
        png = bytes_to_base64(mask_to_png(region.inside))
        shapes.append({**_shape(region, sample, "mask"), "points": corners, "mask": png})
    return _written(sample, target, shapes, (1.0,) * len(shapes))


def write_polygons(sample: Sample, target: Target, context: WriteContext) -> Written:
    """One polygon per part, holes bridged, within ``max_loss``; parts share a group."""
    shapes, ious = [], []
    for number, region in enumerate((*class_regions(sample), *_ignore_region(sample)), 1):
        found = mask_to_polygons(region.inside, context.max_loss)
        ious.append(found.iou)
        group = number if len(found.parts) > 1 else None
        for ring in parts_to_rings(found.parts):
            points = (ring + np.array([region.left, region.top])).round(2).tolist()
            shapes.append(
                {**_shape(region, sample, "polygon"), "points": points, "group_id": group}
            )
    return _written(sample, target, shapes, tuple(ious))


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """``labels.txt`` as labelme takes it by ``--labels``."""
    background = context.labels.background_index
    names = [entry.name for entry in context.labels.classes if entry.index != background]
    first = [IGNORE_NAME] if background is None else [IGNORE_NAME, "_background_"]
    with out.open(LABELS_FILE) as stream:
        stream.write("".join(f"{name}\n" for name in [*first, *names]).encode())


def _written(
    sample: Sample, target: Target, shapes: list[dict[str, Any]], ious: tuple[float, ...]
) -> Written:
    file_name = sample.key.rpartition("/")[2]
    height, width = sample.size_hw
    document: dict[str, Any] = {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": file_name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    return Written(
        files={f"{target.stem}.json": _indented(document)},
        image_path=sample.key,
        segment_ious=ious,
    )


def _shape(region: Region, sample: Sample, kind: str) -> dict[str, Any]:
    is_ignore = region.class_index == sample.labels.ignore_index
    score = sample.scores.get(region.class_index)
    return {
        "label": IGNORE_NAME if is_ignore else sample.labels.names[region.class_index],
        "points": [],
        "group_id": None,
        "description": "" if score is None else f"score {score:.4f}",
        "shape_type": kind,
        "flags": {},
    }


def _ignore_region(sample: Sample) -> list[Region]:
    inside = sample.mask == sample.labels.ignore_index
    if sample.labels.background_index is None or not inside.any():
        return []  # without a background, pixels outside all shapes are ignore already
    rows = np.flatnonzero(inside.any(axis=1))
    columns = np.flatnonzero(inside.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    cut = inside[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    return [Region(sample.labels.ignore_index, cut, left, top)]


def _region(
    shape: Mapping[str, Any],
    number: int,
    by_name: dict[str, int],
    size_hw: tuple[int, int],
    name: str,
) -> Region:
    class_index = known_index(by_name, shape.get("label"), name)
    points = np.array(shape.get("points"), dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not (np.abs(points) < LARGEST).all():
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name}: points must be a list of [x, y]")
    if _kind_of(shape) == "polygon":
        inside = rings_to_mask([points], size_hw, name=name)
        return Region(class_index, inside, object_id=number)
    (left, top), (right, bottom) = points[:2].round().astype(int).tolist()
    inside = png_to_mask(base64_to_bytes(shape.get("mask"), name), name)
    if inside.shape != (bottom - top + 1, right - left + 1):
        raise DocumentFailure(
            ErrorCode.SIZE_MISMATCH,
            f"{name}: a mask of {inside.shape[1]} x {inside.shape[0]} does not fit its points "
            f"{points.tolist()} (inclusive corners)",
        )
    return Region(class_index, inside, left, top, number)


def _names_in(tree: FileTree, name: str) -> set[str]:
    """The labels of one file; of a broken one none: reading it fails again, for that file alone."""
    try:
        return {str(shape.get("label")) for shape in _shapes(_document(tree, name), name)}
    except DocumentFailure:
        return set()


def _document(tree: FileTree, name: str) -> dict[str, Any]:
    document = parse_json(tree.read(name), name)
    if not isinstance(document, dict) or "shapes" not in document:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name} is not a labelme document (no shapes)")
    return document


def _shapes(document: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    shapes = document["shapes"]
    if not isinstance(shapes, list) or not all(isinstance(shape, Mapping) for shape in shapes):
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name}: shapes must be a list of objects")
    return shapes


def _key(document: Mapping[str, Any], name: str) -> str:
    """The picture's path: ``imagePath`` seen from the JSON; the JSON's own where it leaves."""
    told = str(document.get("imagePath") or "").replace("\\", "/")
    joined = posixpath.normpath(posixpath.join(posixpath.dirname(name), told))
    inside = told and not joined.startswith(("../", "/")) and joined != ".."
    return joined if inside else name.removesuffix(".json")


def _embedded(document: Mapping[str, Any], name: str) -> bytes | None:
    """The picture that labelme keeps inside the document unless it is told not to."""
    data = document.get("imageData")
    return base64_to_bytes(data, f"{name}: imageData") if data else None


def _listed_labels(tree: FileTree) -> LabelMap | None:
    """``labels.txt``, or another class list beside the documents."""
    if tree.selected is None and LABELS_FILE in tree.names():
        listed: LabelMap | None = read_labels(tree, LABELS_FILE, kind="names")
    else:
        listed = class_list(tree)
    return None if listed is None else labels_with_background("labelme", listed.names)


def _indented(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, indent=1).encode()


def recognise(tree: FileTree) -> str | None:
    """A JSON object with ``shapes`` and one of labelme's other fields."""
    for name, head in heads(tree, ".json"):
        if head.lstrip().startswith("{") and '"shapes"' in head and OTHER_FIELD.search(head):
            return f"{name} is a labelme document"
    return None


LABELME = DatasetFormat(
    bare_shapes=True,
    reader=document_reader(index, read),
    writer=DatasetWriter(write_masks, finish),
    recogniser=recognise,
    holds_ignore=True,
)
POLYGONS = replace(
    LABELME, writer=DatasetWriter(write_polygons, finish), recogniser=None, polygons=True
)
