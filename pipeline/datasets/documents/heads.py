"""The beginnings of documents: enough to see what they are, cheap however large they are."""

import re
from collections.abc import Iterator
from typing import Final

from maskmill.pipeline.datasets.trees import FileTree

HEAD_BYTES: Final = 1 << 16
MOST_HEADS: Final = 3
TOKENS: Final = re.compile(r'"(?:[^"\\]|\\.)*"(?P<key>\s*:)?|(?P<open>[\[{])|[\]}]', re.DOTALL)
COCO_LISTS: Final = frozenset({"images", "annotations", "categories"})


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


def top_lists(head: str) -> Iterator[str]:
    """Keys of the JSON object that begins so whose values are lists: not those of objects in it."""
    depth, key = 0, ""
    for token in TOKENS.finditer(head.lstrip()):
        text = token.group()
        if token["open"]:
            if depth == 1 and text == "[" and key:
                yield key
            depth, key = depth + 1, ""
        elif text in "]}":
            depth, key = depth - 1, ""
        else:
            key = text[1 : text.rindex('"')] if token["key"] and depth == 1 else ""


def begins_as_coco(head: str) -> bool:
    """True for an object with a list that COCO's documents have at their top."""
    return head.lstrip().startswith("{") and not COCO_LISTS.isdisjoint(top_lists(head))
