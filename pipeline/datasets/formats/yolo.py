"""YOLO segmentation: one text file per picture with normalised polygons, and data.yaml.

Facts: ultralytics' converter, CVAT's format-yolo-ultralytics.md. Holes are bridged by a seam of
no width. Sizes are not in the labels: reading needs the pictures.
"""

import posixpath
import re
from collections import Counter
from collections.abc import Collection, Container
from itertools import islice
from typing import Final

import numpy as np

from maskmill.pipeline.datasets.class_lists import CLASS_LISTS, class_list
from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.documents.data_yaml import (
    DEFAULT_SPLIT,
    YAML,
    data_yaml,
    read_yaml,
    split_folders,
)
from maskmill.pipeline.datasets.guards import document_reader
from maskmill.pipeline.datasets.item_spool import ItemSpool
from maskmill.pipeline.datasets.left_out import BOXES, KEYPOINTS, UNLABELLED, Omission
from maskmill.pipeline.datasets.painting import Region, paint
from maskmill.pipeline.datasets.picture_sizes import picture_beside, picture_size
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
    present_classes,
)
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.pipeline.datasets.vocabulary import labels_or
from maskmill.pipeline.masks.polygons import mask_to_polygons, parts_to_rings, rings_to_mask
from maskmill.schemas.errors import DocumentFailure, ErrorCode, FileFailure
from maskmill.schemas.labels import LabelMap, labels_with_background

LOWEST, HIGHEST = -0.01, 1.01
FIELDS_OF_A_BOX: Final = 5
POSE_KEY: Final = "kpt_shape"  # of data.yaml: boxes with key points
DECIMALS: Final = 9
MOST_LOOKED_AT: Final = 5  # an empty file is a picture of background
LONGEST_LINE: Final = 1 << 12
NUMBERS: Final = r"\d+(?:[ \t]+-?[01](?:\.\d*)?(?:e-\d+)?)"
POLYGON_LINE: Final = re.compile(NUMBERS + "{6}", re.IGNORECASE)
BOX_LINE: Final = re.compile(NUMBERS + r"{4}[ \t]*(?:\r?\n|$)", re.IGNORECASE)


def index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """Every ``labels/**/*.txt``. Labels: ``names`` of data.yaml, a class list, else ``--labels``.

    A split is the first folder below ``labels`` (ultralytics, CVAT) or the one above (Roboflow).

    Raises:
        DocumentFailure: no labels folder, or a data.yaml that is none.
    """
    places = {name: place for name in tree.names() if (place := _place_of(name)) is not None}
    if not places:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{tree.uri} holds no labels/**/*.txt")
    listed, document = read_yaml(tree)
    labels, classes = _labels(listed or class_list(tree), options)
    splits = split_folders(document)
    pictures = picture_beside(options.images or tree)
    is_one = len({_without_split(above, splits) for above, _ in places.values()}) < 2
    items, met = ItemSpool(), set()
    for name, (above, path) in places.items():
        beside = f"{above}/images/{path}".lstrip("/")
        image = next(filter(None, map(pictures.get, (beside, f"images/{path}", path))), None)
        met.add(image)
        split, key = _split_and_key(above, path, splits, is_one)
        items.append(
            SampleItem(
                key=key + posixpath.splitext(image or "")[1],
                split=split,
                payload={"name": name, "image": image},
            )
        )
    unlabelled = set(pictures.values()) - met
    return DatasetIndex(
        labels=labels,
        items=items,
        extras={"classes": classes, "is_pose": POSE_KEY in document},
        notes=(*_unlabelled(unlabelled), *_oriented(tree, items, options)),
        left_out=Counter({Omission(UNLABELLED): len(unlabelled)}),
    )


def _place_of(name: str) -> tuple[str, str] | None:
    """(folder above ``labels``, path below it without .txt) of a label file, None of others."""
    above, found, path = f"/{name}".rpartition("/labels/")
    if not found or not path.endswith(".txt") or path in CLASS_LISTS:
        return None
    return above.lstrip("/"), path.removesuffix(".txt")


