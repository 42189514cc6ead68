"""COCO panoptic: a JSON of segments and PNGs whose colours are segment ids; 2-channel PNGs in.

Facts: panopticapi. id = R + 256 G + 65536 B, 0 = void. The 2-channel variant holds the class in
R and the instance in G, without a JSON entry per segment being needed.
"""

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from maskmill.pipeline.datasets.class_lists import labels_of_categories
from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.documents.coco_document import document_pieces
from maskmill.pipeline.datasets.documents.coco_outline import (
    CocoOutline,
    annotations_at,
    left_out_of,
    outline,
)
from maskmill.pipeline.datasets.documents.heads import begins_as_coco, heads
from maskmill.pipeline.datasets.formats.coco import has_own_folder
from maskmill.pipeline.datasets.guards import document_reader
from maskmill.pipeline.datasets.item_spool import ItemSpool
from maskmill.pipeline.datasets.left_out import NO_PIXEL, Omission
from maskmill.pipeline.datasets.picture_sizes import picture_beside
from maskmill.pipeline.datasets.samples import (
    DatasetIndex,
    DatasetReader,
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
from maskmill.pipeline.datasets.vocabulary import labels_or
from maskmill.pipeline.masks.declared_size import declared_size
from maskmill.pipeline.masks.picture import open_picture, png_bytes
from maskmill.pipeline.masks.run_lengths import distinct
from maskmill.pipeline.pictures.names import stem_of
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.labels import LabelMap

OBJECTS_PER_CLASS: Final = 1000
Ids = npt.NDArray[np.int32]
"""(H, W) int32 segment ids, 0 = void."""


def index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """One streaming pass over each JSON that has segments; void is ignore.

    Raises:
        DocumentFailure: no panoptic JSON, or its PNGs are not there.
    """
    found = {name: outline(tree, name) for name in documents(tree, ".json")}
    found = {name: one for name, one in found.items() if one.categories and one.has_annotations}
    items = ItemSpool(item for name, one in found.items() for item in _items(tree, one, name))
    if not items:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{tree.uri} holds no panoptic JSON with a PNG folder beside it"
        )
    categories = next(iter(found.values())).categories
    labels = labels_of_categories(categories, "panoptic")
    class_of = {str(entry["id"]): labels.index_of(str(entry["name"])) for entry in categories}
    return DatasetIndex(
        labels=labels,
        items=items,
        extras={"class_of": class_of},
        notes=tuple(note for name, one in found.items() for note in one.notes(name)),
        left_out=left_out_of(found.values()),
    )


def read(item: SampleItem, context: ReadContext) -> Sample:
    """Segment ids to classes by one look-up per segment.

    Raises:
        DocumentFailure: an id in the PNG without a segment, a category that is not declared, or
            a PNG of another size than the JSON says.
    """
    payload = item.payload
    annotations = list(annotations_at(context.tree, payload))
    if len(annotations) != 1:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{item.key}: {len(annotations)} panoptic annotations, not one"
        )
    name = f"{payload['folder']}/{annotations[0].get('file_name', '')}".lstrip("/")
    ids = rgb_to_ids(context.tree.read(name), name)
    if ids.shape != declared_size(*payload["size"], name=item.key):
        raise DocumentFailure(
            ErrorCode.SIZE_MISMATCH, f"{name} is {ids.shape}, its JSON says {payload['size']}"
        )
    class_of = context.extras["class_of"]
    segments = annotations[0].get("segments_info") or []
    table = {int(one["id"]): class_of.get(str(one["category_id"])) for one in segments}
    mask, objects = _ids_to_classes(ids, table, context.labels, name)
    unseen = len(set(table).difference(distinct(ids)[0].tolist()))
    left_out = {Omission(NO_PIXEL): unseen} if unseen else {}
    plain = Sample(key=item.key, mask=mask, labels=context.labels, image=payload["image"])
    return replace(plain, objects=objects, left_out=left_out)


def _ids_to_classes(
    ids: Ids, table: Mapping[int, int | None], labels: LabelMap, name: str
) -> tuple[Any, Ids]:
    values, positions = distinct(ids)
    classes = np.full(len(values), labels.ignore_index, dtype=labels.mask_dtype)
    numbers = np.zeros(len(values), dtype=np.int32)
    for place, value in enumerate(values.tolist()):
        if value == 0:
            continue
        found = table.get(value)
        if found is None:
            raise DocumentFailure(
                ErrorCode.UNKNOWN_VALUE,
                f"{name}: segment id {value} has no entry with a declared category",
            )
        classes[place] = found
        numbers[place] = 0 if found == labels.background_index else place + 1
    return classes[positions], numbers[positions]


