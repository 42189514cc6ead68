"""The beginnings of documents: enough to see what they are, cheap however large they are."""

from collections.abc import Iterator
from typing import Final

from maskmill.pipeline.datasets.trees import FileTree

HEAD_BYTES: Final = 1 << 16
MOST_HEADS: Final = 3


def heads(tree: FileTree, *suffixes: str) -> Iterator[tuple[str, str]]:
    """(name, first 64 KiB as text) of the first few files that end so, or of the one selected.

    Bytes that are not UTF-8 come as replacement characters: nothing is decided by them.

    Raises:
        FileFailure: a document that cannot be read.
    """
    names = tree.names() if tree.selected is None else (tree.selected,)
    found = [name for name in names if name.lower().endswith(suffixes)]
    for name in found[:MOST_HEADS]:
        yield name, tree.read_range(name, 0, HEAD_BYTES).decode("utf-8", "replace").lstrip("\ufeff")
