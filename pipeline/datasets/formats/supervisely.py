"""Supervisely projects: bitmaps in one JSON per picture, classes in meta.json.

Facts: supervisely 6.74.51. A bitmap is base64(zlib(PNG)) of the cropped mask with its origin.
"""

import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.documents.binary_png import (
    base64_to_bytes,
    bytes_to_base64,
    mask_to_palette_png,
    png_to_mask,
)
from maskmill.pipeline.datasets.guards import document_reader
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
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.pipeline.datasets.vocabulary import (
    index_by_name,
    known_index,
    to_json,
)
from maskmill.pipeline.masks.declared_size import declared_size
from maskmill.pipeline.masks.polygons import rings_to_mask
from maskmill.schemas.arrays import BoolMask
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.json_text import parse_json
from maskmill.schemas.labels import Color, LabelMap, labels_with_background

META: Final = "meta.json"
DATASET: Final = "ds0"
LARGEST_BITMAP: Final = 256 << 20
KINDS: Final = ("bitmap", "polygon")
BARE: Final = {"rectangle": BOXES, "point": KEYPOINTS, "graph": KEYPOINTS}


def index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """Every ``ann/*.json``. Labels: the classes of ``meta.json``.

    Raises:
        DocumentFailure: no such file, or a meta.json that is none.
    """
    names = [name for name in tree.names() if name.endswith(".json") and "/ann/" in f"/{name}"]
    if not names:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{tree.uri} holds no ann/*.json")
    prefix = _project_prefix(tree)
    items = (SampleItem(key=_key(name.removeprefix(prefix)), payload=name) for name in names)
    return DatasetIndex(labels=_meta_labels(tree, prefix), items=items)


def read(item: SampleItem, context: ReadContext) -> Sample:
    """Paint the bitmaps and polygons of one picture in their order.

    Raises:
        DocumentFailure: an unknown class, a damaged or oversized bitmap, one over the border.
    """
    name = item.payload
    document = parse_json(context.tree.read(name), name)
    try:
        size = document["size"]
        objects = list(document["objects"])
        size_hw = declared_size(size["height"], size["width"], name=name)
    except (KeyError, TypeError) as error:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{name} is not a Supervisely annotation: {error!r}"
        ) from error
    by_name = index_by_name(context.labels)
    drawn = [one for one in objects if one.get("geometryType") in KINDS]
    others = [one for one in objects if one.get("geometryType") not in KINDS]
    regions = [_region(one, number, by_name, size_hw, name) for number, one in enumerate(drawn, 1)]
    painted = paint(regions, size_hw, context.labels, name=name)
    return Sample(
        key=item.key,
        mask=painted.mask,
        labels=context.labels,
        image=_picture(name),
        objects=painted.objects,
        overlap=painted.overlap,
        left_out=Counter(map(_omission, others)) + painted.left_out,
    )


def _omission(one: Mapping[str, Any]) -> Omission:
    kind = str(one.get("geometryType"))
    return Omission(BARE[kind]) if kind in BARE else Omission(SHAPES, kind)


def write(sample: Sample, target: Target, context: WriteContext) -> Written:
    """One bitmap per (class, object): exact. The picture's folder becomes the dataset."""
    objects = [
        {
            "classTitle": sample.labels.names[region.class_index],
            "description": "",
            "tags": [],
            "geometryType": "bitmap",
            "shape": "bitmap",
            "bitmap": {"origin": [region.left, region.top], "data": bitmap_data(region.inside)},
            "nnCreated": True,
            "nnUpdated": False,
        }
        for region in class_regions(sample)
    ]
    height, width = sample.size_hw
    document = {
        "description": "",
        "tags": [],
        "size": {"height": height, "width": width},
        "objects": objects,
    }
    folder, _, file_name = sample.key.rpartition("/")
    dataset = folder or DATASET
    return Written(
        files={f"{dataset}/ann/{file_name}.json": to_json(document)},
        image_path=f"{dataset}/img/{file_name}",
        segment_ious=(1.0,) * len(objects),
    )


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """``meta.json`` with the classes."""
    classes = [
        {
            "title": entry.name,
            "shape": "bitmap",
            "id": entry.category_id,
            "color": "#{:02X}{:02X}{:02X}".format(*entry.color),
            "hotkey": "",
        }
        for entry in context.labels.classes
        if not entry.is_background
    ]
    with out.open(META) as stream:
        stream.write(to_json({"classes": classes, "tags": [], "projectType": "images"}))


def bitmap_data(inside: BoolMask) -> str:
    """base64(zlib(PNG)) of an (h, w) bool mask."""
    return bytes_to_base64(zlib.compress(mask_to_palette_png(inside)))


def bitmap_mask(data: object, name: str) -> BoolMask:
    """(h, w) bool of a bitmap's ``data``.

    Raises:
        DocumentFailure: not base64 of zlib, or one that unpacks to more than 256 MiB.
        MaskFailure: what is inside is no picture.
    """
    unpacker = zlib.decompressobj()
    try:
        png = unpacker.decompress(base64_to_bytes(data, name), LARGEST_BITMAP)
    except zlib.error as error:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name}: not zlib data: {error}") from error
    if unpacker.unconsumed_tail:
        raise DocumentFailure(
            ErrorCode.UNSAFE_SIZE, f"{name}: a bitmap unpacks to more than {LARGEST_BITMAP:,} bytes"
        )
    return png_to_mask(png, name)


def _region(
    one: Mapping[str, Any],
    number: int,
    by_name: dict[str, int],
    size_hw: tuple[int, int],
    name: str,
) -> Region:
    class_index = known_index(by_name, one.get("classTitle"), name)
    try:
        if one["geometryType"] == "polygon":
            return Region(class_index, _polygon(one["points"], size_hw, name), object_id=number)
        left, top = (int(value) for value in one["bitmap"]["origin"])
        inside = bitmap_mask(one["bitmap"]["data"], name)
    except (KeyError, TypeError, ValueError) as error:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{name}: a figure lacks or garbles {error!r}"
        ) from error
    return Region(class_index, inside, left, top, number)


def _polygon(points: Mapping[str, Any], size_hw: tuple[int, int], name: str) -> BoolMask:
    """Exterior less the union of interiors."""
    outer = rings_to_mask([np.array(points["exterior"], dtype=np.float64)], size_hw, name=name)
    inner = [np.array(ring, dtype=np.float64) for ring in points.get("interior") or []]
    return outer & ~rings_to_mask(inner, size_hw, name=name) if inner else outer


def _project_prefix(tree: FileTree) -> str:
    """The folder of meta.json, with its slash: an archive may hold the project one level down."""
    found = [name for name in tree.names() if name.rpartition("/")[2] == META]
    return min(found, key=len).removesuffix(META) if found else ""


def _key(name: str) -> str:
    dataset, _, file_name = name.removesuffix(".json").rpartition("/")
    folder = dataset.removesuffix("ann").strip("/")
    return file_name if folder in ("", DATASET) else f"{folder}/{file_name}"


def _picture(name: str) -> str:
    """The picture of an annotation: the folder ``img`` beside ``ann``."""
    before, _, file_name = name.removesuffix(".json").rpartition("ann/")
    return f"{before}img/{file_name}"


def _meta_labels(tree: FileTree, prefix: str) -> LabelMap:
    document = parse_json(tree.read(prefix + META), META)
    try:
        names = [str(entry["title"]) for entry in document["classes"]]
        colors: dict[str, Color] = {
            str(entry["title"]): (
                int(entry["color"][1:3], 16),
                int(entry["color"][3:5], 16),
                int(entry["color"][5:7], 16),
            )
            for entry in document["classes"]
            if entry.get("color")
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{META} is not Supervisely's: {error!r}"
        ) from error
    return labels_with_background("supervisely", names, colors=colors)


def recognise(tree: FileTree) -> str | None:
    """``meta.json`` and documents in folders called ``ann``."""
    names = tree.names()
    has_documents = any("/ann/" in f"/{name}" and name.endswith(".json") for name in names)
    if has_documents and any(name.rpartition("/")[2] == META for name in names):
        return f"{META} and ann/*.json"
    return None


SUPERVISELY = DatasetFormat(
    bare_shapes=True,
    reader=document_reader(index, read),
    writer=DatasetWriter(write, finish),
    recogniser=recognise,
)
