"""Where in a tree the picture lies that a document or a key names: exporters move folders about."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache

from maskmill.pipeline.datasets.picture_sizes import picture_size
from maskmill.pipeline.datasets.samples import ReadContext
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.pipeline.masks.declared_size import declared_size
from maskmill.pipeline.pictures.names import IMAGE_EXTENSIONS, extension_of, stem_of
from maskmill.schemas.errors import DocumentFailure, ErrorCode


def find_picture(tree: FileTree, *names: str | None, near: str = "") -> str | None:
    """The picture of ``tree`` that one of ``names`` means, None where there is none.

    A name is a path in the tree; or the end of one, as after a move into ``images/train``; or
    that end without extension. Of several that end so, the one with most folders that ``near``
    names too is taken.

    Raises:
        DocumentFailure: AMBIGUOUS_PAIR where that, too, leaves several.
    """
    known = [name for name in names if name]
    for name in known:
        if name in _pictures(tree):
            return name
    for name in known:
        for wanted in (name, stem_of(name)):
            found = [one for one in _by_file_stem(tree).get(_file_stem(name), ()) if
                     _ends_with(one, wanted)]  # fmt: skip
            if found:
                return _nearest(found, near, name, tree)
    return None


def told_size(
    context: ReadContext, told: tuple[object, object], name: str, *more: str
) -> tuple[int, int]:
    """(height, width) that a document tells, else that of the picture it names.

    Raises:
        DocumentFailure: it tells none, and the picture is not there; or as ``declared_size``.
        ImageFailure: the picture is there, and none.
    """
    if None not in told:
        return declared_size(*told, name=name)
    for tree in (context.images, context.tree):
        found = find_picture(tree, name, *more) if tree is not None else None
        if tree is not None and found is not None:
            return picture_size(tree, found)
    raise DocumentFailure(
        ErrorCode.MALFORMED,
        f"{name}: height {told[0]!r} and width {told[1]!r} do not tell its size, and its picture "
        "is not there: give the folder of pictures with --images",
    )


@lru_cache(maxsize=8)
def _pictures(tree: FileTree) -> frozenset[str]:
    return frozenset(name for name in tree.names() if extension_of(name) in IMAGE_EXTENSIONS)


@lru_cache(maxsize=8)
def _by_file_stem(tree: FileTree) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(_pictures(tree)):
        found[_file_stem(name)].append(name)
    return found


def _file_stem(name: str) -> str:
    return stem_of(name).rpartition("/")[2]


def _ends_with(name: str, wanted: str) -> bool:
    """True where ``wanted`` is the end of a path, with its extension or without any."""
    return any(f"/{one}".endswith(f"/{wanted}") for one in (name, stem_of(name)))


def _nearest(found: Sequence[str], near: str, name: str, tree: FileTree) -> str:
    folders = set(near.split("/"))

    def shared(one: str) -> int:
        return len(folders.intersection(one.split("/")[:-1]))

    best = max(map(shared, found))
    nearest = [one for one in found if shared(one) == best]
    if len(nearest) > 1:
        told = ", ".join(nearest[:3])
        raise DocumentFailure(
            ErrorCode.AMBIGUOUS_PAIR,
            f"{name}: {tree.uri} has {len(nearest)} pictures of this name ({told}); keep one, or "
            "give the folder that is meant with --images",
        )
    return nearest[0]
