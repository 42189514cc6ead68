"""Label Studio tasks with predictions: brush masks or polygons, and the labelling config.

Facts: Label Studio's predictions.md, label_studio_sdk 2.1.2. Polygon points are percent of the
picture's width and height.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

import numpy as np

from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.documents.heads import heads
from maskmill.pipeline.datasets.documents.json_arrays import object_at, placed_elements
from maskmill.pipeline.datasets.documents.label_studio_brush import brush_to_mask, mask_to_brush
from maskmill.pipeline.datasets.documents.label_studio_config import (
    CONFIG,
    FROM_NAME,
    TO_NAME,
    config_labels,
    labeling_config,
)
from maskmill.pipeline.datasets.documents.label_studio_tasks import (
    labels_in,
    parse_task,
    picture_names,
)
from maskmill.pipeline.datasets.guards import (
    WRONG_SHAPE,
    document_reader,
    misshapen,
    refused_item,
)
from maskmill.pipeline.datasets.item_spool import ItemSpool
from maskmill.pipeline.datasets.packages import packaged
from maskmill.pipeline.datasets.painting import Region, paint
from maskmill.pipeline.datasets.picture_search import find_picture, told_size
from maskmill.pipeline.datasets.samples import (
    DatasetIndex,
    DatasetWriter,
    FinishedSample,
    FinishedSamples,
    OutputFolder,
    ReadContext,
    ReadOptions,
    Sample,
    SampleItem,
    Target,
    WriteContext,
    Written,
    present_classes,
)
from maskmill.pipeline.datasets.trees import FileTree, documents
from maskmill.pipeline.datasets.vocabulary import (
    index_by_name,
    known_index,
    to_json,
)
from maskmill.pipeline.masks.polygons import mask_to_polygons, parts_to_rings, rings_to_mask
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.labels import labels_with_background


def index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """One pass over the tasks, of JSON or JSON-MIN. Labels: the config beside them, or those used.

    Raises:
        DocumentFailure: not Label Studio's JSON.
    """
    items = ItemSpool()
    used: set[str] = set()
    found = 0
    for name in documents(tree, ".json"):
        for number, element in enumerate(placed_elements(tree, name, ""), 1):
            try:
                task = parse_task(element.value, name)
                used.update(labels_in(task.drawn))
            except DocumentFailure as failure:
                items.append(refused_item(f"{name}, task {number}", failure))
            except WRONG_SHAPE as error:
                told = f"{name}, task {number}"
                items.append(refused_item(told, misshapen(told, error)))
            else:
                place = [element.start, element.length]
                items.append(SampleItem(key=task.key, payload={"document": name, "place": place}))
                found += 1
    if not found:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{tree.uri} holds no list of Label Studio tasks"
        )
    labels = config_labels(tree) or labels_with_background("labels", sorted(used))
    return DatasetIndex(labels=labels, items=items)


def read(item: SampleItem, context: ReadContext) -> Sample:
    """Paint the regions of one task: the annotators' where there are any, else the predictions.

    Raises:
        DocumentFailure: nothing to take the size from, an unknown label, a damaged brush.
    """
    payload = item.payload
    element = object_at(context.tree, payload["document"], *payload["place"])
    return task_to_sample(element, item.key, context)


def task_to_sample(element: Any, key: str, context: ReadContext) -> Sample:
    """The same of a task as JSON: what the server answers with is what it exports.

    Raises:
        DocumentFailure: as :func:`read`.
    """
    task = parse_task(element, key)
    size_hw = told_size(context, task.size, *picture_names(task.key))
    drawn = task.drawn
    by_name = index_by_name(context.labels)
    painted = paint(
        [_region(one, number, by_name, size_hw, key) for number, one in enumerate(drawn, 1)],
        size_hw,
        context.labels,
        name=key,
    )
    scores = {
        known_index(by_name, next(labels_in([one]), None), key): float(one["score"])
        for one in drawn
        if isinstance(one.get("score"), int | float)
    }
    return Sample(
        key=key,
        mask=painted.mask,
        labels=context.labels,
        image=_picture(task.key, context),
        objects=painted.objects,
        overlap=painted.overlap,
        scores=scores,
        left_out=task.left_out + painted.left_out,
    )


def write_brush(sample: Sample, target: Target, context: WriteContext) -> Written:
    """One brush region per class: exact."""
    results = [
        _result(
            sample, index, target, "brushlabels", {"format": "rle", "rle": mask_to_brush(inside)}
        )
        for index, inside in present_classes(sample.mask, sample.labels)
    ]
    return _written(sample, results, (1.0,) * len(results), context)


def write_polygons(sample: Sample, target: Target, context: WriteContext) -> Written:
    """One polygon region per part, holes bridged, within ``max_loss``."""
    height, width = sample.size_hw
    results, ious = [], []
    for index, inside in present_classes(sample.mask, sample.labels):
        found = mask_to_polygons(inside, context.max_loss)
        ious.append(found.iou)
        for number, ring in enumerate(parts_to_rings(found.parts)):
            points = (ring * (100 / width, 100 / height)).round(6).tolist()
            value = {"points": points, "closed": True}
            results.append(_result(sample, index, target, "polygonlabels", value, number))
    return _written(sample, results, tuple(ious), context)


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder, kind: str) -> None:
    """``tasks.json`` (one per split and package) and the labelling config that matches it."""
    for split, chosen in samples.by_split():
        stem = f"{split}/tasks" if split else "tasks"
        for path, part in packaged(chosen, stem, ".json", context.limits, _bytes_of):
            with out.open(path) as stream:
                stream.write(b"[")
                for position, sample in enumerate(part):
                    stream.write((b",\n" if position else b"\n") + to_json(sample.record))
                stream.write(b"\n]\n")
    with out.open(CONFIG) as stream:
        stream.write(labeling_config(context.labels, kind).encode())


def _bytes_of(sample: FinishedSample) -> int:
    return len(to_json(sample.record))


def _written(
    sample: Sample, results: list[dict[str, Any]], ious: tuple[float, ...], context: WriteContext
) -> Written:
    prediction: dict[str, Any] = {
        "model_version": context.info.get("model", "maskmill"),
        "result": results,
    }
    if sample.scores:
        prediction["score"] = round(sum(sample.scores.values()) / len(sample.scores), 6)
    url = f"/data/local-files/?d={quote(sample.key)}"
    data = {"image": url, "width": sample.size_hw[1], "height": sample.size_hw[0]}
    task = {"data": data, "predictions": [prediction]}
    return Written(record=task, image_path=f"images/{sample.key}", segment_ious=ious)


def _result(
    sample: Sample, index: int, target: Target, kind: str, value: dict[str, Any], part: int = 0
) -> dict[str, Any]:
    height, width = sample.size_hw
    digest = hashlib.sha256(f"{target.stem}\0{index}\0{part}".encode()).hexdigest()
    entry: dict[str, Any] = {
        "id": digest[:10],
        "type": kind,
        "from_name": FROM_NAME,
        "to_name": TO_NAME,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {**value, kind: [sample.labels.names[index]]},
    }
    if index in sample.scores:
        entry["score"] = round(sample.scores[index], 6)
    return entry


def _region(
    region: Mapping[str, Any],
    number: int,
    by_name: dict[str, int],
    size_hw: tuple[int, int],
    name: str,
) -> Region:
    index = known_index(by_name, next(labels_in([region]), None), name)
    value = region["value"]
    if region["type"] == "brushlabels":
        if value.get("format") != "rle":
            raise DocumentFailure(
                ErrorCode.MALFORMED, f"{name}: brush format {value.get('format')!r} is not known"
            )
        return Region(index, brush_to_mask(value.get("rle"), size_hw, name=name), object_id=number)
    points = np.array(value.get("points") or [], dtype=np.float64).reshape(-1, 2)
    ring = points * (size_hw[1] / 100, size_hw[0] / 100)
    return Region(index, rings_to_mask([ring], size_hw, name=name), object_id=number)


def _picture(key: str, context: ReadContext) -> str:
    """The picture in the folder of --images, where it has the name it had before its upload."""
    if context.images is None:
        return key
    return find_picture(context.images, *picture_names(key)) or key


def recognise(tree: FileTree) -> str | None:
    """A JSON list of tasks: objects with ``data`` and results, or JSON-MIN's with an annotator."""
    for name, head in heads(tree, ".json"):
        has_results = '"predictions"' in head or '"annotations"' in head
        is_flat = '"annotation_id"' in head and '"annotator"' in head
        if head.lstrip().startswith("[") and (('"data"' in head and has_results) or is_flat):
            return f"{name} is a list of Label Studio tasks"
    return None


LABEL_STUDIO = DatasetFormat(
    bare_shapes=True,
    reader=document_reader(index, read),
    writer=DatasetWriter(write_brush, partial(finish, kind="brushlabels")),
    recogniser=recognise,
    import_command='curl -H "Authorization: Token $TOKEN" '
    '"$LABEL_STUDIO/api/projects/PROJECT_ID/import" -F file=@',
    package_suffix=".json",
)
POLYGONS = replace(
    LABEL_STUDIO,
    writer=DatasetWriter(write_polygons, partial(finish, kind="polygonlabels")),
    recogniser=None,
    polygons=True,
)