def read_two_channels(item: SampleItem, context: ReadContext) -> Sample:
    """R is the category id, G the instance; category 0 is void.

    Raises:
        DocumentFailure: a category that is not declared.
    """
    name = item.payload["mask"]
    pixels = np.asarray(open_picture(context.tree.read(name), name=name).image.convert("RGB"))
    category = pixels[:, :, 0].astype(np.int32)
    ids = np.where(category == 0, 0, category * OBJECTS_PER_CLASS + pixels[:, :, 1])
    class_of = context.extras["class_of"]
    table = {
        int(value): class_of.get(str(int(value) // OBJECTS_PER_CLASS)) for value in np.unique(ids)
    }
    mask, objects = _ids_to_classes(ids, table, context.labels, name)
    image = item.payload["image"]
    return Sample(key=item.key, mask=mask, labels=context.labels, image=image, objects=objects)


def index_two_channels(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """Every PNG; the category ids are those of ``--labels``.

    Raises:
        DocumentFailure: no PNG.
        SettingsError: no label map.
    """
    labels = labels_or(options.labels, "a folder of 2-channel panoptic PNGs")
    pictures = picture_beside(options.images) if options.images else {}
    items = ItemSpool(
        SampleItem(
            key=pictures.get(stem_of(name), stem_of(name)),
            payload={"mask": name, "image": pictures.get(stem_of(name))},
        )
        for name in tree.names()
        if name.lower().endswith(".png")
    )
    if not items:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{tree.uri} holds no PNG")
    class_of = {str(entry.category_id): entry.index for entry in labels.classes}
    return DatasetIndex(labels=labels, items=items, extras={"class_of": class_of})


def rgb_to_ids(data: bytes, name: str) -> Ids:
    """(H, W) int32 of an RGB PNG: R + 256 G + 65536 B.

    Raises:
        DocumentFailure: not RGB.
        MaskFailure: not a picture.
    """
    picture = open_picture(data, name=name).image
    if picture.mode not in ("RGB", "RGBA"):
        raise DocumentFailure(
            ErrorCode.WRONG_MODE, f"{name} has mode {picture.mode}; panoptic PNGs are RGB"
        )
    pixels = np.asarray(picture.convert("RGB")).astype(np.int32)
    ids: Ids = pixels[:, :, 0] | pixels[:, :, 1] << 8 | pixels[:, :, 2] << 16
    return ids


def ids_to_rgb(ids: Ids) -> bytes:
    """The RGB PNG of segment ids."""
    pixels = np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=2).astype(np.uint8)
    return png_bytes(Image.fromarray(pixels))


def write(sample: Sample, target: Target, context: WriteContext) -> Written:
    """One segment per (class, object); background is a segment too, ignore is void: exact."""
    labels = sample.labels
    numbers = np.zeros(sample.size_hw, np.int64) if sample.objects is None else sample.objects
    combined = numbers.astype(np.int64) * (labels.ignore_index + 1) + sample.mask
    combined[sample.mask == labels.ignore_index] = -1
    values, positions = distinct(combined)
    has_void = int(values[0] == -1)
    ids = (positions + 1 - has_void).astype(np.int32)
    segments = [
        _segment(ids == number, number, int(value) % (labels.ignore_index + 1), labels)
        for number, value in enumerate(values[has_void:].tolist(), 1)
    ]
    name = f"{target.stem}.png"
    folder = f"panoptic_{target.split or 'default'}"
    return Written(
        files={f"annotations/{folder}/{name}": ids_to_rgb(ids)},
        record={"file_name": name, "segments_info": segments},
        image_path=f"images/{sample.key}",
    )


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """``annotations/panoptic_<split>.json`` beside the folder of its name."""
    for split, chosen in samples.by_split("default"):
        with out.open(f"annotations/panoptic_{split}.json") as stream:
            for piece in document_pieces(chosen, panoptic_categories(context.labels), context):
                stream.write(piece)


def panoptic_categories(labels: LabelMap) -> list[dict[str, Any]]:
    """Every class, background included: it covers pixels too."""
    return [
        {
            "id": _category_id(labels, entry.index),
            "name": entry.name,
            "supercategory": entry.supercategory,
            "isthing": int(entry.is_thing),
            "color": list(entry.color),
        }
        for entry in labels.classes
    ]


def _segment(
    inside: npt.NDArray[np.bool_], number: int, class_index: int, labels: LabelMap
) -> dict[str, Any]:
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return {
        "id": number,
        "category_id": _category_id(labels, class_index),
        "area": int(np.count_nonzero(inside)),
        "bbox": [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1],
        "iscrowd": 0,
    }


def _category_id(labels: LabelMap, class_index: int) -> int:
    """The class's id; background, which has none above 0, comes after the largest."""
    entry = labels.classes[class_index]
    if not entry.is_background:
        return entry.category_id
    return max((other.category_id for other in labels.classes), default=0) + 1


def _items(tree: FileTree, one: CocoOutline, name: str) -> Iterator[SampleItem]:
    folder = posixpath.splitext(name)[0]
    names = set(tree.names())
    if not any(entry.startswith(f"{folder}/") for entry in names):
        return
    places = one.places()
    for image_id, (key, height, width) in one.images.items():
        yield SampleItem(
            key=key,
            payload={
                "document": name,
                "folder": folder,
                "size": [height, width],
                "places": places(image_id),
                "image": key,
            },
        )


def recognise(tree: FileTree) -> str | None:
    """A JSON object with segments, or with a folder of PNGs of its own name beside it."""
    for name, head in heads(tree, ".json"):
        is_coco = begins_as_coco(head)
        if is_coco and ('"segments_info"' in head or has_own_folder(tree, name)):
            return f"{name} is a panoptic document, its PNGs in a folder of its name"
    return None


PANOPTIC = DatasetFormat(
    reader=document_reader(index, read),
    writer=DatasetWriter(write, finish),
    recogniser=recognise,
    holds_ignore=True,
)
TWO_CHANNELS = DatasetFormat(
    reader=DatasetReader(index_two_channels, read_two_channels), holds_ignore=True, max_classes=256
)
