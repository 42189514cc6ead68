"""What two names must share to be one picture's: the rules of pairing, and what they leave out."""

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import Final

from maskmill.pipeline.pictures.names import IMAGE_EXTENSIONS, stem_of

SUFFIXES: Final = (
    "_gtFine_labelTrainIds", "_gtFine_labelIds", "_gtCoarse_labelTrainIds", "_gtCoarse_labelIds",
    "_labelTrainIds", "_labelIds", "_leftImg8bit", "_segmentation", "_prediction", "_groundtruth",
    "_labels", "_label", "_preds", "_pred", "_masks", "_mask", "_target", "_seg", "_gt", "_L",
)  # fmt: skip
"""Endings of a stem that name the file's role, not its picture. The longest that fits goes."""

SHARED_ENDING: Final = "same file name without an ending that all files of a side share"

KeyOf = Callable[[str], str | None]
"""A file's key -> what it must share with its partner; None where the rule does not apply."""

_EXTENSIONS: Final = frozenset((*IMAGE_EXTENSIONS, ".npz", ".npy", ".json"))
_ENDING: Final = re.compile(r"[_.-](?=.*[A-Za-z]).*")
_CITYSCAPES: Final = re.compile(r"[a-z][a-z-]*_\d{6}_\d{6}")


def stem_path(key: str) -> str:
    """The key without a picture's extension: ``a.b.png`` gives ``a.b``, and ``a.b`` stays."""
    return stem_of(key, _EXTENSIONS)


def without_role(key: str) -> str:
    """The key without its extension and without an ending that names its role."""
    path = stem_path(key)
    if not path.endswith(SUFFIXES):
        return path
    longest = max((suffix for suffix in SUFFIXES if path.endswith(suffix)), key=len)
    return path.removesuffix(longest) if len(longest) < len(file_name(path)) else path


def file_name(path: str) -> str:
    """The last part of a path."""
    return PurePosixPath(path).name


def _name_without_role(key: str) -> str:
    return file_name(without_role(key))


def _cityscapes_frame(key: str) -> str | None:
    match = _CITYSCAPES.match(file_name(key))
    return match.group() if match else None


RULES: Final[dict[str, KeyOf]] = {
    "same path": stem_path,
    "same path without a role's ending": without_role,
    "same file name without a role's ending": _name_without_role,
    "same Cityscapes frame": _cityscapes_frame,
}
"""Rule -> what two keys must share."""


def names_of(key: str) -> Iterator[tuple[int, str]]:
    """What a key is called by each rule, as (place of the rule, name); each name once."""
    known = set()
    for place, key_of in enumerate(RULES.values()):
        name = key_of(key)
        if name is not None and name not in known:
            known.add(name)
            yield place, name


def without_shared_ending(keys: Iterable[str]) -> KeyOf:
    """File name without the ending that all of ``keys`` share, from a separator on, with a letter.

    Of one key nothing is taken.
    """
    count, shared = 0, ""
    for key in keys:
        name = file_name(stem_path(key))[::-1]
        shared = posixpath.commonprefix([shared, name]) if count else name
        count += 1
    found = _ENDING.search(shared[::-1])
    ending = found.group() if found and count > 1 else ""
    return lambda key: file_name(stem_path(key)).removesuffix(ending)
