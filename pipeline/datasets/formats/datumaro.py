"""Datumaro's own JSON, as datumaro and CVAT export it: masks and polygons per item (read).

Facts: datumaro 1.13, its format "datumaro". A label's number is its place in the list; pictures lie
in ``images/<subset>`` under the name that the item tells.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.documents.heads import heads
from maskmill.pipeline.datasets.documents.json_arrays import (
    Element,
    elements_outside,
    object_at,
    placed_elements,
)
from maskmill.pipeline.datasets.formats.coco import segmentation_to_mask
from maskmill.pipeline.datasets.guards import (
    WRONG_SHAPE,
    document_reader,
    misshapen,
    refused_item,
)
from maskmill.pipeline.datasets.item_spool import ItemSpool
from maskmill.pipeline.datasets.left_out import BOXES, KEYPOINTS, SHAPES, Omission
from maskmill.pipeline.datasets.painting import Region, paint
from maskmill.pipeline.datasets.picture_search import told_size
from maskmill.pipeline.datasets.samples import (
    DatasetIndex,
    ReadContext,
    ReadOptions,
    Sample,
    SampleItem,
)
from maskmill.pipeline.datasets.trees import FileTree, documents
from maskmill.pipeline.datasets.vocabulary import index_by_name
from maskmill.pipeline.pictures.names import extension_of
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.labels import labels_with_background

HEAD: Final = re.compile(r'"categories"\s*:\s*\{\s*"label"')
DRAWN: Final = ("mask", "polygon")
BARE: Final = {
    "bbox": BOXES,
    "rotated_bbox": BOXES,
    "points": KEYPOINTS,
    "skeleton": KEYPOINTS,
}


def index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """One pass over each document; a document is a subset. Labels: those of the categories.

    Raises:
        DocumentFailure: no document of that kind, or two that name other labels.
    """
    names: dict[str, list[str]] = {}
    items = ItemSpool()
    for name in documents(tree, ".json"):
        found = elements_outside(tree, name, "categories.label.labels.item")
        names[name] = [str(entry["name"]) for entry in found]
        for number, element in enumerate(placed_elements(tree, name, "items"), 1):
            items.append(_item(element, name, number))
    named = {name: labels for name, labels in names.items() if labels}
    first = next(iter(named.values()), [])
    if not items or not first:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{tree.uri} holds no JSON of Datumaro")
    if any(labels != first for labels in named.values()):
        raise DocumentFailure(
            ErrorCode.MALFORMED,
            f"{tree.uri}: {', '.join(named)} disagree about labels; convert them one by one",
        )
    labels = labels_with_background("datumaro", first)
    by_name = index_by_name(labels)
    return DatasetIndex(
        labels=labels, items=items, extras={"classes": [by_name[one] for one in first]}
    )


def read(item: SampleItem, context: ReadContext) -> Sample:
    """Paint the annotations of one item by z_order, then in their order.

    Raises:
        DocumentFailure: a label that is not in the list, a broken mask or polygon, no size.
    """
    payload = item.payload
    document = object_at(context.tree, payload["document"], *payload["place"])
    size = (document.get("image") or {}).get("size") or (None, None)
    size_hw = told_size(context, (size[0], size[1]), payload["image"], item.key)
    found = sorted(document.get("annotations") or (), key=lambda one: one.get("z_order") or 0)
    drawn = [one for one in found if one.get("type") in DRAWN]
    regions = [
        Region(
            _class_index(one, context.extras["classes"], item.key),
            segmentation_to_mask(_segmentation(one), size_hw, f"{item.key}, {one['type']}"),
            object_id=number,
        )
        for number, one in enumerate(drawn, 1)
    ]
    painted = paint(regions, size_hw, context.labels, name=item.key)
    return Sample(
        key=item.key,
        mask=painted.mask,
        labels=context.labels,
        image=payload["image"],
        objects=painted.objects,
        overlap=painted.overlap,
        left_out=Counter(_omissions(found)) + painted.left_out,
    )


def _item(element: Element, document: str, number: int) -> SampleItem:
    """The item; its key is its id, with the extension of its picture."""
    split = document.rpartition("/")[2].removesuffix(".json")
    split = "" if split == "default" else split
    try:
        path = str((element.value.get("image") or {}).get("path") or "").replace("\\", "/")
        key = str(element.value["id"])
    except WRONG_SHAPE as error:
        told = f"{document}, item {number}"
        return refused_item(told, misshapen(told, error), split)
    return SampleItem(
        key=key + extension_of(path),
        split=split,
        payload={
            "document": document,
            "place": [element.start, element.length],
            "image": path or key,
        },
    )


def _segmentation(annotation: Mapping[str, Any]) -> Any:
    is_mask = annotation["type"] == "mask"
    return annotation["rle"] if is_mask else [annotation["points"]]


def _class_index(annotation: Mapping[str, Any], classes: Sequence[int], name: str) -> int:
    number = annotation.get("label_id")
    if not isinstance(number, int) or not 0 <= number < len(classes):
        raise DocumentFailure(
            ErrorCode.UNKNOWN_CLASS, f"{name}: label_id {number!r} of {len(classes)} labels"
        )
    return classes[number]


def _omissions(found: Sequence[Mapping[str, Any]]) -> Iterator[Omission]:
    for one in found:
        kind = str(one.get("type"))
        if kind not in DRAWN:
            yield Omission(BARE[kind]) if kind in BARE else Omission(SHAPES, kind)


def recognise(tree: FileTree) -> str | None:
    """A JSON object whose categories have labels, with items."""
    for name, head in heads(tree, ".json"):
        if head.lstrip().startswith("{") and HEAD.search(head):
            return f"{name} is a Datumaro document"
    return None


DATUMARO = DatasetFormat(
    bare_shapes=True, reader=document_reader(index, read), recogniser=recognise
)
