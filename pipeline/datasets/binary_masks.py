"""Masks of 0 and 255 under a map that takes 255 for ignore: all foreground would be lost."""

from collections.abc import Callable, Sequence
from typing import Final

from maskmill.pipeline.datasets.samples import ReadOptions
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.pipeline.masks.picture import MaskPicture, open_picture
from maskmill.pipeline.masks.run_lengths import value_counts
from maskmill.pipeline.masks.values import stored_values
from maskmill.schemas.arrays import IGNORE_INDEX
from maskmill.schemas.errors import FileFailure, SettingsError
from maskmill.schemas.labels import VOID_COLOR, LabelMap

LOOKED_AT: Final = 16
TAKES_IGNORE: Final = ("auto", "indexed", "indexed16", "palette", "palette_voc", "binary01")
"""Mask formats that take 255 for ignore."""
BINARY: Final = frozenset({0, IGNORE_INDEX})
NO_LEVEL: Final = -1
VOID: Final = slice(3 * IGNORE_INDEX, 3 * IGNORE_INDEX + 3)


def refuse_binary_masks(
    tree: FileTree, names: Sequence[str], labels: LabelMap, options: ReadOptions
) -> None:
    """Stop where every mask that is looked at holds nothing but 0 and 255.

    Those of ``names`` are opened that lie at :func:`spread`; ``--unknown ignore`` says that 255 is
    ignore.

    Raises:
        SettingsError: they are binary masks; the message says how they are read.
    """
    if options.unknown == "ignore" or labels.ignore_index != IGNORE_INDEX or not names:
        return
    found = look_binary(tree.read, names, labels)
    if found:
        raise SettingsError(
            f"{tree.uri}: {found}. Give --from binary and --labels of two classes; or --unknown "
            "ignore, where 255 is ignore"
        )


def look_binary(read: Callable[[str], bytes], names: Sequence[str], labels: LabelMap) -> str | None:
    """What would happen to masks that hold nothing but 0 and 255; None where one holds others.

    Those of ``names`` are read that lie at :func:`spread`.
    """
    some = [names[place] for place in spread(len(names))]
    found = [_levels(read, name) for name in some]
    if not all(one <= BINARY for one in found) or not any(IGNORE_INDEX in one for one in found):
        return None
    return (
        f"{_shown(some)} hold only 0 and 255, as binary masks do; under {labels.name!r} with its "
        f"{len(labels.classes)} classes 255 would be ignore and all foreground be lost"
    )


def spread(count: int) -> range:
    """Places of at most LOOKED_AT of ``count`` things, from the first on, evenly."""
    return range(0, count, max(1, -(-count // LOOKED_AT)))


def _levels(read: Callable[[str], bytes], name: str) -> frozenset[int]:
    """Stored values; others than binary ones where the file cannot be read or tells of void."""
    try:
        picture = open_picture(read(name), name=name)
        if picture.is_lossy or _paints_void(picture):
            return frozenset([NO_LEVEL])
        return frozenset(value_counts(stored_values(picture))[0].tolist())
    except FileFailure:
        return frozenset([NO_LEVEL])


def _paints_void(picture: MaskPicture) -> bool:
    palette = picture.image.getpalette() if picture.image.mode == "P" else None
    return palette is not None and tuple(palette[VOID]) == VOID_COLOR


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more masks that were looked at" if len(names) > 1 else ""
    return f"{names[0]}{more}"
