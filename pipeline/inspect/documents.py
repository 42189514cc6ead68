"""What `inspect` says of a dataset whose labels are in documents: the step that comes next."""

import shlex
from itertools import islice
from typing import Final

from maskmill.pipeline.datasets.left_out import BOXES, KEYPOINTS
from maskmill.pipeline.datasets.recognition import Recognition
from maskmill.pipeline.datasets.registry import dataset_format
from maskmill.pipeline.datasets.samples import ReadContext, ReadOptions, Sample
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.schemas.errors import FileFailure, SettingsError

LOOKED_AT: Final = 32
"""Pictures whose labels are read to see whether there is any mask."""


def holds_boxes_alone(tree: FileTree, document: Recognition) -> str:
    """A sentence where the first pictures have boxes or key points and not one mask, else ''.

    What cannot be read decides nothing here: the conversion says what is wrong with it.
    """
    reader = dataset_format(document.format).load_reader()
    try:
        index = reader.index(tree, ReadOptions())
    except (FileFailure, SettingsError):
        return ""
    context = ReadContext(tree=tree, labels=index.labels, extras=index.extras)
    looked_at = bare = 0
    for item in islice(index.items, LOOKED_AT):
        try:
            sample = reader.read(item, context)
        except FileFailure:
            continue
        if _has_mask(sample):
            return ""
        looked_at += 1
        bare += sum(n for one, n in sample.left_out.items() if one.kind in (BOXES, KEYPOINTS))
    if not bare:
        return ""
    return (
        f"{document.reason}, but the first {looked_at} pictures have {bare} boxes or key points "
        "and no mask: export polygons or masks from the tool that made it"
    )


def _has_mask(sample: Sample) -> bool:
    return bool((sample.mask != sample.labels.background_index).any())


def conversion(path: str, document: Recognition) -> str:
    """The command that makes masks of a document."""
    command = f"maskmill convert {shlex.quote(path)} OUT --from {document.format}"
    return f"{command} --to indexed --check"
