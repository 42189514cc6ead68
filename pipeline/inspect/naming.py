"""Who names the classes of a set of masks: the user, a list beside them, a layout, a famous set."""

import posixpath
from dataclasses import dataclass, replace
from typing import Final

from maskmill.pipeline.datasets.class_lists import listed_at_top, listed_classes
from maskmill.pipeline.datasets.registry import dataset_format
from maskmill.pipeline.datasets.samples import ReadOptions
from maskmill.pipeline.datasets.trees import FileTree, open_tree
from maskmill.pipeline.inspect.conventions import NAMING_LAYOUTS, is_layout
from maskmill.pipeline.inspect.evidence import Convention
from maskmill.pipeline.storage.filesystems import local_path
from maskmill.schemas.errors import DocumentFailure, FileFailure, SettingsError
from maskmill.schemas.labels import LabelMap, builtin

TOLD: Final = "--labels"
LEVELS_ABOVE: Final = 3
"""Folders above the inspected one where Vistas' config may lie; others lie directly above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """The classes, and who says so.

    ``origin`` ends the sentence "classes from"; ``file`` is the list in the tree, ``argument`` what
    --labels needs to be given where no command finds the list by itself. ``failure``: a list is
    there and cannot be used; ``is_above``, where it may belong to something else.
    """

    labels: LabelMap | None = None
    origin: str = ""
    file: str = ""
    argument: str = ""
    failure: str = ""
    is_above: bool = False

    def of_convention(self, convention: Convention, tree: FileTree) -> "Naming":
        """With the classes of the layout or of the famous set, where nobody else names them.

        A list beside a layout whose reader takes other classes names nothing that is converted.
        """
        if self.failure and not self.is_above:
            return self
        found = _of_layout(convention, tree) if self.file or self.labels is None else Naming()
        if self.labels is not None:
            return self if found.labels in (None, self.labels) or self.origin == TOLD else found
        if convention.labels:
            famous = f"the built-in map {convention.labels}"
            labels = builtin(convention.labels)
            found = Naming(labels=labels, origin=famous, argument=convention.labels)
        return replace(found, failure=self.failure, is_above=True) if self.failure else found


def naming_of(path: str, tree: FileTree, masks: list[str]) -> Naming:
    """The classes of the list beside ``masks``, in the tree or above it."""
    folder = posixpath.commonpath([posixpath.dirname(name) for name in masks])
    try:
        found = listed_classes(tree, f"{folder}/" if folder else "")
        if found is not None:
            return Naming(labels=found.labels, origin=found.file, file=found.file)
    except DocumentFailure as failure:
        return Naming(failure=str(failure))
    try:
        return _above(path, folder)
    except DocumentFailure as failure:
        return Naming(failure=str(failure), is_above=True)


def with_labels(naming: Naming, labels: LabelMap | None, argument: str) -> Naming:
    """The user's classes before all others."""
    if labels is None:
        return naming
    failure = "" if naming.is_above else naming.failure
    if naming.file and naming.labels is not None and naming.labels.names != labels.names:
        failure = (
            f"{naming.file} beside the masks names other classes than --labels; commands that read "
            "the masks take its names and look for them in --labels"
        )
    named_so = argument or labels.name
    return Naming(labels=labels, origin=TOLD, argument=named_so, failure=failure)


def _above(path: str, folder: str) -> Naming:
    """A list in the folder above the inspected one, or around the inspected file.

    Vistas' config may lie further up.
    """
    start = local_path(path)
    if start is None or start.lower().endswith((".zip", ".tar")):
        return Naming()
    shown = path.rstrip("/")
    for level in range(1, LEVELS_ABOVE + 1):
        start, _, below = start.rpartition("/")
        if not start:
            break
        shown, folder = posixpath.join(shown, ".."), f"{below}/{folder}"
        try:
            found = listed_at_top(open_tree(start), f"{folder}/", any_name=level == 1)
        except OSError:  # a folder above that may not be listed says nothing
            break
        if found is not None:
            argument = posixpath.normpath(posixpath.join(shown, found.file))
            return Naming(labels=found.labels, origin=argument, argument=argument)
    return Naming()


def _of_layout(convention: Convention, tree: FileTree) -> Naming:
    """The classes that the reader of a recognised layout finds by itself."""
    if convention.format not in NAMING_LAYOUTS or not is_layout(convention):
        return Naming()
    try:
        index = dataset_format(convention.format).load_reader().index(tree, ReadOptions())
    except (FileFailure, SettingsError) as failure:
        return Naming(failure=str(failure))
    return Naming(labels=index.labels, origin=f"the {convention.format} layout")