def _split_and_key(above: str, path: str, splits: Container[str], is_one: bool) -> tuple[str, str]:
    """The split of a label file, and its key; folders above count where there are several."""
    split, slash, rest = path.partition("/")
    if slash and split in splits:
        path = rest
    else:
        last = above.rpartition("/")[2]
        split, above = last if last in splits else "", _without_split(above, splits)
    return split, path if is_one or not above else f"{above}/{path}"


def _without_split(above: str, splits: Container[str]) -> str:
    before, _, last = above.rpartition("/")
    return before if last in splits else above


def _unlabelled(pictures: Collection[str]) -> tuple[str, ...]:
    if not pictures:
        return ()
    told = f"{len(pictures):,} pictures have no label file (for example {min(pictures)})"
    return (f"{told}: they are no samples",)


def _oriented(tree: FileTree, items: ItemSpool, options: ReadOptions) -> tuple[str, ...]:
    """A note where every line of the first files is a rectangle, as oriented boxes are written."""
    looked = list(islice((one.payload for one in items if one.payload["image"]), MOST_LOOKED_AT))
    found = 0
    for payload in looked:
        try:
            text = tree.read(payload["name"]).decode("utf-8", "replace")
            size_hw = picture_size(options.images or tree, payload["image"])
        except FileFailure:  # the run says what is wrong with it
            return ()
        lines = [line for line in text.splitlines() if line.strip()]
        if not all(_is_rectangle(line, size_hw) for line in lines):
            return ()
        found += len(lines)
    if not found:
        return ()
    told = f"every line looked at ({found:,} in {len(looked):,} files) is a rectangle"
    return (f"{told}, as oriented boxes are written: each is read as a mask of its whole box",)


def _is_rectangle(line: str, size_hw: tuple[int, int]) -> bool:
    """True for a class and four corners that are square to about a pixel, turned or not."""
    try:
        corners = np.array(line.split()[1:], dtype=np.float64).reshape(4, 2)
    except ValueError:
        return False
    points = corners * (size_hw[1], size_hw[0])
    across = points[:2] - points[2:]
    middles = points[0] + points[2] - points[1] - points[3]
    lengths = np.linalg.norm(across, axis=1)
    return bool(np.abs(middles).max() <= 2 and abs(lengths[0] - lengths[1]) <= 2)


def read(item: SampleItem, context: ReadContext) -> Sample:
    """Paint the lines in their order; those of boxes, with key points or not, are left out.

    Raises:
        DocumentFailure: no picture to take the size from, classes or values out of range.
    """
    name = item.payload["name"]
    if item.payload["image"] is None:
        raise DocumentFailure(
            ErrorCode.MISSING_IMAGE,
            f"{name}: YOLO labels hold no size and its picture is missing: give --images",
        )
    size_hw = picture_size(context.images or context.tree, item.payload["image"])
    text = context.tree.read(name).decode("utf-8", "replace")
    lines = {number: line for number, line in enumerate(text.splitlines(), 1) if line.strip()}
    kind = KEYPOINTS if context.extras["is_pose"] else BOXES
    is_bare = kind == KEYPOINTS  # a class, a box and its points: nothing in a line tells
    boxes = [number for number, line in lines.items() if is_bare or _is_box(line)]
    regions = [
        _region(line, number, context.extras["classes"], size_hw, f"{name}, line {number}")
        for number, line in lines.items()
        if number not in boxes
    ]
    painted = paint(regions, size_hw, context.labels, name=name)
    return Sample(
        key=item.key,
        mask=painted.mask,
        labels=context.labels,
        image=item.payload["image"],
        objects=painted.objects,
        overlap=painted.overlap,
        left_out=Counter({Omission(kind): len(boxes)}) + painted.left_out,
    )


def _is_box(line: str) -> bool:
    return len(line.split()) == FIELDS_OF_A_BOX


