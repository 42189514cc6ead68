"""Label Studio's PNG export of brush masks: a file per region, merged to one mask per task (read).

Facts: label_studio_sdk 2.1.2, converter/brush.py. A file is called
``task-1-annotation-6-by-1-tag-person-0.png``: task, annotation, who, the config's tag, the class,
a count; its pixels are the brush's alpha. The names do not tell the picture: a task list exported
as JSON and put beside the files does.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from maskmill.pipeline.datasets.class_lists import class_list
from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.documents.binary_png import png_to_mask
from maskmill.pipeline.datasets.documents.json_arrays import placed_elements
from maskmill.pipeline.datasets.documents.label_studio_config import config_labels
from maskmill.pipeline.datasets.documents.label_studio_tasks import parse_task, picture_names
from maskmill.pipeline.datasets.guards import WRONG_SHAPE, document_reader
from maskmill.pipeline.datasets.left_out import OTHER_RESULTS, Omission
from maskmill.pipeline.datasets.painting import Region, paint
from maskmill.pipeline.datasets.picture_search import find_picture
from maskmill.pipeline.datasets.samples import (
    DatasetIndex,
    ReadContext,
    ReadOptions,
    Sample,
    SampleItem,
)
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.pipeline.datasets.vocabulary import index_by_name, known_index
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.labels import LabelMap, labels_with_background

NAME: Final = re.compile(
    r"(?:.*/)?task-(?P<task>\d+)-annotation-(?P<annotation>\d+)-by-(?P<by>[^-/]*)-"
    r"(?P<tag>.+)-(?P<number>\d+)\.png"
)


class Layer(NamedTuple):
    """One file: where it belongs, and ``tag-class`` as one text, since both may hold dashes."""

    name: str
    task: int
    annotation: int
    tag: str
    number: int


def layer_of(name: str) -> Layer | None:
    """What a file of the export is, None of other files."""
    match = NAME.fullmatch(name)
    if match is None:
        return None
    task, annotation, number = (int(match[part]) for part in ("task", "annotation", "number"))
    return Layer(name, task, annotation, match["tag"], number)


def index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """A sample per task: the layers of its last annotation; those of others are counted.

    Labels: a class list or the labelling config beside the files, ``--labels``, else the names in
    use, which then must hold no dash.

    Raises:
        DocumentFailure: no file of that kind.
    """
    tasks: dict[int, list[Layer]] = defaultdict(list)
    for layer in filter(None, map(layer_of, tree.names())):
        tasks[layer.task].append(layer)
    if not tasks:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{tree.uri} holds no task-N-annotation-N-by-N-tag-class-N.png"
        )
    kept = {task: _of_last(layers) for task, layers in tasks.items()}
    others = sum(map(len, tasks.values())) - sum(map(len, kept.values()))
    listed = class_list(tree)
    named = labels_with_background("labels", listed.names) if listed else config_labels(tree)
    labels = named or options.labels or _used(kept.values())
    pictures = _pictures_of_tasks(tree)
    unnamed = sum(task not in pictures for task in kept)
    told = (
        f"{unnamed:,} of {len(kept):,} tasks are called by their number: put the task list, "
        "exported as JSON, beside the masks to have the names of their pictures"
    )
    return DatasetIndex(
        labels=labels,
        items=[_item(task, layers, pictures) for task, layers in sorted(kept.items())],
        notes=(told,) if unnamed else (),
        left_out={Omission(OTHER_RESULTS): others} if others else {},
    )


def read(item: SampleItem, context: ReadContext) -> Sample:
    """Paint the layers of one task in the order of the file names.

    Raises:
        DocumentFailure: a class that the label map lacks.
        MaskFailure: a file that is no picture.
    """
    by_name = index_by_name(context.labels)
    regions, sizes = [], set()
    for number, (name, tag) in enumerate(item.payload["layers"], 1):
        inside = png_to_mask(context.tree.read(name), name)
        sizes.add(inside.shape)
        class_index = known_index(by_name, class_of(tag, by_name), name)
        regions.append(Region(class_index, inside, object_id=number))
    if len(sizes) > 1:
        told = ", ".join(f"{width} x {height}" for height, width in sorted(sizes))
        raise DocumentFailure(
            ErrorCode.SIZE_MISMATCH, f"{item.key}: its masks differ in size: {told}"
        )
    painted = paint(regions, next(iter(sizes)), context.labels, name=item.key)
    image = item.payload["image"]
    if image is not None and context.images is not None:
        image = find_picture(context.images, *picture_names(image)) or image
    return Sample(
        key=item.key,
        mask=painted.mask,
        labels=context.labels,
        image=image,
        objects=painted.objects,
        overlap=painted.overlap,
        left_out=painted.left_out,
    )


def class_of(tag: str, names: Mapping[str, int]) -> str:
    """The class at the end of ``tag-class``: the longest that is known, else behind the tag."""
    known = [name for name in names if tag.endswith("-" + name.replace("/", "-"))]
    return max(known, key=len, default=tag.partition("-")[2])


def _of_last(layers: Sequence[Layer]) -> list[Layer]:
    last = max(layer.annotation for layer in layers)
    kept = [layer for layer in layers if layer.annotation == last]
    return sorted(kept, key=lambda layer: (layer.tag, layer.number))


def _used(tasks: Any) -> LabelMap:
    names = {layer.tag.partition("-")[2] for layers in tasks for layer in layers}
    return labels_with_background("labels", sorted(names))


def _item(task: int, layers: Sequence[Layer], pictures: Mapping[int, str]) -> SampleItem:
    image = pictures.get(task)
    files = [[layer.name, layer.tag] for layer in layers]
    return SampleItem(key=image or f"task-{task}", payload={"layers": files, "image": image})


def _pictures_of_tasks(tree: FileTree) -> dict[int, str]:
    """The pictures of task lists beside the masks, by task; two tasks of one keep their numbers."""
    found = dict(_told_pictures(tree))
    counts = Counter(found.values())
    return {task: key for task, key in found.items() if counts[key] == 1}


def _told_pictures(tree: FileTree) -> Iterator[tuple[int, str]]:
    for name in tree.names():
        if not name.endswith(".json"):
            continue
        for element in placed_elements(tree, name, ""):
            try:
                yield int(element.value["id"]), parse_task(element.value, name).key
            except (DocumentFailure, *WRONG_SHAPE):  # no task: then it names no picture
                continue


def recognise(tree: FileTree) -> str | None:
    """A file called as Label Studio calls them."""
    name = next((name for name in tree.names() if layer_of(name)), None)
    return None if name is None else f"{name} is a mask of Label Studio's PNG export"


LABEL_STUDIO_PNG = DatasetFormat(reader=document_reader(index, read), recogniser=recognise)
