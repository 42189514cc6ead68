"""Ultralytics' ``data.yaml``: where the pictures of each split are, what the classes are called."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from maskmill.pipeline.datasets.class_lists import label_file, read_labels
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.schemas.label_documents import parse_yaml
from maskmill.schemas.labels import LabelMap

YAML: Final = "data.yaml"
DEFAULT_SPLIT: Final = "train"
SPLITS: Final = frozenset({"train", "val", "test", "valid"})
_FOLDER: Final = re.compile(r"(?:\./)?images/([^/]+)/?")


def read_yaml(tree: FileTree) -> tuple[LabelMap | None, Mapping[str, Any]]:
    """The classes and all of the first yaml at the top that has ``names``; nothing without one.

    Raises:
        DocumentFailure: a yaml that is none, or names that do not count from 0.
    """
    found = [name for name in tree.names() if name.endswith((".yaml", ".yml")) and "/" not in name]
    for name in found:
        with label_file(name):
            document = parse_yaml(tree.read(name).decode("utf-8-sig"), name)
        if isinstance(document, Mapping) and isinstance(document.get("names"), Mapping | list):
            return read_labels(tree, name, kind="yaml"), document
    return None, {}


def split_folders(document: Mapping[str, Any]) -> frozenset[str]:
    """The folders below ``images/`` that are splits: the usual ones, and those that it names."""
    named = (_FOLDER.fullmatch(value) for value in document.values() if isinstance(value, str))
    return SPLITS | {match.group(1) for match in named if match}


def data_yaml(splits: Sequence[str], others: Mapping[str, Any]) -> bytes:
    """The document for ``images/<split>`` folders, then ``others``.

    It names no ``path``: ultralytics 8.4 then takes the file's own folder, while "." would be
    wherever the program is started. ``train`` and ``val`` must be there, empty where there is no
    such split: pictures listed twice would be imported twice by CVAT.
    """
    document: dict[str, Any] = {name: f"images/{name}" for name in splits}
    document = {"train": [], "val": [], **document, **others}
    return bytes(yaml.safe_dump(document, allow_unicode=True, sort_keys=False).encode())