def write(sample: Sample, target: Target, context: WriteContext) -> Written:
    """One line per part. An empty file is a picture of background."""
    height, width = sample.size_hw
    yolo_class = {index: at for at, index in enumerate(_foreground(sample.labels))}
    lines, ious = [], []
    for index_, inside in present_classes(sample.mask, sample.labels):
        found = mask_to_polygons(inside, context.max_loss)
        ious.append(found.iou)
        for ring in parts_to_rings(found.parts):
            numbers = (ring / np.array([width, height])).ravel()
            text = " ".join(f"{number:.{DECIMALS}f}".rstrip("0").rstrip(".") for number in numbers)
            lines.append(f"{yolo_class[index_]} {text}\n")
    split = target.split or DEFAULT_SPLIT
    extension = posixpath.splitext(sample.key)[1] or ".jpg"
    return Written(
        files={f"labels/{split}/{target.stem}.txt": "".join(lines).encode()},
        image_path=f"images/{split}/{target.stem}{extension}",
        record=f"images/{split}/{target.stem}{extension}",
        segment_ious=tuple(ious),
    )


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """data.yaml, and ``<split>.txt`` with the pictures of each split, as CVAT wants them."""
    splits = []
    for split, chosen in samples.by_split(DEFAULT_SPLIT):
        splits.append(split)
        with out.open(f"{split}.txt") as stream:
            stream.writelines(f"{sample.record}\n".encode() for sample in chosen)
    names = [context.labels.names[index_] for index_ in _foreground(context.labels)]
    with out.open(YAML) as stream:
        stream.write(data_yaml(splits, {"names": dict(enumerate(names))}))


def _foreground(labels: LabelMap) -> list[int]:
    return [entry.index for entry in labels.classes if not entry.is_background]


def _labels(listed: LabelMap | None, options: ReadOptions) -> tuple[LabelMap, list[int]]:
    """The label map, and the class index of each YOLO class."""
    if listed is None:
        labels = labels_or(options.labels, "a YOLO folder without data.yaml")
        return labels, _foreground(labels)
    labels = labels_with_background("yolo", listed.names)
    return labels, [labels.index_of(name) for name in listed.names]


def _region(
    line: str, number: int, classes: list[int], size_hw: tuple[int, int], name: str
) -> Region:
    try:
        fields = [float(field) for field in line.split()]
        yolo_class = int(fields[0])
    except (ValueError, OverflowError) as error:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name}: not numbers: {error}") from error
    if len(fields) < 7 or len(fields) % 2 == 0:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name}: a class and at least 3 pairs expected")
    if not 0 <= yolo_class < len(classes) or yolo_class != fields[0]:
        raise DocumentFailure(
            ErrorCode.UNKNOWN_CLASS, f"{name}: class {fields[0]:g} of {len(classes)} classes"
        )
    points = np.array(fields[1:]).reshape(-1, 2)
    if not ((points >= LOWEST) & (points <= HIGHEST)).all():
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{name}: a coordinate outside 0..1; were pixels written?"
        )
    ring = points * (size_hw[1], size_hw[0])
    return Region(classes[yolo_class], rings_to_mask([ring], size_hw, name=name), object_id=number)


def recognise(tree: FileTree) -> str | None:
    """``labels/**/*.txt`` whose first line is a class and numbers from 0 to 1."""
    inside = [name for name in tree.names() if "/labels/" in f"/{name}" and name.endswith(".txt")]
    for name in inside[:MOST_LOOKED_AT]:
        head = tree.read_range(name, 0, LONGEST_LINE).decode("utf-8", "replace")
        if POLYGON_LINE.match(head):
            return f"{name} is a list of YOLO polygons"
        if BOX_LINE.match(head):
            return f"{name} is a list of YOLO boxes"
    return None


YOLO = DatasetFormat(
    bare_shapes=True,
    reader=document_reader(index, read),
    writer=DatasetWriter(write, finish),
    recogniser=recognise,
    needs_images=True,
    polygons=True,
)
