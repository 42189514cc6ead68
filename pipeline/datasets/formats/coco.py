"""COCO instances JSON: polygons, RLE of both kinds in; compressed RLE, plain RLE or polygons out.

Facts: COCO data format page, pycocotools 2.0.11, CVAT's "COCO 1.0" import.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from maskmill.pipeline.datasets.class_lists import labels_of_categories
from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.documents.coco_document import document_pieces
from maskmill.pipeline.datasets.documents.coco_outline import (
    CocoOutline,
    annotations_at,
    left_out_of,
    outline,
    split_of_document,
    with_classes,
)
from maskmill.pipeline.datasets.documents.heads import begins_as_coco, heads
from maskmill.pipeline.datasets.foreign_documents import foreign_kind
from maskmill.pipeline.datasets.guards import document_reader
from maskmill.pipeline.datasets.left_out import BOXES, KEYPOINTS, NO_MASK, Omission
from maskmill.pipeline.datasets.painting import (
    Region,
    largest_first,
    object_segments,
    paint,
)
from maskmill.pipeline.datasets.picture_search import told_size
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
from maskmill.pipeline.masks.polygons import (
    mask_to_polygons,
    numbers_to_ring,
    parts_to_rings,
    rings_to_mask,
)
from maskmill.pipeline.masks.rle import annotation_to_mask, counts_to_mask, rle_to_counts
from maskmill.pipeline.masks.rle import decode as decode_rle
from maskmill.pipeline.masks.segments import Segment
from maskmill.schemas.arrays import BoolMask
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.labels import LabelMap

Decoder = Callable[[Any, tuple[int, int], str], BoolMask]
"""Segmentation, (H, W), name for messages -> (H, W) bool. Raises DocumentFailure."""


def index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """One streaming pass: only ids, names, sizes and byte ranges stay in memory.

    Raises:
        DocumentFailure: not a COCO document, or two documents that disagree about categories.
    """
    found, notes = with_classes({name: outline(tree, name) for name in documents(tree, ".json")})
    if not found:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{tree.uri} holds no JSON with COCO images")
    categories = next(iter(found.values())).categories
    if any(one.classes() != next(iter(found.values())).classes() for one in found.values()):
        raise DocumentFailure(
            ErrorCode.MALFORMED,
            f"{tree.uri}: {', '.join(found)} disagree about categories; convert them one by one",
        )
    labels = labels_of_categories(categories, "coco")
    return DatasetIndex(
        labels=labels,
        items=(item for name, one in found.items() for item in _items(one, name, len(found) > 1)),
        extras={"class_of": _class_of(categories, labels)},
        notes=(*notes, *(note for name, one in found.items() for note in one.notes(name))),
        left_out=left_out_of(found.values()),
    )


def read(item: SampleItem, context: ReadContext, decode: "Decoder | None" = None) -> Sample:
    """Decode the annotations of one picture: crowds at the bottom, then large before small.

    ``decode`` is another way from segmentation, size and name to a mask than our own.

    Raises:
        DocumentFailure: an annotation that breaks COCO's rules, named by its id.
    """
    decode = decode or segmentation_to_mask
    size_hw = told_size(context, tuple(item.payload["size"]), item.key)
    class_of = context.extras["class_of"]
    everything = list(enumerate(annotations_at(context.tree, item.payload), 1))
    found = {number: one for number, one in everything if has_shape(one)}
    bare = Counter(Omission(_kind_of(one)) for number, one in everything if number not in found)
    regions = [
        Region(
            _class_index(annotation, class_of, item.key),
            decode(annotation["segmentation"], size_hw, _name(annotation, item)),
            object_id=number,
        )
        for number, annotation in found.items()
    ]
    crowds = {number for number, one in found.items() if one.get("iscrowd", 0)}
    ordered = largest_first(regions)
    ordered.sort(key=lambda region: region.object_id not in crowds)
    painted = paint(ordered, size_hw, context.labels, name=item.key)
    return Sample(
        key=item.key,
        mask=painted.mask,
        labels=context.labels,
        image=item.payload["image"],
        objects=painted.objects,
        scores=_mean_scores(list(found.values()), class_of),
        overlap=painted.overlap,
        left_out=bare + painted.left_out,
        source_id=item.payload["id"],
    )


def segmentation_to_mask(segmentation: Any, size_hw: tuple[int, int], name: str) -> BoolMask:
    """(H, W) bool of any of COCO's three forms; rings of one or two corners hold nothing.

    Raises:
        DocumentFailure: neither of them, a broken one, or an RLE of another size.
    """
    if isinstance(segmentation, Mapping):
        counts, size = rle_to_counts(segmentation, name=name)
        if size != size_hw:
            raise DocumentFailure(
                ErrorCode.SIZE_MISMATCH,
                f"{name}: the RLE is {size[0]} x {size[1]}, "
                f"the picture {size_hw[0]} x {size_hw[1]}",
            )
        return counts_to_mask(counts, size)
    if not isinstance(segmentation, Sequence) or isinstance(segmentation, str):
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name}: segmentation is neither list nor RLE")
    rings = [
        numbers_to_ring(numbers, name=name)
        for numbers in segmentation
        if not (isinstance(numbers, list) and len(numbers) in (0, 2, 4))
    ]
    return rings_to_mask(rings, size_hw, name=name)


def write_rle(sample: Sample, target: Target, context: WriteContext) -> Written:
    """Compressed RLE: exact."""
    return _written(sample, lambda segment: (_rle(segment, sample), 1.0))


def write_uncompressed(sample: Sample, target: Target, context: WriteContext) -> Written:
    """RLE as lists of integers: exact, larger."""
    return _written(sample, lambda segment: (_plain_rle(segment, sample), 1.0))


def write_polygons(sample: Sample, target: Target, context: WriteContext) -> Written:
    """Polygons: one ring per part, holes bridged, simplified within ``max_loss``."""

    def drawn(segment: Segment) -> tuple[Any, float]:
        found = mask_to_polygons(decode_rle(_rle(segment, sample)), context.max_loss)
        rings = parts_to_rings(found.parts)
        return [ring.ravel().round(2).tolist() for ring in rings], found.iou

    return _written(sample, drawn)


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """``annotations/instances_<split>.json`` per split, streamed in image order."""
    for split, chosen in samples.by_split("default"):
        with out.open(f"annotations/instances_{split}.json") as stream:
            for piece in document_pieces(chosen, context.labels.coco_categories(), context):
                stream.write(piece)


def _written(sample: Sample, draw: Callable[[Segment], tuple[Any, float]]) -> Written:
    record, ious = [], []
    for segment in object_segments(sample):
        segmentation, iou = draw(segment)
        entry: dict[str, Any] = {
            "category_id": segment.category_id,
            "segmentation": segmentation,
            "area": segment.area,
            "bbox": list(segment.bbox),
            "iscrowd": 0,
        }
        if segment.score is not None:
            entry["score"] = round(segment.score, 6)
        record.append(entry)
        ious.append(iou)
    return Written(record=record, image_path=f"images/{sample.key}", segment_ious=tuple(ious))


def _rle(segment: Segment, sample: Sample) -> dict[str, Any]:
    return {"size": list(sample.size_hw), "counts": segment.counts}


def _plain_rle(segment: Segment, sample: Sample) -> dict[str, Any]:
    counts, _ = rle_to_counts(_rle(segment, sample))
    return {"size": list(sample.size_hw), "counts": counts.tolist()}


def _items(one: CocoOutline, name: str, several: bool) -> Iterator[SampleItem]:
    split = split_of_document(name) if several else ""
    places = one.places()
    for image_id, (key, height, width) in one.images.items():
        payload = {"id": image_id, "document": name, "image": key, "size": [height, width]}
        yield SampleItem(key=key, split=split, payload={**payload, "places": places(image_id)})


def _class_of(categories: Sequence[Mapping[str, Any]], labels: LabelMap) -> dict[str, int]:
    """Class index by category id, as JSON keys."""
    return {str(entry["id"]): labels.index_of(str(entry["name"])) for entry in categories}


def _class_index(annotation: Mapping[str, Any], class_of: Mapping[str, int], name: str) -> int:
    found = class_of.get(str(annotation.get("category_id")))
    if found is None:
        raise DocumentFailure(
            ErrorCode.UNKNOWN_CLASS,
            f"{name}: annotation {annotation.get('id')} has category_id "
            f"{annotation.get('category_id')!r}, which is not in categories",
        )
    return found


def _mean_scores(
    found: Sequence[Mapping[str, Any]], class_of: Mapping[str, int]
) -> dict[int, float]:
    """Mean score by class index, of the annotations that carry one."""
    collected: dict[int, list[float]] = {}
    for annotation in found:
        if isinstance(annotation.get("score"), int | float):
            index = class_of[str(annotation["category_id"])]
            collected.setdefault(index, []).append(float(annotation["score"]))
    return {index: sum(scores) / len(scores) for index, scores in collected.items()}


def has_shape(annotation: Mapping[str, Any]) -> bool:
    """False for boxes and key points alone: no segmentation, or Roboflow's list of nothing."""
    return annotation.get("segmentation") not in (None, [], {}, [[]], "")


