"""Documents come from anywhere: a field of the wrong kind is their failure, not a crash."""

from collections.abc import Callable, Container, Iterator
from dataclasses import replace
from functools import wraps
from typing import Final

from maskmill.pipeline.datasets.item_spool import NAMES, ItemSpool
from maskmill.pipeline.datasets.samples import (
    DatasetIndex,
    DatasetReader,
    ReadContext,
    ReadOptions,
    Sample,
    SampleItem,
)
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.pipeline.storage.sorted_table import SortedTable
from maskmill.schemas.errors import DocumentFailure, ErrorCode

REFUSED: Final = "refused"
"""Field of a payload that holds why the entry is refused (code and sentence), instead of what its
reader needs."""

WRONG_SHAPE: Final = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
"""What Python raises when a document has another shape than its format says."""


def document_reader(
    index: Callable[[FileTree, ReadOptions], DatasetIndex],
    read: Callable[[SampleItem, ReadContext], Sample],
) -> DatasetReader:
    """A reader of documents whose missing or foreign fields become typed failures.

    A picture's name that cannot be, or comes twice in a split, costs that entry and no other.

    Only for formats that are documents: in any other code these exceptions are bugs.
    """

    @wraps(index)
    def guarded_index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
        try:
            found = index(tree, options)
            items = ItemSpool(_with_usable_keys(ItemSpool(_told_apart(ItemSpool(found.items)))))
            return replace(found, items=items)
        except WRONG_SHAPE as error:
            raise misshapen(tree.uri, error) from error

    @wraps(read)
    def guarded_read(item: SampleItem, context: ReadContext) -> Sample:
        if _is_refused(item):
            code, sentence = item.payload[REFUSED]
            raise DocumentFailure(ErrorCode(code), sentence)
        try:
            return read(item, context)
        except WRONG_SHAPE as error:
            raise misshapen(item.key, error) from error

    return DatasetReader(guarded_index, guarded_read)


def refused_item(key: str, failure: DocumentFailure, split: str = "") -> SampleItem:
    """An entry that fails when it is read: it costs itself, and its row says why."""
    return SampleItem(key=key, split=split, payload={REFUSED: [failure.code.value, str(failure)]})


def misshapen(name: str, error: Exception) -> DocumentFailure:
    """One of WRONG_SHAPE as what is wrong with the document or entry ``name``."""
    return DocumentFailure(
        ErrorCode.MALFORMED,
        f"{name}: the document lacks a field or has one of the wrong kind: {error!r}",
    )


def _told_apart(items: ItemSpool) -> Iterator[SampleItem]:
    """The items; names that several splits have are told apart by their split's folder."""
    splits: dict[str, set[str]] = {}
    for table in SortedTable(items.names(), NAMES, by="key").alike():
        for row in table.to_pylist():
            splits.setdefault(row["key"], set()).add(row["split"])
    for item in items:
        is_shared = len(splits.get(item.key, ())) > 1 and item.split
        yield replace(item, key=f"{item.split}/{item.key}") if is_shared else item


def _with_usable_keys(items: ItemSpool) -> Iterator[SampleItem]:
    """The items; one whose key cannot be, or comes twice, is refused when it is read.

    It gets the nearest key that can be, so that its row says what became of it. Only where there
    is such an item are all keys held.
    """
    keys = SortedTable(items.names(), NAMES, by="key")
    faulty = any(_key_fault(key, ()) for table in keys for key in table["key"].to_pylist())
    if not faulty and not any(table.num_rows for table in keys.alike()):
        yield from items
        return
    seen: set[str] = set()
    for item in items:
        reason = _key_fault(item.key, seen)
        if reason is None:
            seen.add(item.key)
            yield item
            continue
        parts = item.key.replace("\0", "").replace("\\", "/").split("/")
        stem = "/".join(part for part in parts if part not in ("", ".", "..")) or "nameless"
        key, number = stem, 2
        while key in seen:
            key, number = f"{stem} ({number})", number + 1
        seen.add(key)
        sentence = f"the document names a picture {item.key!r}, {reason}"
        failure = DocumentFailure(ErrorCode.UNSAFE_PATH, sentence)
        payload = item.payload if _is_refused(item) else refused_item(key, failure).payload
        yield SampleItem(key=key, split=item.split, payload=payload)


def _is_refused(item: SampleItem) -> bool:
    return isinstance(item.payload, dict) and REFUSED in item.payload


def _key_fault(key: str, seen: Container[str]) -> str | None:
    if key in seen:
        return "which it has named before"
    if "://" in key:
        return "an address, not a file of the dataset"
    if "\0" in key or "\\" in key:
        return "which is no file name"
    if not key or {"", ".", ".."} & set(key.split("/")):
        return "which is no path inside the dataset"
    return None
