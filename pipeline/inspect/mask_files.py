"""Which files of a tree are masks, and which picture belongs to each."""

import posixpath
import re
from collections.abc import Iterable, Sequence
from typing import Final

from maskmill.pipeline.audit.pair_rules import SUFFIXES
from maskmill.pipeline.datasets.picture_sizes import picture_beside, picture_size
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.pipeline.pictures.names import LOSSY_EXTENSIONS, MASK_EXTENSIONS
from maskmill.schemas.errors import FileFailure

PICTURE_FOLDERS: Final = (
    "JPEGImages/", "images/", "images_png/", "image_2/", "img/", "imgs/", "img_dir/",
    "leftImg8bit/", "overlays/", "input_images/", "train_images/", "val_images/", "test_images/",
    "RGB/", "rgb/",
)  # fmt: skip
OTHER_FOLDERS: Final = (
    "SegmentationObject/", "SegmentationObjectPNG/", "SegmentationClassVisualization/",
    "SegmentationObjectVisualization/", "report/", "predictions/", "instance/", "instances/",
    "panoptic/", "semantic_rgb/", "colormaps/", "color_labels/",
)  # fmt: skip
OTHER_SUFFIXES: Final = (
    "_instanceIds.png", "_color.png", "_instanceTrainIds.png", "_train_color.png",
    "_semantic_colored.png", "_instance_colored.png",
)  # fmt: skip
"""Objects, and copies for the eye: masks only where there are no others."""
PARTS: Final = re.compile(r"_parts_\d+\.png$")
OBJECTS: Final = re.compile(r"(?:^|/)instance_\d+_[^/]+\.png$")
"""Masks of parts of objects, and of single objects, in the full ADE20K set."""


def mask_names(tree: FileTree) -> list[str]:
    """The files that are masks: not pictures, object masks, or copies for the eye."""
    if tree.selected is not None:
        return [tree.selected] if tree.selected.lower().endswith(MASK_EXTENSIONS) else []
    every = [name for name in tree.names() if name.lower().endswith(MASK_EXTENSIONS)]
    annotated = [name for name in every if name.split("/", 1)[0].endswith("annot")]
    outside = [name for name in every if not _lies_in(name, PICTURE_FOLDERS)]
    classes = [name for name in annotated or outside if not _is_beside_classes(name)]
    return _best_kind(classes) or _best_kind(outside) or _best_kind(every)


def _is_beside_classes(name: str) -> bool:
    return name.endswith(OTHER_SUFFIXES) or _lies_in(name, OTHER_FOLDERS)


def _best_kind(names: Sequence[str]) -> list[str]:
    """Of Cityscapes' two label masks per picture the labelIds; of ADE20K's no parts or objects."""
    whole = [name for name in names if not PARTS.search(name)]
    if any(name.endswith("_seg.png") for name in whole):
        whole = [name for name in whole if not OBJECTS.search(name)]
    has_ids = any(name.endswith("_labelIds.png") for name in whole)
    return _exact_first(
        [name for name in whole if not (has_ids and name.endswith("_labelTrainIds.png"))]
    )


def may_be_masks(name: str) -> bool:
    """False for what lies where pictures do, or loses pixels as photographs do."""
    return not name.lower().endswith(LOSSY_EXTENSIONS) and not _lies_in(name, PICTURE_FOLDERS)


def _exact_first(candidates: Sequence[str]) -> list[str]:
    """Without JPEGs that are the pictures of other files."""
    exact = [name for name in candidates if not name.lower().endswith(LOSSY_EXTENSIONS)]
    stems = {posixpath.splitext(name)[0] for name in exact}
    bases = {_role_free(name) for name in exact}
    lossy = [
        name
        for name in candidates
        if name.lower().endswith(LOSSY_EXTENSIONS)
        and posixpath.splitext(name)[0] not in stems
        and _role_free(name) not in bases
    ]
    return sorted([*exact, *lossy])


def picture_sizes(
    names: Sequence[str], tree: FileTree, images: FileTree | None
) -> dict[str, tuple[int, int]] | None:
    """(height, width) of each mask's picture, by mask name; None where no mask has one.

    Pictures are matched by path without extension, then by file name without its role's ending.
    """
    masks = set(names)
    where = images or tree
    pictures = {
        stem: name
        for stem, name in picture_beside(where).items()
        if images is not None or (name not in masks and not _is_beside_classes(name))
    }
    by_base: dict[str, list[str]] = {}
    for name in pictures.values():
        by_base.setdefault(_role_free(name), []).append(name)
    found: dict[str, tuple[int, int]] = {}
    for name in names:
        same = by_base.get(_role_free(name), [])
        picture = pictures.get(posixpath.splitext(name)[0]) or (same[0] if len(same) == 1 else None)
        if picture is None or (images is None and picture == name):
            continue
        try:
            found[name] = picture_size(where, picture)
        except FileFailure:
            continue
    return found if found or images is not None else None


def _role_free(name: str) -> str:
    stem = posixpath.splitext(posixpath.basename(name))[0]
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if stem.endswith(suffix) and len(stem) > len(suffix):
            return stem.removesuffix(suffix)
    return stem


def _lies_in(name: str, folders: Iterable[str]) -> bool:
    return any(f"/{folder}" in f"/{name}" for folder in folders)
