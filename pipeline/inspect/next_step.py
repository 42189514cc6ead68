"""The command that comes after an inspection: one that does what it says, or none."""

import posixpath
import shlex
from collections.abc import Sequence

from maskmill.pipeline.datasets.trees import FileTree, exists
from maskmill.pipeline.inspect.conventions import is_layout
from maskmill.pipeline.inspect.evidence import Convention
from maskmill.pipeline.inspect.naming import Naming
from maskmill.pipeline.pictures.names import EXACT_MASK_EXTENSIONS, extension_of


def next_step(
    path: str, tree: FileTree, masks: Sequence[str], convention: Convention, naming: Naming
) -> str:
    """The conversion of the masks to COCO; '' where it would take something for what it is not."""
    source = _source(path, tree, masks, convention)
    needs_labels = convention.format != "panoptic"
    if not (source and convention.format) or (needs_labels and naming.labels is None):
        return ""
    if naming.failure and not naming.is_above:
        return ""
    if convention.format == "binary" and naming.labels and len(naming.labels.classes) != 2:
        return ""
    words = ["maskmill", "convert", source, "OUT", "--from", convention.format, "--to", "coco"]
    if argument := _labels_argument(path, source, convention, naming):
        words += ["--labels", argument]
    if convention.unknown and convention.labels == naming.argument:
        words += ["--unknown", convention.unknown]
    return shlex.join([*words, "--check"])


def _source(path: str, tree: FileTree, masks: Sequence[str], convention: Convention) -> str:
    """What `convert` is to be pointed at: a layout's root, a document, or the masks' own folder.

    '' where the conversion would find other files there than the masks.
    """
    if convention.format == "panoptic":
        return _panoptic_source(path, tree)
    if tree.selected is not None or is_layout(convention):
        return path
    known, is_archive = set(masks), path.lower().endswith((".zip", ".tar"))
    inside = posixpath.commonpath([posixpath.dirname(name) for name in masks])
    folder = f"{inside}/" if inside and not is_archive else ""
    others = (
        name
        for name in tree.names()
        if name.startswith(folder) and extension_of(name) in EXACT_MASK_EXTENSIONS
    )
    if any(name not in known for name in others):
        return ""
    return f"{path.rstrip('/')}/{inside}" if folder else path


def _panoptic_source(path: str, tree: FileTree) -> str:
    """The document's tree: the PNGs alone name no class."""
    if any("panoptic" in name for name in tree.names() if name.endswith(".json")):
        return path
    beside = f"{path.rstrip('/')}.json"
    return beside if exists(beside) else ""


def _labels_argument(path: str, source: str, convention: Convention, naming: Naming) -> str:
    """What --labels needs: nothing where the reader finds the list itself, or knows the set."""
    if naming.file:
        is_inside = source == path or f"{path.rstrip('/')}/{naming.file}".startswith(f"{source}/")
        return "" if is_inside else f"{path.rstrip('/')}/{naming.file}"
    if is_layout(convention) and convention.labels == naming.argument:
        return ""
    return naming.argument
