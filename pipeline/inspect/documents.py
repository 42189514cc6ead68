"""What `inspect` says of a dataset whose labels are in documents: the step that comes next."""

import shlex
from itertools import islice

from maskmill.pipeline.datasets.bare_shapes import LOOKED_AT, count_bare, in_words
from maskmill.pipeline.datasets.recognition import Recognition
from maskmill.pipeline.datasets.registry import dataset_format
from maskmill.pipeline.datasets.samples import ReadContext, ReadOptions
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.schemas.errors import FileFailure, SettingsError


def holds_boxes_alone(tree: FileTree, document: Recognition) -> str:
    """A sentence where the first pictures have boxes, tags and the like and no mask, else ''.

    What cannot be read decides nothing here: the conversion says what is wrong with it.
    """
    reader = dataset_format(document.format).load_reader()
    try:
        index = reader.index(tree, ReadOptions())
    except (FileFailure, SettingsError):
        return ""
    context = ReadContext(tree=tree, labels=index.labels, extras=index.extras)
    bare = count_bare(reader, islice(index.items, LOOKED_AT), context)
    if not bare:
        return ""
    return (
        f"{document.reason}, but the first pictures (at most {LOOKED_AT}) have {in_words(bare)} "
        "and no mask: export polygons or masks from the tool that made it"
    )


def conversion(path: str, document: Recognition) -> str:
    """The command that makes masks of a document."""
    command = f"maskmill convert {shlex.quote(path)} OUT --from {document.format}"
    return f"{command} --to indexed --check"
