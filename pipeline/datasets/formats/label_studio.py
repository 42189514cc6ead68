"""Label Studio tasks with predictions: brush masks or polygons, and the labelling config.

Facts: Label Studio's predictions.md, label_studio_sdk 2.1.2. Polygon points are percent of the
picture's width and height.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import numpy as np

from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.documents.heads import heads
from maskmill.pipeline.datasets.documents.json_arrays import BETWEEN, placed_elements
from maskmill.pipeline.datasets.documents.label_studio_brush import brush_to_mask, mask_to_brush
from maskmill.pipeline.datasets.documents.label_studio_config import (
    CONFIG,
    FROM_NAME,
    KINDS,
    TO_NAME,
    config_labels,
    labeling_config,
)
from maskmill.pipeline.datasets.guards import document_reader
from maskmill.pipeline.datasets.item_spool import ItemSpool
from maskmill.pipeline.datasets.packages import packaged
from maskmill.pipeline.datasets.painting import Region, paint
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
    parse_json,
    to_json,
)
from maskmill.pipeline.masks.declared_size import declared_size
from maskmill.pipeline.masks.polygons import mask_to_polygons, parts_to_rings, rings_to_mask
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.labels import labels_with_background


def index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """One pass over the tasks. Labels: the config beside them, or the names in use.

    Raises:
        DocumentFailure: not Label Studio's JSON.
    """
    items = ItemSpool()
    used: set[str] = set()
    for name in documents(tree, ".json"):
        for element in placed_elements(tree, name, ""):
            task = element.value
            if not isinstance(task, dict) or "data" not in task:
                raise DocumentFailure(
                    ErrorCode.MALFORMED, f"{name} is not a list of Label Studio tasks"
                )
            used.update(_labels_in(_regions(task)))
            items.append(
                SampleItem(
                    key=_key(task, name),
                    payload={"document": name, "place": [element.start, element.length]},
                )
            )
    if not items:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{tree.uri} holds no list of Label Studio tasks"
        )
    labels = config_labels(tree) or labels_with_background("labels", sorted(used))
    return DatasetIndex(labels=labels, items=items)


def read(item: SampleItem, context: ReadContext) -> Sample:
    """Paint the regions of one task: the annotators' where there are any, else the predictions.

    Raises:
        DocumentFailure: no region to take the size from, an unknown label, a damaged brush.
    """
    text = context.tree.read_range(item.payload["document"], *item.payload["place"])
    task = parse_json(text.strip(BETWEEN), item.key)
    regions = _regions(task)
    size_hw = _size(task, regions, item.key)
    by_name = index_by_name(context.labels)
    drawn = [one for one in regions if one.get("type") in KINDS]
    painted = paint(
        [_region(one, number, by_name, size_hw, item.key) for number, one in enumerate(drawn, 1)],
        size_hw,
        context.labels,
        name=item.key,
    )
    scores = {
        known_index(by_name, next(_labels_in([one]), None), item.key): float(one["score"])
        for one in drawn
        if isinstance(one.get("score"), int | float)
    }
    return Sample(
        key=item.key,
        mask=painted.mask,
        labels=context.labels,
        image=item.key,
        objects=painted.objects,
        overlap=painted.overlap,
        scores=scores,
        notes=("regions of other kinds left out",) if len(drawn) < len(regions) else (),
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


def _regions(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results of the last annotation not cancelled, else of the first prediction."""
    done = [one for one in task.get("annotations") or [] if not one.get("was_cancelled")]
    chosen = done[-1:] or (task.get("predictions") or [])[:1]
    return [region for one in chosen for region in one.get("result") or []]


def _labels_in(regions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for region in regions:
        value = region.get("value") or {}
        for kind in KINDS:
            yield from value.get(kind) or []


def _region(
    region: Mapping[str, Any],
    number: int,
    by_name: dict[str, int],
    size_hw: tuple[int, int],
    name: str,
) -> Region:
    index = known_index(by_name, next(_labels_in([region]), None), name)
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


def _key(task: Mapping[str, Any], name: str) -> str:
    """The picture's path: what ``?d=`` names, else the path of the URL."""
    data = task["data"]
    url = data.get("image") or next((one for one in data.values() if isinstance(one, str)), None)
    if not isinstance(url, str):
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name}: a task names no image")
    parts = urlsplit(url)
    local = parse_qs(parts.query).get("d")
    return local[0] if local else unquote(parts.path).lstrip("/")


def _size(
    task: Mapping[str, Any], regions: Sequence[Mapping[str, Any]], name: str
) -> tuple[int, int]:
    """(height, width) from the first region, else from the task's own data."""
    if regions:
        told = regions[0].get("original_height"), regions[0].get("original_width")
    else:
        told = task["data"].get("height"), task["data"].get("width")
    if None in told:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{name}: the task has no region, so its size is not known"
        )
    return declared_size(*told, name=name)


def recognise(tree: FileTree) -> str | None:
    """A JSON list of tasks: objects with ``data`` and with annotations or predictions."""
    for name, head in heads(tree, ".json"):
        has_results = '"predictions"' in head or '"annotations"' in head
        if head.lstrip().startswith("[") and '"data"' in head and has_results:
            return f"{name} is a list of Label Studio tasks"
    return None


LABEL_STUDIO = DatasetFormat(
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
