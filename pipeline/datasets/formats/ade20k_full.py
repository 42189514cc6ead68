"""ADE20K full set (read): ``_seg.png`` with class numbers and instances, names in a list beside it.

Facts: the dataset's own README and loader. In ``_seg.png`` the class number is R // 10 * 256 + G,
and the distinct values of B, in order, are the instances 1, 2, … of the list beside it: lines
``instance # part level # occluded # class # raw name # "attributes"`` of ``_atr.txt`` (2016), or
``annotation.object`` of a JSON (2020), which also tells the class number as ``name_ndx``.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.guards import document_reader
from maskmill.pipeline.datasets.item_spool import ItemSpool
from maskmill.pipeline.datasets.samples import (
    DatasetIndex,
    ReadContext,
    ReadOptions,
    Sample,
    SampleItem,
)
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.pipeline.datasets.vocabulary import labels_or
from maskmill.pipeline.masks.picture import open_picture
from maskmill.pipeline.masks.run_lengths import distinct
from maskmill.pipeline.masks.values import cast_to_mask
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.json_text import parse_json
from maskmill.schemas.labels import labels_with_background

SUFFIX: Final = "_seg.png"
LISTS: Final = ("_atr.txt", ".json")
COLUMNS: Final = 6
NO_CLASS: Final = 0

Numbers = npt.NDArray[np.int32]


def index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """Every ``*_seg.png``. Labels: the names of the lists beside them, all of which are read.

    Without such lists ``--labels`` tells the classes, by their numbers as category ids.

    Raises:
        DocumentFailure: no such file, or a broken list.
        SettingsError: neither lists nor a label map.
    """
    numbers: dict[str, int] = {}
    items = ItemSpool()
    has_lists = False
    for name in tree.names():
        if not name.endswith(SUFFIX):
            continue
        stem = name.removesuffix(SUFFIX)
        beside = next((stem + ending for ending in LISTS if tree.has(stem + ending)), None)
        items.append(SampleItem(key=f"{stem}.jpg", payload={"mask": name, "list": beside}))
        if beside is not None:
            has_lists = True
            for number, label in _listed(tree, beside).values():
                numbers[label] = max(number, numbers.get(label, NO_CLASS))
    if not items:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{tree.uri} holds no *{SUFFIX}")
    if not has_lists:
        labels = labels_or(options.labels, "a full ADE20K set without _atr.txt or .json files")
    else:
        labels = labels_with_background("ade20k full", sorted(numbers), category_ids=numbers)
    return DatasetIndex(labels=labels, items=items, extras={"by_name": has_lists})


def read(item: SampleItem, context: ReadContext) -> Sample:
    """Class numbers through the list beside the mask, else by category id; 0 is background.

    Raises:
        DocumentFailure: a class number that nothing explains, or a list that contradicts the mask.
    """
    name = item.payload["mask"]
    pixels = np.asarray(
        open_picture(context.tree.read(name), name=name).image.convert("RGB")
    ).astype(np.int32)
    numbers = pixels[:, :, 0] // 10 * 256 + pixels[:, :, 1]
    values, places = distinct(numbers)
    instances, instance_places = distinct(pixels[:, :, 2])
    objects: Numbers = (instance_places + (instances[0] != 0)).astype(np.int32)
    if context.extras["by_name"]:
        known = _named(item, context, numbers, objects)
    else:
        known = {entry.category_id: entry.index for entry in context.labels.classes}
    at = context.labels.background_index
    known[NO_CLASS] = context.labels.ignore_index if at is None else at
    _refuse_unknown([value for value in values.tolist() if value not in known], name, context)
    table = [known.get(value, context.labels.ignore_index) for value in values.tolist()]
    return Sample(
        key=item.key,
        mask=cast_to_mask(np.array(table)[places], context.labels),
        labels=context.labels,
        image=item.key if context.tree.has(item.key) else None,
        objects=objects,
    )


def _named(
    item: SampleItem, context: ReadContext, numbers: Numbers, objects: Numbers
) -> dict[int, int]:
    """Class index by class number, for the numbers of one picture."""
    beside = item.payload["list"]
    if beside is None:
        raise DocumentFailure(
            ErrorCode.MALFORMED,
            f"{item.payload['mask']}: neither _atr.txt nor .json beside it names its classes",
        )
    listed = _listed(context.tree, beside)
    if all(number for number, _ in listed.values()):
        return {number: context.labels.index_of(label) for number, label in listed.values()}
    found: dict[int, str] = {}
    pairs = np.unique(np.stack([numbers.ravel(), objects.ravel()]), axis=1)
    for number, instance in pairs.T.tolist():
        label = listed.get(instance, (0, None))[1]
        if number == NO_CLASS or label is None:
            continue
        if found.setdefault(number, label) != label:
            raise DocumentFailure(
                ErrorCode.MALFORMED,
                f"{beside}: class number {number} is {found[number]!r} and {label!r}",
            )
    return {number: context.labels.index_of(label) for number, label in found.items()}


def _listed(tree: FileTree, name: str) -> dict[int, tuple[int, str]]:
    """(class number or 0, class name) by instance, of whole objects; parts are left out."""
    if name.endswith(".json"):
        return _from_json(parse_json(_latin(tree.read(name)), name), name)
    found = {}
    for number, line in enumerate(_latin(tree.read(name)).decode().splitlines(), 1):
        columns = [column.strip() for column in line.split("#")]
        if len(columns) == 1 and not columns[0]:
            continue
        if len(columns) < COLUMNS or not (columns[0].isdigit() and columns[1].isdigit()):
            raise DocumentFailure(
                ErrorCode.MALFORMED,
                f"{name}, line {number}: {line!r} is not instance # part level # … # attributes",
            )
        if columns[1] == "0":
            found[int(columns[0])] = NO_CLASS, columns[3]
    return found


def _from_json(document: Mapping[str, Any], name: str) -> dict[int, tuple[int, str]]:
    try:
        return {
            place: (int(entry["name_ndx"]), str(entry["name"]))
            for place, entry in enumerate(document["annotation"]["object"], 1)
            if int(entry.get("parts", {}).get("part_level", 0)) == 0
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{name} is no annotation of ADE20K: {error!r}"
        ) from error


def _latin(data: bytes) -> bytes:
    """UTF-8 bytes of a list, which the dataset writes in UTF-8 or in Latin-1."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1").encode()
    return data


def _refuse_unknown(unknown: list[int], name: str, context: ReadContext) -> None:
    if unknown and context.unknown == "error":
        where = "in the list beside it" if context.extras["by_name"] else "a category id"
        raise DocumentFailure(
            ErrorCode.UNKNOWN_CLASS,
            f"{name}: class numbers {unknown[:10]} are not {where} of {context.labels.name!r}",
        )


def recognise(tree: FileTree) -> str | None:
    """A ``*_seg.png`` with its list beside it."""
    names = {name for name in tree.names() if name.endswith((SUFFIX, *LISTS))}
    for name in names:
        stem = name.removesuffix(SUFFIX)
        if stem != name and any(stem + ending in names for ending in LISTS):
            return f"*{SUFFIX} with lists of their objects beside them"
    return None


ADE20K_FULL = DatasetFormat(reader=document_reader(index, read), recogniser=recognise)
