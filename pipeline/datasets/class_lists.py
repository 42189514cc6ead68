"""The label files of datasets: read by schemas/label_files, failing as files of a dataset fail."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from maskmill.pipeline.datasets.trees import FileTree
from maskmill.schemas import label_documents
from maskmill.schemas.errors import DocumentFailure, ErrorCode, SettingsError
from maskmill.schemas.json_text import parse_json
from maskmill.schemas.label_documents import is_vistas_config
from maskmill.schemas.label_files import parse_label_map
from maskmill.schemas.labels import LabelMap

CLASS_LISTS: Final = (
    "labels.json", "dataset_meta.json", "id2label.json",
    "labelmap.txt", "label_colors.txt", "class_names.txt", "classes.txt", "labels.txt",
    "obj.names", "obj_names", "_classes.csv", "class_dict.csv", "objectInfo.csv",
)  # fmt: skip
"""Names under which class lists lie beside masks, whatever program wrote them."""
VISTAS_CONFIG: Final = re.compile(r"config(?:_(v\d+\.\d+))?\.json")
"""Mapillary Vistas' lists: one per version, each for the masks below a folder of its version."""


def read_labels(tree: FileTree, name: str, *, kind: str | None = None) -> LabelMap:
    """The label map in a file of a dataset; ``kind`` as in ``parse_label_map``.

    Raises:
        DocumentFailure: no label file, naming file and line.
        FileFailure: it cannot be read.
    """
    data = tree.read(name)
    with label_file(name):
        return parse_label_map(data.decode("utf-8-sig"), name=name, kind=kind)


@contextmanager
def label_file(name: str) -> Iterator[None]:
    """What is wrong with a label file, as a failure of a file of the dataset."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name} is not UTF-8: {error}") from error
    except SettingsError as error:
        raise DocumentFailure(ErrorCode.MALFORMED, str(error)) from error


@dataclass(frozen=True, slots=True)
class ListedClasses:
    """The classes that a list beside masks names, and the list's file in the tree."""

    file: str
    labels: LabelMap


def is_class_list(name: str) -> bool:
    """True for a file that is called as class lists are, in whatever folder."""
    return name.rpartition("/")[2] in CLASS_LISTS


def class_list(tree: FileTree, folder: str = "") -> LabelMap | None:
    """The classes of :func:`listed_classes`. Raises as it does."""
    found = listed_classes(tree, folder)
    return None if found is None else found.labels


def listed_classes(tree: FileTree, folder: str = "") -> ListedClasses | None:
    """The class list beside the masks of ``folder`` ('' or with a slash at its end).

    It lies in the folder itself or above it; where there is none, in folders below. None where
    none lies there, and where a single file was pointed at.

    Raises:
        DocumentFailure: one that is broken, or two that disagree.
    """
    if tree.selected is not None:
        return None
    return _agreed(tree, _lists(tree, folder))


def listed_at_top(tree: FileTree, folder: str, *, any_name: bool) -> ListedClasses | None:
    """The class list at the top of a tree, which is not listed further down.

    ``folder`` is where the masks are; without ``any_name`` only Vistas' config is taken.

    Raises:
        DocumentFailure: one that is broken, or two that disagree.
    """
    tops = sorted(tree.tops())
    names = [name for name in tops if any_name or VISTAS_CONFIG.fullmatch(name)]
    return _agreed(tree, [name for name in names if _is_list(tree, name, folder)])


def _agreed(tree: FileTree, names: Sequence[str]) -> ListedClasses | None:
    found = {name: read_labels(tree, name) for name in names}
    first = next(iter(found.items()), None)
    if first is None:
        return None
    for name, labels in found.items():
        if labels.names != first[1].names:
            raise DocumentFailure(
                ErrorCode.MALFORMED,
                f"{tree.uri}: {first[0]} and {name} name other classes; keep the one that is right",
            )
    return ListedClasses(*first)


def _lists(tree: FileTree, folder: str) -> list[str]:
    """Files that are class lists: the nearest above the masks, else all below."""
    known = [name for name in tree.names() if _is_list(tree, name, folder)]
    parts = folder.rstrip("/").split("/") if folder else []
    for depth in range(len(parts), -1, -1):
        here = "".join(f"{part}/" for part in parts[:depth])
        beside = [name for name in known if name.rpartition("/")[0] == here.rstrip("/")]
        if beside:
            return beside
    return known


def _is_list(tree: FileTree, name: str, folder: str) -> bool:
    """By its name; a ``config.json``, which many programs write, by what is in it too."""
    base = name.rpartition("/")[2]
    found = VISTAS_CONFIG.fullmatch(base)
    if found is None:
        return base in CLASS_LISTS
    version = found.group(1)
    if version is not None and re.search(r"v\d+\.\d+/", folder) and f"{version}/" not in folder:
        return False
    try:
        return is_vistas_config(parse_json(tree.read(name), name))
    except DocumentFailure:
        return False


def labels_of_categories(categories: Sequence[Mapping[str, Any]], name: str) -> LabelMap:
    """COCO ``categories`` of a document of a dataset as a label map.

    Raises:
        DocumentFailure: an entry without id or name, or with values of the wrong kind.
    """
    with label_file(name):
        return label_documents.labels_from_categories(categories, name)
