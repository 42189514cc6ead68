"""Whether a "Segmentation mask 1.1" zip will import into CVAT: its rules, checked one by one."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.datasets.class_lists import read_labels
from maskmill.pipeline.datasets.documents.labelmap_txt import BLACK
from maskmill.pipeline.datasets.formats import voc
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.pipeline.datasets.vocabulary import text_lines
from maskmill.pipeline.masks.picture import open_picture
from maskmill.pipeline.masks.run_lengths import value_counts
from maskmill.schemas.errors import FileFailure
from maskmill.schemas.labels import Color, LabelMap, voc_color

Packed = npt.NDArray[np.int64]
"""(H, W) R * 65536 + G * 256 + B, as CVAT sees a mask after its palette is expanded."""


def validate(tree: FileTree) -> Iterator[str]:
    """A sentence for everything that CVAT would refuse or misread.

    The rules: labelmap.txt with a black background and no colour twice; every listed name has a
    class mask and an object mask of one size; class colours are declared; object colours are of
    the VOC colormap and 0 exactly where there is background; an object has one class.
    """
    if voc.LABELMAP not in tree.names():
        yield "labelmap.txt is missing"
        return
    try:
        labels = read_labels(tree, voc.LABELMAP, kind="labelmap")
    except FileFailure as failure:
        yield str(failure)
        return
    yield from _label_problems(labels)
    lists = [name for name in tree.names() if name.startswith(voc.LISTS)]
    if not lists:
        yield f"{voc.LISTS} holds no list"
    for name in lists:
        for stem in text_lines(tree.read(name), name):
            yield from (f"{stem}: {problem}" for problem in _sample_problems(tree, stem, labels))


def _label_problems(labels: LabelMap) -> Iterator[str]:
    colors = [entry.color for entry in labels.classes]
    if len(set(colors)) < len(colors):
        yield "labelmap.txt gives two labels one colour"
    black = [entry.name for entry in labels.classes if entry.color == BLACK]
    if black != ["background"] and not (black and labels.background_index is not None):
        yield "labelmap.txt has no background line of colour 0,0,0"


def _sample_problems(tree: FileTree, stem: str, labels: LabelMap) -> Iterator[str]:
    paths = [f"{folder}{stem}.png" for folder in (voc.CLASSES, voc.OBJECTS)]
    missing = [path for path in paths if not tree.has(path)]
    if missing:
        yield f"{missing[0]} is missing; without object masks background becomes a shape"
        return
    try:
        classes, objects = (_colors(tree.read(path), path) for path in paths)
    except FileFailure as failure:
        yield str(failure)
        return
    if classes.shape != objects.shape:
        yield f"class mask {classes.shape} and object mask {objects.shape} differ in size"
        return
    found = value_counts(objects << 24 | classes)[0]
    pairs = list(zip((found >> 24).tolist(), (found & 0xFFFFFF).tolist(), strict=True))
    undeclared = {color for _, color in pairs} - {_packed(entry.color) for entry in labels.classes}
    if undeclared:
        yield f"class colour {_text(min(undeclared))} is not declared in labelmap.txt"
    foreign = {color for color, _ in pairs} - _voc_colors()
    if foreign:
        yield f"object colour {_text(min(foreign))} is not in the VOC colormap"
    if any((of_object == 0) != (of_class == 0) for of_object, of_class in pairs):
        yield "objects do not cover exactly what is not background"
    if len({color for color, _ in pairs}) < len(pairs):
        yield "one object lies in two classes; CVAT gives it one label"


@cache
def _voc_colors() -> frozenset[int]:
    return frozenset(_packed(voc_color(index)) for index in range(255))


def _colors(data: bytes, name: str) -> Packed:
    rgb = np.asarray(open_picture(data, name=name).image.convert("RGB")).astype(np.int64)
    packed: Packed = rgb[:, :, 0] << 16 | rgb[:, :, 1] << 8 | rgb[:, :, 2]
    return packed


def _packed(color: Color) -> int:
    return color[0] << 16 | color[1] << 8 | color[2]


def _text(value: int) -> str:
    return f"{value >> 16},{value >> 8 & 255},{value & 255}"
