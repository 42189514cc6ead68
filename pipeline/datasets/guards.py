"""Documents come from anywhere: a field of the wrong kind is their failure, not a crash."""

from collections.abc import Callable
from functools import wraps
from typing import Final

from maskmill.pipeline.datasets.item_spool import ItemSpool
from maskmill.pipeline.datasets.samples import (
    DatasetIndex,
    DatasetReader,
    ReadContext,
    ReadOptions,
    Sample,
    SampleItem,
)
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.schemas.errors import DocumentFailure, ErrorCode

WRONG_SHAPE: Final = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
"""What Python raises when a document has another shape than its format says."""


def document_reader(
    index: Callable[[FileTree, ReadOptions], DatasetIndex],
    read: Callable[[SampleItem, ReadContext], Sample],
) -> DatasetReader:
    """A reader of documents whose missing or foreign fields become typed failures.

    Only for formats that are documents: in any other code these exceptions are bugs.
    """

    @wraps(index)
    def guarded_index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
        try:
            found = index(tree, options)
            items = found.items if isinstance(found.items, ItemSpool) else ItemSpool(found.items)
            return DatasetIndex(labels=found.labels, items=items, extras=found.extras)
        except WRONG_SHAPE as error:
            raise _misshapen(tree.uri, error) from error

    @wraps(read)
    def guarded_read(item: SampleItem, context: ReadContext) -> Sample:
        try:
            return read(item, context)
        except WRONG_SHAPE as error:
            raise _misshapen(item.key, error) from error

    return DatasetReader(guarded_index, guarded_read)


def _misshapen(name: str, error: Exception) -> DocumentFailure:
    return DocumentFailure(
        ErrorCode.MALFORMED,
        f"{name}: the document lacks a field or has one of the wrong kind: {error!r}",
    )