def _kind_of(annotation: Mapping[str, Any]) -> str:
    """What an annotation without a shape is."""
    if annotation.get("keypoints"):
        return KEYPOINTS
    return BOXES if annotation.get("bbox") else NO_MASK


def _name(annotation: Mapping[str, Any], item: SampleItem) -> str:
    return f"{item.key}, annotation {annotation.get('id')}"


def recognise(tree: FileTree) -> str | None:
    """A JSON object that lists images with file names; not the panoptic one, which has PNGs."""
    for name, head in heads(tree, ".json"):
        is_ours = begins_as_coco(head) and foreign_kind(".json", head) is None
        if is_ours and not has_own_folder(tree, name):
            return f"{name} is a COCO document"
    return None


def has_own_folder(tree: FileTree, name: str) -> bool:
    """True where a document has a folder of its name beside it, as panoptic ones have."""
    folder = name.removesuffix(".json") + "/"
    return any(entry.startswith(folder) for entry in tree.names())


READER = document_reader(index, read)
PYCOCOTOOLS_READER = document_reader(index, partial(read, decode=annotation_to_mask))
COCO = DatasetFormat(
    bare_shapes=True,
    reader=READER,
    writer=DatasetWriter(write_rle, finish),
    recogniser=recognise,
    checker=PYCOCOTOOLS_READER,
    checker_name="pycocotools",
)
UNCOMPRESSED = replace(COCO, writer=DatasetWriter(write_uncompressed, finish), recogniser=None)
POLYGONS = replace(
    COCO, writer=DatasetWriter(write_polygons, finish), recogniser=None, polygons=True
)
